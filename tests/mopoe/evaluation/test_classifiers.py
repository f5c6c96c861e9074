"""Classifiers: they learn, they are cached, and they are what their accuracy and hash say."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mopoe.bank import _without_channels
from mopoe.config import TrialConfig
from mopoe.data import load_data
from mopoe.data.arrays import data_from_arrays
from mopoe.data.container import MultimodalData, Split
from mopoe.data.formats import encode
from mopoe.data.mnist_svhn_text import WORDS
from mopoe.data.registry import DATA_SETS, ModalitySpec
from mopoe.errors import DataError
from mopoe.evaluation import classifiers as module
from mopoe.evaluation.classifiers import (
    ClassifierConfig,
    Classifiers,
    EncoderClassifier,
    ImageClassifier,
    load_classifiers,
    train_classifiers,
)
from mopoe.likelihoods import Normal
from mopoe.networks.base import Encoder, Modality
from mopoe.plugins import plugin

QUICK = ClassifierConfig(epochs=5)
TINY = ClassifierConfig(epochs=1, batch_size=11)


@pytest.fixture(scope="module")
def digits() -> MultimodalData:
    """Two modalities of the built-in digits, 1,500 samples to train on and 300 to test."""
    data = load_data("digits")
    modalities = data.modalities[:2]

    def head(split: Split, n: int) -> Split:
        return Split({m.name: split.x[m.name][:n] for m in modalities}, split.labels[:n])

    return replace(
        data,
        modalities=modalities,
        fingerprint="part of the digits",
        train=head(data.train, 1500),
        test=head(data.test, 300),
    )


@pytest.fixture(scope="module")
def trained(digits: MultimodalData) -> Classifiers:
    """Train their classifiers for a few epochs."""
    return load_classifiers(digits, QUICK)


def test_classifiers_learn_real_digits_in_seconds(trained: Classifiers, digits: MultimodalData) -> None:
    """Chance is 0.1; the reported accuracy is the share of test samples predicted right, in eval mode."""
    for m in digits.modalities:
        network = trained.networks[m.name]
        assert not any(part.training for part in network.modules())
        predicted = trained.predict(m.name, digits.test.x[m.name].float() / 255)
        share = float((predicted == digits.test.labels).double().mean())
        assert share > 0.5
        assert trained.accuracy[m.name] == pytest.approx(share, abs=0.004)


def test_predictions_do_not_depend_on_luck(trained: Classifiers, digits: MultimodalData) -> None:
    """Without dropout, equal images get equal labels whatever the random state."""
    x = digits.test.x["m0"][:50].float() / 255
    torch.manual_seed(0)
    first = trained.predict("m0", x)
    torch.manual_seed(1)
    assert torch.equal(first, trained.predict("m0", x))


def test_the_second_load_does_not_train(
    trained: Classifiers, digits: MultimodalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the same weights, accuracies and hash from the cache."""
    monkeypatch.setattr(module, "train_classifiers", lambda *_: pytest.fail("trained although cached"))
    again = load_classifiers(digits, QUICK)
    assert (again.hash, again.accuracy) == (trained.hash, trained.accuracy)
    for name, network in trained.networks.items():
        theirs = again.networks[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items())


def test_training_is_a_function_of_data_and_settings(tiny_data: MultimodalData) -> None:
    """One seed gives one network whatever the random state, another seed or modality another."""
    before = torch.random.get_rng_state()
    a, b = (train_classifiers(tiny_data.train, tiny_data.modalities[:1], 4, TINY)["grey"] for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(3)
    c = train_classifiers(tiny_data.train, tiny_data.modalities[:1], 4, TINY)["grey"]
    d = train_classifiers(tiny_data.train, tiny_data.modalities[:1], 4, replace(TINY, seed=1))["grey"]
    torch.random.set_rng_state(before)
    assert torch.equal(a.head.weight, b.head.weight)
    assert torch.equal(a.head.weight, c.head.weight)
    assert not torch.equal(a.head.weight, d.head.weight)
    assert not a.training


def test_the_hash_follows_the_weights(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other seeds and other data give other hashes, the same training anew the same one."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / "a"))
    first = load_classifiers(tiny_data, TINY).hash
    other = load_classifiers(tiny_data, replace(TINY, seed=1)).hash
    changed = replace(tiny_data, fingerprint="changed", train=tiny_data.validation)
    assert len({first, other, load_classifiers(changed, TINY).hash}) == 3
    assert len(list((tmp_path / "a").glob("*.safetensors"))) == 3
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / "b"))
    assert load_classifiers(tiny_data, TINY).hash == first


def test_a_damaged_file_is_named(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cut-off cache is an error that names it and says what to do."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    load_classifiers(tiny_data, TINY)
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    for content in (whole[:1000], b""):
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            load_classifiers(tiny_data, TINY)
        assert str(error.value).startswith(f"{path}: not readable classifiers (")
        assert str(error.value).endswith("); delete the file to train them again")


VECTOR = ModalitySpec(name="vector", shape=(6,), network="function_networks:vector")


@pytest.fixture
def trimodal() -> MultimodalData:
    """House numbers, texts and vectors that say their class: 400 samples, rows reused; 100 to test."""
    rng = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        labels = torch.randint(0, 10, (n,), generator=rng)
        numbers = torch.randint(0, 60, (10, 3, 32, 32), generator=rng, dtype=torch.uint8)
        numbers[torch.arange(10), :, 3 * torch.arange(10)] = 255
        x = {"svhn": numbers, "text": encode([word.ljust(8) for word in WORDS])}
        vectors = torch.nn.functional.one_hot(labels % 6, 6).float() + (labels >= 6).float()[:, None]
        return Split(x | {"vector": vectors}, labels, dict.fromkeys(x, labels.int()))

    modalities = (*DATA_SETS["mnist_svhn_text"].modalities[1:], VECTOR)
    return MultimodalData(
        name="three",
        options={},
        fingerprint="three",
        modalities=modalities,
        n_classes=10,
        train=split(400),
        validation=split(20),
        test=split(100),
    )


@pytest.fixture
def own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a user's module with networks for vectors of six numbers where it is found."""
    found = ModuleType("function_networks")

    @plugin
    def vector(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
        encoder = Encoder([nn.Linear(6, 32), nn.ReLU()], 32, width)
        return Modality(encoder, nn.Linear(width, 6), Normal())

    found.vector = vector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "function_networks", found)


@pytest.mark.usefixtures("own_network")
def test_any_modality_has_a_classifier_of_its_own_encoder(
    trimodal: MultimodalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """House numbers, texts and a user's vectors: learned, measured and read back from the cache."""
    config = ClassifierConfig(epochs=10, batch_size=32, lr=2e-3)
    trained = load_classifiers(trimodal, config)
    for m in trimodal.modalities:
        network = trained.networks[m.name]
        assert isinstance(network, EncoderClassifier)
        assert not any(part.training for part in network.modules())
        batch = trimodal.test.batch(slice(None), torch.device("cpu"))[m.name]
        share = float((trained.predict(m.name, batch) == trimodal.test.labels).double().mean())
        assert trained.accuracy[m.name] == share > 0.9
    monkeypatch.setattr(module, "train_classifiers", lambda *_: pytest.fail("trained although cached"))
    again = load_classifiers(trimodal, config)
    assert (again.hash, again.accuracy) == (trained.hash, trained.accuracy)


@pytest.mark.usefixtures("own_network")
def test_other_networks_have_other_cached_classifiers(
    trimodal: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The name of a file follows the networks, but not those of images of 28 x 28 pixels."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    monkeypatch.setattr(
        sys.modules["function_networks"], "other", sys.modules["function_networks"].vector, False
    )
    for network, n in (("function_networks:vector", 1), ("function_networks:other", 2)):
        vector = replace(VECTOR, network=network)
        load_classifiers(replace(trimodal, modalities=(vector,)), ClassifierConfig(epochs=1))
        assert len(list(tmp_path.glob("*.safetensors"))) == n


def test_images_of_28_pixels_keep_the_released_network(tiny_data: MultimodalData) -> None:
    """Whatever encoder the modality names."""
    spec = replace(tiny_data.modalities[1], network="mopoe.networks.resnet:image")
    assert isinstance(train_classifiers(tiny_data.train, [spec], 4, TINY)[spec.name], ImageClassifier)


def test_an_epoch_of_many_pairings_is_cut(tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 10 samples an epoch instead of 22, other weights; the accuracy is that of the first 10."""
    monkeypatch.setattr(module, "MOST", 10)
    cut = train_classifiers(tiny_data.train, tiny_data.modalities[:1], 4, TINY)["grey"]
    first = tiny_data.train.take(torch.arange(10))
    measured = module.accuracy(cut, tiny_data.train, "grey")
    monkeypatch.setattr(module, "MOST", 22)
    assert measured == module.accuracy(cut, first, "grey")
    whole = train_classifiers(tiny_data.train, tiny_data.modalities[:1], 4, TINY)["grey"]
    assert not torch.equal(cut.head.weight, whole.head.weight)


def test_attributes_are_learned_one_by_one(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rows of 0 and 1 have the mean binary cross-entropy; the accuracy is the share of attributes right."""
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1, 1], [0, 1]])
    terms = [torch.tensor(1.0 + math.exp(-x)).log() for x in (2.0, -1.0, -0.5, 3.0)]
    assert float(module.loss_of(logits, labels)) == pytest.approx(float(sum(terms)) / 4)
    assert module.predicted(logits, labels).tolist() == [[1, 0], [1, 1]]
    assert float(module.loss_of(logits, labels[:, 0])) == pytest.approx(
        float(nn.functional.cross_entropy(logits, labels[:, 0]))
    )
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))

    def rows(split: Split) -> Split:
        return replace(split, labels=torch.stack([split.labels % 2, (split.labels == 99).long()], 1))

    data = replace(
        tiny_data,
        fingerprint="attributes",
        n_classes=2,
        **{name: rows(tiny_data.split(name)) for name in ("train", "validation", "test")},
    )
    found = load_classifiers(data, replace(TINY, epochs=3))
    x = data.test.batch(slice(None), torch.device("cpu"))
    for m in data.modalities:
        right = (found.logits(m.name, x[m.name]) > 0) == data.test.labels.bool()
        assert found.accuracy[m.name] == pytest.approx(float(right.double().mean()))


def test_a_network_in_training_mode_is_an_error() -> None:
    """The message names the modality."""
    found = Classifiers(networks={"m": nn.Identity().train()}, accuracy={}, hash="")
    with pytest.raises(
        DataError, match=r"^the classifier of 'm' is in training mode, but coherence needs eval"
    ):
        found.predict("m", torch.zeros(1, 2))


def test_banks_give_the_logits_of_the_networks(trained: Classifiers, digits: MultimodalData) -> None:
    """With gradients the networks compute by themselves."""
    x = digits.test.batch(slice(0, 50), torch.device("cpu"))
    for name, network in trained.networks.items():
        with torch.inference_mode():
            expected, found = network(x[name]), trained.logits(name, x[name])
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert trained.logits(name, x[name]).requires_grad


def test_dropped_channels_are_whole_and_scaled() -> None:
    """As `Dropout2d` does it: a channel of a sample is zero, or scaled by 1 / (1 - p), in a share of p."""
    h = _without_channels(torch.ones(2, 50, 3, 4, 60), 0.25)
    assert torch.equal(h, h[:, :, :1, :1].expand_as(h))
    values, counts = h[:, :, 0, 0].unique(return_counts=True)
    assert torch.allclose(values, torch.tensor([0, 4 / 3]))
    assert counts[0] / counts.sum() == pytest.approx(0.25, abs=0.03)


def test_predictions_are_the_largest_logits() -> None:
    """The index of the largest output is the class."""
    found = Classifiers(networks={"m": nn.Identity().eval()}, accuracy={}, hash="")
    logits = torch.tensor([[0.1, 3.0, 2.0], [5.0, -1.0, 4.0]])
    assert found.predict("m", logits).tolist() == [1, 0]
    assert found.to(torch.device("cpu")).predict("m", logits).tolist() == [1, 0]


def test_the_cache_knows_names_and_classes(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same arrays under each other's names, or with more classes, have other classifiers."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    grey = replace(tiny_data, modalities=tiny_data.modalities[:1])
    other = replace(grey.modalities[0], name="other")

    def named(split: Split) -> Split:
        return Split({"other": split.x["grey"]}, split.labels)

    splits = {name: named(grey.split(name)) for name in ("train", "validation", "test")}
    renamed = replace(grey, modalities=(other,), **splits)
    for n, data in enumerate((grey, renamed, replace(grey, n_classes=5)), 1):
        load_classifiers(data, TINY)
        assert len(list(tmp_path.glob("*.safetensors"))) == n


def test_samples_without_the_modality_do_not_count(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither in training nor in the accuracy: it is that of a data set without them."""
    kept = torch.arange(12) % 3 > 0

    def hidden(split: Split) -> Split:
        here_N = kept.repeat(2)[: len(split)]
        return replace(split, present=torch.stack([here_N, torch.ones_like(here_N)], 1))

    found = {}
    for which in ("hidden", "taken"):
        monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / which))
        parts: dict[str, Any] = {name: hidden(tiny_data.split(name)) for name in ("train", "test")}
        if which == "taken":
            parts = {name: replace(s.take(s.present[:, 0]), present=None) for name, s in parts.items()}  # type: ignore[index] # just made
            parts["modalities"] = tiny_data.modalities[:1]
        found[which] = load_classifiers(replace(tiny_data, **parts), TINY)
    hidden_ones, taken = found["hidden"], found["taken"]
    assert hidden_ones.accuracy["grey"] == taken.accuracy["grey"]
    assert torch.equal(hidden_ones.networks["grey"].head.weight, taken.networks["grey"].head.weight)


def test_samples_that_no_classifier_can_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any is trained, in one sentence with the modality and its shape."""
    monkeypatch.setattr(module, "_network", lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(5, 2)))
    data = data_from_arrays({"a": np.ones((40, 5)), "b": np.ones((40, 4)), "labels": np.arange(40) % 2})
    with pytest.raises(DataError, match=r"^no classifier can read 'b' \[4\] \(RuntimeError: mat1 and"):
        load_classifiers(data, ClassifierConfig(epochs=1))
