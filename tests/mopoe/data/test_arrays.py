"""Data sets from plain arrays: what becomes of the numbers, the splits, and every misfit in one sentence."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mopoe
from mopoe.config import TrialConfig
from mopoe.data.arrays import checked, data_from_arrays
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError, DataError


def arrays(n: int = 200, first: int = 0) -> dict[str, object]:
    """Make numbered samples of two modalities, of class n modulo 4."""
    number = np.arange(first, first + n)
    a = np.zeros((n, 1, 28, 28), np.uint8)
    a[:, 0, 0, 0] = number
    return {"a": a, "b": number[:, None] * np.ones(3), "labels": number % 4}


def test_arrays_become_a_data_set() -> None:
    """Modalities in the order of the arrays; floats in float32, labels in int64; networks as named."""
    data = data_from_arrays(arrays(), arrays(20), arrays(30), networks={"b": "my.nets:mlp"})
    assert data.modalities == (
        ModalitySpec(name="a", shape=(1, 28, 28)),
        ModalitySpec(name="b", shape=(3,), network="my.nets:mlp"),
    )
    assert [len(data.split(s)) for s in ("train", "validation", "test")] == [200, 20, 30]
    assert (data.train.x["a"].dtype, data.train.x["b"].dtype) == (torch.uint8, torch.float32)
    assert data.train.x["b"][7].tolist() == [7, 7, 7]
    assert data.train.labels.dtype == torch.int64
    assert data.n_classes == 4
    assert data_from_arrays(arrays(), n_classes=9).n_classes == 9
    assert data_from_arrays(arrays(), classes=["a", "b", "c", "d", "e"]).n_classes == 5
    for names in (["a", "b"], [0, 1, 2, 3]):
        with pytest.raises(DataError, match=r"^classes must be 4 names as text, or none, but are \("):
            data_from_arrays(arrays(), n_classes=4, classes=names)  # type: ignore[arg-type]


def test_arrays_without_labels_become_a_data_set() -> None:
    """No class, and rows of labels of no width, which a file keeps; the splits are tenths as with labels."""
    data = data_from_arrays(dict(broken(labels=None)))
    assert data.n_classes == 0
    assert [len(data.split(s)) for s in ("train", "validation", "test")] == [160, 20, 20]
    assert [list(data.split(s).labels.shape) for s in ("train", "validation")] == [[160, 0], [20, 0]]
    assert sorted(data.validation.x["a"][:, 0, 0, 0].tolist()) != list(range(20))


def test_missing_splits_are_tenths_of_the_training_samples() -> None:
    """No sample is in two splits or lost; each class gives its tenth; the seed decides which."""
    data = data_from_arrays(arrays(), seed=3)
    found = {s: data.split(s).x["a"][:, 0, 0, 0].tolist() for s in ("train", "validation", "test")}
    assert {s: len(x) for s, x in found.items()} == {"train": 160, "validation": 20, "test": 20}
    assert sorted(i for numbers in found.values() for i in numbers) == list(range(200))
    for split, numbers in found.items():
        assert torch.equal(data.split(split).x["a"][:, 0, 0, 0] % 4, data.split(split).labels)
        assert numbers != sorted(numbers)
    assert torch.bincount(data.validation.labels).tolist() == [5] * 4
    same, other = (data_from_arrays(arrays(), seed=seed) for seed in (3, 4))
    assert data.fingerprint == same.fingerprint != other.fingerprint


def test_a_given_test_split_is_kept_and_validation_made() -> None:
    """A tenth of the training samples goes to validation, none of the test's."""
    data = data_from_arrays(arrays(), test=arrays(50, first=200))
    assert [len(data.split(s)) for s in ("train", "validation", "test")] == [180, 20, 50]
    assert data.test.x["a"][:, 0, 0, 0].tolist() == list(range(200, 250))


def test_attributes_are_labels_too() -> None:
    """A row of 0 and 1 per sample; their number is that of the columns."""
    labels = np.arange(200)[:, None] % np.array([2, 3]) == 0
    data = data_from_arrays(arrays() | {"labels": labels})
    assert data.n_classes == 2
    number = data.train.x["a"][:, 0, 0, 0]
    assert torch.equal(data.train.labels, torch.stack([number % 2 == 0, number % 3 == 0], 1).long())


def test_a_mapped_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """Read-only memory gives no warning and the same numbers."""
    np.save(tmp_path / "a.npy", arrays()["a"])
    given = arrays() | {"a": np.load(tmp_path / "a.npy", mmap_mode="r")}
    assert data_from_arrays(given, given, given).fingerprint == data_from_arrays(*[arrays()] * 3).fingerprint


def test_a_model_trains_on_arrays_without_a_sweep() -> None:
    """The built-in networks read images made of arrays."""
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 28, 28), np.uint8)
    data = data_from_arrays({"left": x, "right": 255 - x, "labels": np.arange(40) % 2})
    losses: list[float] = []
    config = TrialConfig(latent_dim=2, channels=(2, 2, 2), epochs=5, batch_size=8, lr=0.02)
    mopoe.train(config, data, lambda report: losses.append(report.loss))
    assert losses[-1] < losses[0]


def broken(**changes: object) -> Mapping[str, object]:
    """Return 200 samples with other arrays; None leaves one out."""
    return {k: v for k, v in (arrays() | changes).items() if v is not None}


MISFITS = {
    "only labels": (
        [{"labels": [0]}],
        "train has the arrays ['labels'], but must have one for each modality",
    ),
    "labels of text": (
        [broken(labels=["a", "b"] * 100)],
        "train: 'labels' is not an array of numbers (can't convert np.ndarray of type numpy.str_.",
    ),
    "other lengths, no labels": (
        [broken(labels=None, b=np.ones((199, 3)))],
        "train: 'b' has 199 samples, but 'a' has 200",
    ),
    "words": (
        [broken(b=np.array(["x"] * 200))],
        "train: 'b' is not an array of numbers (can't convert np.ndarray of type numpy.str_.",
    ),
    "ragged": ([broken(b=[[1], [1, 2]])], "train: 'b' is not an array of numbers (setting an array element"),
    "type": (
        [broken(b=np.arange(200))],
        "train: 'b' is int64 [200], but must be uint8 (0 to 255, becomes 0 to 1), float32, or int8 (numbers",
    ),
    "float labels": (
        [broken(labels=np.ones(200))],
        "train: the labels are float32 [200], but must be whole numbers [N], or [N, 2] for attributes",
    ),
    "columns": (
        [arrays(), arrays(20) | {"labels": np.zeros((20, 3), int)}],
        "validation: the labels are int64 [20, 3], but must be whole numbers [N], or [N, 4] for attributes",
    ),
    "attributes": (
        [broken(labels=np.full((200, 2), -1))],
        "train: the labels are from -1 to -1, but must be 0 to 1",
    ),
    "count": ([broken(b=np.ones((199, 3)))], "train: 'b' has 199 samples, but there are 200 labels"),
    "modality": (
        [arrays(), {"labels": [0], "a": arrays(1)["a"]}],
        "validation: there is no 'b'; there are: a",
    ),
    "shape": (
        [arrays(), arrays(20) | {"b": np.ones((20, 4))}],
        "validation: 'b' has samples of shape [4], but must have [3]",
    ),
    "empty": ([arrays(), arrays(0)], "validation: there are no samples"),
    "too few": ([{"a": np.ones((3, 2)), "labels": [0, 1, 1]}], "test: there are no samples"),
    "name": (
        [{"half": np.ones((20, 2)), "labels": np.zeros(20, int)}],
        "a modality is named 'half', but must have letters, digits, '_' and '-', and not be labels, a",
    ),
    "name of a command": (
        [{"prior": np.ones((20, 2)), "labels": np.zeros(20, int)}],
        (
            "a modality is named 'prior', but must have letters, digits, '_' and '-', and not be "
            "labels, all, prior"
        ),
    ),
    "labels as a column": (
        [arrays() | {"labels": np.zeros((20, 1), int)}],
        "train: the labels have shape [N, 1]; flatten them with labels.reshape(-1)",
    ),
    "types of splits": (
        [arrays(), arrays(20) | {"b": np.ones((20, 3), np.uint8)}],
        "validation: 'b' is uint8, but float32 in train",
    ),
    "modality of one split": (
        [arrays(), arrays(20) | {"c": np.ones((20, 2), np.float32)}],
        "validation: the modalities differ from those of train in: c",
    ),
    "not finite": (
        [
            arrays(),
            arrays(20) | {"b": np.where(np.arange(60).reshape(20, 3) == 10, np.inf, 1).astype(np.float32)},
        ],
        (
            "validation: 'b' has a number that is not finite in row 3; where a sample lacks a modality, "
            "use zeros"
        ),
    ),
    "nan in test": (
        [arrays(), arrays(20), arrays(20) | {"b": np.full((20, 3), np.nan, np.float32)}],
        "test: 'b' has a number that is not finite in row 0",
    ),
    "name with a dot": (
        [{"a.b": np.ones((20, 2)), "labels": np.zeros(20, int)}],
        "a modality is named 'a.b', but must have letters, digits, '_' and '-', and not be labels, a",
    ),
}


@pytest.mark.parametrize(("given", "sentence"), MISFITS.values(), ids=MISFITS)
def test_misfits_name_the_split_and_the_array(given: list[dict[str, object]], sentence: str) -> None:
    """One sentence: what was found, and what must be."""
    with pytest.raises(DataError) as error:
        data_from_arrays(*given)
    assert str(error.value).startswith(sentence)


def test_labels_of_text_are_told_how_to_become_numbers() -> None:
    """By the line of NumPy that does it."""
    with pytest.raises(DataError, match=r"; np\.unique\(names, return_inverse=True\)\[1\] numbers classes$"):
        data_from_arrays(dict(broken(labels=["a", "b"] * 100)))


def test_labels_above_the_classes_are_refused() -> None:
    """Where the number of classes is given."""
    with pytest.raises(DataError, match=r"^train: the labels are from 0 to 3, but must be 0 to 2$"):
        data_from_arrays(arrays(), n_classes=3)


def test_networks_for_no_modality_are_refused() -> None:
    """A typing error would otherwise leave the built-in networks in place."""
    with pytest.raises(ConfigError, match=r"^networks are given for 'c', but the modalities are: a, b$"):
        data_from_arrays(arrays(), networks={"c": "x:y"})


def test_what_is_checked_bears_the_name_it_was_asked_for_by(tiny_data: MultimodalData) -> None:
    """So that a checkpoint can load it again; the rest is as it was."""
    found = checked(tiny_data, "my:load", {"n": 3}, tiny_data.modalities)
    assert found == replace(tiny_data, name="my:load", options={"n": 3})


def test_other_things_than_data_are_refused(tiny_data: MultimodalData) -> None:
    """Another type, no modalities, two of one name, or others than were told."""
    spec = tiny_data.modalities[0]
    for data, told, sentence in (
        ([1], (), "its function returned a list, but must return a MultimodalData"),
        (replace(tiny_data, modalities=()), (), "its modalities are [], but must be at least one"),
        (replace(tiny_data, modalities=(spec, spec)), (), "its modalities are ['grey', 'grey'], but must be"),
        (tiny_data, (spec,), "its modalities are (ModalitySpec(name='grey'"),
    ):
        with pytest.raises(DataError) as error:
            checked(data, "x", {}, told)
        assert str(error.value).startswith(sentence)
    floats = {name: x.double() for name, x in tiny_data.test.x.items()}
    with pytest.raises(DataError, match=r"^test: 'grey' is float64 \[12, 1, 28, 28\], but must be uint8"):
        checked(replace(tiny_data, test=Split(floats, tiny_data.test.labels)), "x", {}, ())


@pytest.mark.parametrize(
    ("present", "sentence"),
    [
        (torch.ones(22, 2), r"train: `present` is float32 \[22, 2\], but must be bool \[22, 2\]"),
        (torch.ones(22, 1).bool(), r"train: `present` is bool \[22, 1\], but must be bool \[22, 2\]"),
        (
            torch.arange(22)[:, None].expand(22, 2) > 0,
            "train: according to `present`, a sample has no modality",
        ),
        (
            torch.tensor([[True, False]]).expand(22, 2),
            "train: according to `present`, a modality is in no sample",
        ),
    ],
)
def test_what_is_missing_must_make_sense(tiny_data: MultimodalData, present: Tensor, sentence: str) -> None:
    """One mark per sample and modality, and no sample or modality without any."""
    data = replace(tiny_data, train=replace(tiny_data.train, present=present))
    with pytest.raises(DataError, match=f"^{sentence}$"):
        checked(data, "own", {}, ())


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (
            np.zeros((20, 32, 32, 3), np.uint8),
            (
                "train: 'p' has samples of shape [32, 32, 3], but images are [channels, height, width]; "
                "x.transpose(0, 3, 1, 2) makes them so"
            ),
        ),
        (
            np.linspace(0, 255, 20 * 64, dtype=np.float32).reshape(20, 1, 8, 8),
            (
                "train: 'p' has floats from 0 to 255, but images are bytes, or floats of about 0 to 1; give "
                "x.astype(numpy.uint8), or x / 255"
            ),
        ),
    ],
)
def test_images_in_another_form_are_refused(picture: np.ndarray, message: str) -> None:
    """With channels last they are no images, and on the scale of bytes no loss fits floats."""
    with pytest.raises(DataError) as error:
        data_from_arrays({"p": picture, "v": np.ones((20, 2))})
    assert str(error.value) == message


def test_floats_of_any_scale_are_taken_where_they_are_no_images() -> None:
    """Vectors, floats below 0, and what has a distribution of its own."""
    wide = np.linspace(0, 255, 20 * 64, dtype=np.float32)
    data_from_arrays({"v": wide.reshape(20, 64)})
    data_from_arrays({"p": wide.reshape(20, 1, 8, 8) - 100})
    data_from_arrays({"p": wide.reshape(20, 1, 8, 8).round()}, likelihoods={"p": "poisson"})
