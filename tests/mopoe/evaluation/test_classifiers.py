"""Classifiers: they learn, they are cached, and they are what their accuracy and hash say."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mopoe.data import load
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import ModalitySpec
from mopoe.errors import DataError
from mopoe.evaluation import classifiers as module
from mopoe.evaluation.classifiers import ClassifierConfig, Classifiers, load_classifiers, train_classifier

QUICK = ClassifierConfig(epochs=5)
TINY = ClassifierConfig(epochs=1, batch_size=11)


@pytest.fixture(scope="module")
def digits() -> MultimodalData:
    """Two modalities of the built-in digits, 1,500 samples to train on and 300 to test."""
    data = load("digits")
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
    monkeypatch.setattr(module, "train_classifier", lambda *_: pytest.fail("trained although cached"))
    again = load_classifiers(digits, QUICK)
    assert (again.hash, again.accuracy) == (trained.hash, trained.accuracy)
    for name, network in trained.networks.items():
        theirs = again.networks[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items())


def test_training_is_a_function_of_data_and_settings(tiny_data: MultimodalData) -> None:
    """One seed gives one network whatever the random state, another seed or modality another."""
    before = torch.random.get_rng_state()
    a, b = (train_classifier(tiny_data.train, "grey", 4, TINY) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(3)
    c = train_classifier(tiny_data.train, "grey", 4, TINY)
    d = train_classifier(tiny_data.train, "grey", 4, replace(TINY, seed=1))
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
        assert str(error.value).endswith("); delete it and they are trained anew")


def test_other_shapes_than_28_pixels_are_an_error(tiny_data: MultimodalData) -> None:
    """The message names the modality and its shape."""
    data = replace(tiny_data, modalities=(ModalitySpec(name="text", shape=(8, 71)),))
    with pytest.raises(DataError, match=r"^modality 'text' has shape \[8, 71\], but classifiers read \[chan"):
        load_classifiers(data)


def test_attributes_are_learned_one_by_one(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rows of 0 and 1 have the mean binary cross-entropy; the accuracy is the share of attributes right."""
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1, 1], [0, 1]])
    terms = [torch.tensor(1.0 + math.exp(-x)).log() for x in (2.0, -1.0, -0.5, 3.0)]
    assert float(module.loss_of(logits, labels)) == pytest.approx(float(sum(terms)) / 4)
    assert module.decide(logits, labels).tolist() == [[1, 0], [1, 1]]
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


def test_predictions_are_the_largest_logits() -> None:
    """The index of the largest output is the class."""
    found = Classifiers(networks={"m": nn.Identity().eval()}, accuracy={}, hash="")
    logits = torch.tensor([[0.1, 3.0, 2.0], [5.0, -1.0, 4.0]])
    assert found.predict("m", logits).tolist() == [1, 0]
    assert found.to(torch.device("cpu")).predict("m", logits).tolist() == [1, 0]
