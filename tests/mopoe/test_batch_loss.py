"""A compiled step: the same numbers, and no setting compiles it anew."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from training_runs import CONFIG, run

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import Normal
from mopoe.networks.base import Modality
from mopoe.reports import EpochReport
from mopoe.training import train

STEP = replace(CONFIG, compile="step", batch_size=11, epochs=2, beta_warmup_epochs=1)


# The compiler warns of itself: of what its own modules import, of `.grad` that it looks at.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_step_is_compiled_once(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Later epochs, with another beta at every step, find it compiled; weights as plain to 1e-4.

    The backend "eager" captures the step as the others do, and then runs it as it is.
    """
    compiling = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, dynamic, mode: compiling(f, backend=backend, dynamic=dynamic)
    )
    torch.compiler.reset()
    seen: list[EpochReport] = []

    def on_report(report: EpochReport) -> None:
        seen.append(report)
        torch.compiler.set_stance("fail_on_recompile")

    try:
        model = train(STEP, tiny_data, on_report)
    finally:
        torch.compiler.set_stance("default")
    assert len(seen) == 2
    plain, _ = run(replace(STEP, compile="no"), tiny_data)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
def test_a_captured_step_trains_alike(tiny_data: MultimodalData) -> None:
    """On a GPU the losses are those of the plain step to 0.1 %."""
    _, found = run(replace(STEP, compile="graph"), tiny_data, device="cuda")
    _, expected = run(replace(STEP, compile="no"), tiny_data, device="cuda")
    assert [r.loss for r in found] == pytest.approx([r.loss for r in expected], rel=1e-3)


def test_a_graph_is_refused_without_a_gpu(tiny_data: MultimodalData) -> None:
    """In one sentence, before any step."""
    with pytest.raises(ConfigError, match=r"^compile is graph, but must be no or step on the device cpu$"):
        train(replace(CONFIG, compile="graph"), tiny_data, bool)


def test_the_default_leaves_config_ids_as_they_were() -> None:
    """No compilation is no part of a config's name; other words are refused."""
    assert TrialConfig(compile="no").config_id == TrialConfig().config_id
    with pytest.raises(ConfigError, match=r"^compile is 'yes'; possible: no, step, graph$"):
        TrialConfig(compile="yes")


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_moves_running_statistics(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of batch norm: those of the plain step, in the model that is evaluated and saved."""
    compiling = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, dynamic, mode: compiling(f, backend="eager"))

    def network(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
        size = math.prod(modality.shape)
        encoder = Heads(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(size)), size, width)
        decoder = nn.Sequential(nn.Linear(width, size), nn.Unflatten(1, modality.shape))
        return Modality(encoder, decoder, Normal())

    monkeypatch.setattr("mopoe.networks.build_modality", network)
    compiled, plain = (run(replace(CONFIG, compile=how), tiny_data)[0] for how in ("step", "no"))
    for name, ours in compiled.named_buffers():
        torch.testing.assert_close(ours, plain.get_buffer(name), atol=1e-5, rtol=1e-4)
    norm = compiled.encoders["grey"].features[1]
    assert norm.num_batches_tracked == 9
    assert float(norm.running_mean.abs().max()) > 0.1


class Heads(nn.Module):
    """An encoder whose heads are linear."""

    def __init__(self, features: nn.Module, size: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.mu, self.logvar = nn.Linear(size, width), nn.Linear(size, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance."""
        h = self.features(x)
        return self.mu(h), self.logvar(h)
