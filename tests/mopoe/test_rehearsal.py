"""What is found out before training: modalities that cannot work, and trials that do not fit."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from training_runs import CONFIG

from mopoe import rehearsal
from mopoe.batch_loss import batch_loss
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError, DataError
from mopoe.evaluation.classifiers import ClassifierConfig, Classifiers, load_classifiers
from mopoe.likelihoods import Laplace
from mopoe.model import build_model
from mopoe.networks import build_modality
from mopoe.networks.base import Modality
from mopoe.rehearsal import SavedTensors, check_memory, rehearse, training_bytes
from mopoe.training import loss_weights, step_draws


@pytest.fixture(scope="module")
def classifiers(tiny_data: MultimodalData) -> Classifiers:
    """Classifiers of the tiny data."""
    return load_classifiers(tiny_data, ClassifierConfig(epochs=1))


class Bent(nn.Module):
    """A module whose output is changed."""

    def __init__(self, inner: nn.Module, change: Callable[[object], object]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x: Tensor) -> object:
        """Return the changed output."""
        return self.change(self.inner(x))


class NoDensity(Laplace):
    """A likelihood that gives one number for all samples."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the mean."""
        return super().log_prob(output, x).mean()


def test_what_works_passes(tiny_data: MultimodalData, classifiers: Classifiers) -> None:
    """The built-in networks, with and without private latents, draw no global random number."""
    before = torch.get_rng_state()
    rehearse(CONFIG, tiny_data, classifiers)
    rehearse(replace(CONFIG, style_dim=2), tiny_data, classifiers)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (
            "encoder",
            "modality 'colour' cannot be encoded (ValueError: mean and log-variance has shape [4, 2], ",
        ),
        (
            "decoder",
            "modality 'colour' cannot be decoded and scored (ValueError: the decoder's mean has shape [4, ",
        ),
        ("likelihood", "modality 'colour' cannot be decoded and scored (ValueError: log_prob has shape [], "),
        ("network", "the networks cannot be built (KeyError: 'width'"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    tiny_data: MultimodalData,
    classifiers: Classifiers,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    sentence: str,
) -> None:
    """With the modality and the step, before anything is trained."""

    def build(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
        found = build_modality(config, modality, width)
        if modality.name != "colour":
            return found
        if part == "network":
            raise KeyError("width")
        if part == "encoder":
            return replace(found, encoder=Bent(found.encoder, lambda pair: tuple(p[:, :-1] for p in pair)))
        if part == "decoder":
            return replace(found, decoder=Bent(found.decoder, lambda x: x[:, :2, :-1]))
        return replace(found, likelihood=NoDensity())

    monkeypatch.setattr("mopoe.networks.build_modality", build)
    with pytest.raises(DataError) as error:
        rehearse(CONFIG, tiny_data, classifiers)
    assert str(error.value).startswith(sentence)


def test_a_judge_that_cannot_read_what_is_generated_is_said(
    tiny_data: MultimodalData, classifiers: Classifiers
) -> None:
    """As one of symbols is, which gets probabilities."""
    broken = {**classifiers.networks, "grey": nn.Sequential(nn.Flatten(), nn.Linear(3, 4)).eval()}
    with pytest.raises(DataError, match=r"^modality 'grey' cannot be classified once it is generated"):
        rehearse(CONFIG, tiny_data, replace(classifiers, networks=broken))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "poe", "style_dim": 2},
        {"mixture": "all"},
        {"method": "moe", "posterior": "laplace", "estimator": "iwae", "samples": 2},
        {"learned_weights": True, "mixture": "all"},
    ],
)
def test_memory_is_counted_as_a_real_step_keeps_it(tiny_data: MultimodalData, settings: dict) -> None:
    """Without numbers the count is that of the same step with numbers, to a percent."""
    config = replace(CONFIG, **settings)
    model = build_model(config, tiny_data.modalities)
    x, kept = tiny_data.train.batch(slice(0, config.batch_size), torch.device("cpu")), SavedTensors()
    draws, weights = step_draws(config, model, 0, config.batch_size), loss_weights(config, tiny_data)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        batch_loss(model, config, torch.device("cpu"))(x, draws, weights, None)
    expected = 16 * sum(p.numel() for p in model.parameters()) + kept.size(model)
    assert training_bytes(config, tiny_data) == pytest.approx(expected, rel=0.01)


def test_a_network_that_looks_at_values_is_not_counted(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial trains all the same: its memory is not known beforehand."""

    def looks(pair: object) -> object:
        return pair if float(pair[0].sum()) < 1e9 else None  # type: ignore[index]

    def build(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
        found = build_modality(config, modality, width)
        return replace(found, encoder=Bent(found.encoder, looks))

    monkeypatch.setattr("mopoe.networks.build_modality", build)
    assert training_bytes(CONFIG, tiny_data) is None
    check_memory(CONFIG, tiny_data, "cpu")


def test_a_trial_larger_than_memory_is_refused(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is allocated, with both sizes; where the system does not tell, nothing is refused."""
    huge = TrialConfig(latent_dim=65_536, batch_size=1_000_000, channels=(16_384,) * 3)
    with pytest.raises(
        ConfigError, match=r"^training takes about [\d,.]+ GiB, but cpu has [\d,.]+ GiB free; lower"
    ):
        check_memory(huge, tiny_data, "cpu")
    needed = training_bytes(CONFIG, tiny_data)
    for free, good in ((needed, True), (needed - 1, False), (None, True)):
        monkeypatch.setattr(rehearsal, "free_memory", lambda _, free=free: free)
        if good:
            check_memory(CONFIG, tiny_data, "cpu")
        else:
            with pytest.raises(ConfigError):
                check_memory(CONFIG, tiny_data, "cpu")


def test_kept_memory_is_that_of_a_known_network() -> None:
    """A linear layer keeps its input, a ReLU its output: 7 x 10 and 7 x 20 numbers, each once."""
    kept = SavedTensors()
    network = nn.Sequential(nn.Linear(10, 20), nn.ReLU())
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        network(torch.ones(7, 10)).sum()
    assert kept.size(network) == 4 * (70 + 140)
