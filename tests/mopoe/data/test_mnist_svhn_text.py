"""MNIST-SVHN-Text: which image meets which, texts, memory, and every kind of damaged source."""

import io
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from official_layouts import house_numbers, write_mnist_svhn
from scipy.io import savemat

import mopoe
from mopoe.config import TrialConfig
from mopoe.data import load_data
from mopoe.data.container import SPLITS, MultimodalData, Split
from mopoe.data.formats import ALPHABET, decode, encode, mnist_files, read_mnist
from mopoe.data.mnist_svhn_text import TEXTS, WORDS, pair, read_svhn
from mopoe.errors import ConfigError, DataError
from mopoe.reports import EpochReport

Write = Callable[[Path, "np.typing.NDArray[np.uint8]"], None]
NAMES = ("mnist", "svhn", "text")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the official layout: 300 + 100 numbered MNIST digits, 250 + 100 numbered house numbers."""
    write_mnist_svhn(tmp_path / "mnist", digits=300, houses=250, tests=100)
    return tmp_path / "mnist"


def numbers(split: Split) -> dict[str, list[int]]:
    """Return which image is in each triple, read from its pixels."""
    digits = split.stored("mnist", slice(None))[:, 0, 0, :16] > 128
    house = (
        split.stored("svhn", slice(None))[:, 0, 0, :1].long(),
        split.stored("svhn", slice(None))[:, 1, 0, :1],
    )
    return {
        "mnist": (digits.long() << torch.arange(16)).sum(1).tolist(),
        "svhn": (256 * house[0] + house[1]).flatten().tolist(),
    }


def test_a_triple_is_one_digit_three_times(folder: Path) -> None:
    """Image, house number and word say the label; every image that is paired is in three triples."""
    data = load_data("mnist_svhn_text", path=str(folder), pairings=3)
    assert [len(data.split(name)) for name in SPLITS] == [3 * 225, 3 * 25, 3 * 100]
    for name in SPLITS:
        split = data.split(name)
        found, labels = numbers(split), split.labels.tolist()
        assert [n % 10 for n in found["mnist"]] == [n % 10 for n in found["svhn"]] == labels
        texts = decode(split.stored("text", slice(None)))
        assert [WORDS.index(text.strip()) for text in texts] == labels
        assert labels != sorted(labels)
        assert all(count == 3 for n in found.values() for count in np.unique(n, return_counts=True)[1])
        pairs = set(zip(found["mnist"], found["svhn"], strict=True))
        assert len(pairs) > len(split) // 2


def test_no_image_is_in_two_splits(folder: Path) -> None:
    """Neither a digit nor a house number; the test files are the test split alone."""
    data = load_data("mnist_svhn_text", path=str(folder), pairings=2)
    for name in ("mnist", "svhn"):
        train, validation, test = (set(numbers(data.split(s))[name]) for s in SPLITS)
        assert not train & validation
        assert not (train | validation) & test
        assert min(test) == 1000


def test_a_batch_take_and_a_move_follow_the_rows(folder: Path) -> None:
    """Each gives the images of the rows; one image in two triples is held once."""
    split = load_data("mnist_svhn_text", path=str(folder), pairings=4).train
    index = torch.tensor([7, 300, 7])
    batch = split.to(torch.device("cpu")).batch(index, torch.device("cpu"))
    taken = split.take(index)
    assert len(taken) == 3
    for name in NAMES:
        expected = torch.stack([split.x[name][int(split.rows[name][i])] for i in index.tolist()])
        assert torch.equal(batch[name], expected if name == "text" else expected / 255)
        assert torch.equal(taken.stored(name, slice(None)), expected)
        assert taken.x[name] is split.x[name]


def test_the_papers_size_costs_the_images_and_twenty_bytes_a_triple() -> None:
    """20 pairings of 5,000 images of each digit: 1,000,000 triples, in three rows of 4 bytes and a label."""
    labels = np.repeat(np.arange(10), 5000)
    mnist = np.zeros((50_000, 28, 28), np.uint8), labels
    svhn = np.broadcast_to(np.zeros((1, 3, 32, 32), np.uint8), (50_000, 3, 32, 32)).copy(), labels
    split = pair(mnist, svhn, 20, np.random.default_rng(0))
    assert len(split) == 1_000_000
    assert sum(row.nbytes for row in split.rows.values()) + split.labels.nbytes == 20_000_000
    images = sum(x.nbytes for x in split.x.values())
    assert images == mnist[0].nbytes + svhn[0].nbytes + len(TEXTS) * 8


def test_at_most_10000_images_of_a_digit_are_paired() -> None:
    """Of 10,500 and 10,200 sevens, the first 10,000 of both."""
    parts = [(np.zeros((n, 1, 1), np.uint8), np.full(n, 7)) for n in (10_500, 10_200)]
    split = pair(parts[0], parts[1], 1, np.random.default_rng(0))
    for name in ("mnist", "svhn"):
        assert sorted(split.rows[name].tolist()) == list(range(10_000))


def test_words_start_anywhere_but_for_the_last_place(folder: Path) -> None:
    """Of eight characters the last is blank; a word of k letters has 8 - k starts, all of which occur."""
    assert len(TEXTS) == sum(8 - len(word) for word in WORDS)
    texts = decode(load_data("mnist_svhn_text", path=str(folder)).train.stored("text", slice(None)))
    assert {len(text) for text in texts} == {8}
    assert {text[-1] for text in texts} == {" "}
    assert set(texts) == {text.ljust(8) for _, text in TEXTS}


def test_the_alphabet_has_71_entries_of_which_70_differ() -> None:
    """A hyphen is written with its first entry and read from both."""
    assert (len(ALPHABET), len(set(ALPHABET))) == (71, 70)
    first, second = (i for i, character in enumerate(ALPHABET) if character == "-")
    assert encode(["-"]).tolist() == [[first]]
    assert decode(torch.tensor([[second]], dtype=torch.int8)) == ["-"]


def test_one_source_and_options_give_one_data_set(folder: Path) -> None:
    """Other seeds and pairings give others, each with a fingerprint of its own; a changed file is seen."""

    def found(**options: int) -> MultimodalData:
        return load_data("mnist_svhn_text", path=str(folder), **options)

    first, again = found(), found()
    assert torch.equal(first.train.rows["svhn"], again.train.rows["svhn"])
    assert dict(first.options) == {"path": str(folder), "seed": 0, "pairings": 20}
    prints = [first.fingerprint, found(seed=1).fingerprint, found(pairings=2).fingerprint]
    savemat(folder / "test_32x32.mat", house_numbers(90, 1000))
    assert len({*prints, found().fingerprint}) == 4
    assert again.fingerprint == first.fingerprint


@pytest.mark.parametrize("gone", ["train_32x32.mat", "test_32x32.mat"])
def test_one_of_svhns_files_is_split_in_three(folder: Path, gone: str) -> None:
    """8 to 1 to 1; files may be in a folder SVHN."""
    (folder / gone).unlink()
    (folder / "SVHN").mkdir()
    for file in folder.glob("*.mat"):
        file.rename(folder / "SVHN" / file.name)
    data = load_data("mnist_svhn_text", path=str(folder), pairings=1)
    shares = [set(numbers(data.split(s))["svhn"]) for s in SPLITS]
    assert min(map(len, shares)) >= 10
    assert len(set.union(*shares)) == sum(map(len, shares))


def damaged(file: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file."""
    file.write_bytes(change(file.read_bytes()))


def mat(file: Path, **changes: object) -> None:
    """Write 20 house numbers with other arrays, or with one left out (None)."""
    arrays = house_numbers(20, 0) | changes
    savemat(file, {key: value for key, value in arrays.items() if value is not None})


def promise(shape: tuple[int, ...], other: tuple[int, ...], _: bytes) -> bytes:
    """Return a file of 20 house numbers whose head promises an array of another shape."""
    plain = io.BytesIO()
    savemat(plain, house_numbers(20, 0))
    before, after = (struct.pack(f"<{len(axes)}i", *axes) for axes in (shape, other))
    return plain.getvalue().replace(before, after, 1)


TRAIN, X = "train_32x32.mat", house_numbers(20, 0)["X"]
Y = house_numbers(20, 0)["y"]
BAD: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "no y",
        lambda f: mat(f / TRAIN, y=None),
        f"{TRAIN}: has no array 'y' of at most 699050 values, but SVHN's",
    ),
    (
        "no X",
        lambda f: mat(f / TRAIN, X=None),
        f"{TRAIN}: has no array 'X' of at most 2147483647 values, but SVHN's",
    ),
    (
        "too many images",
        lambda f: damaged(f / TRAIN, partial(promise, X.shape, (32, 32, 3, 700_000))),
        f"{TRAIN}: has no array 'X' of at most 2147483647 values, but SVHN's",
    ),
    (
        "too many labels",
        lambda f: damaged(f / TRAIN, partial(promise, Y.shape, (700_000, 1))),
        f"{TRAIN}: has no array 'y' of at most 699050 values, but SVHN's",
    ),
    (
        "floats",
        lambda f: mat(f / TRAIN, X=X / 255),
        f"{TRAIN}: X is float64 [32, 32, 3, 20], but must be uint8 [32, 32, 3, N]",
    ),
    (
        "shape",
        lambda f: mat(f / TRAIN, X=X[:28]),
        f"{TRAIN}: X is uint8 [28, 32, 3, 20], but must be uint8 [32, 32, 3, N]",
    ),
    (
        "one image",
        lambda f: mat(f / TRAIN, X=X[..., 0]),
        f"{TRAIN}: X is uint8 [32, 32, 3], but must be uint8 [32, 32, 3, N]",
    ),
    (
        "rows",
        lambda f: mat(f / TRAIN, y=Y[:-1]),
        f"{TRAIN}: y is uint8 [19, 1], but must be numbers [20, 1], as",
    ),
    (
        "words",
        lambda f: mat(f / TRAIN, y=["a"] * 20),
        f"{TRAIN}: y is <U1 [20], but must be numbers [20, 1], as",
    ),
    (
        "label 0",
        lambda f: mat(f / TRAIN, y=np.where(Y == 3, 0, Y)),
        f"{TRAIN}: y is 0 in row 3, but labels are 1 to 10, where 10 means digit 0",
    ),
    (
        "label 11",
        lambda f: mat(f / TRAIN, y=np.concatenate([Y[:-1], [[11]]])),
        f"{TRAIN}: y is 11 in row 19, but labels are 1 to 10, where 10 means digit 0",
    ),
    (
        "cut off",
        lambda f: damaged(f / TRAIN, lambda b: b[: len(b) // 2]),
        f"{TRAIN}: not a readable .mat file (",
    ),
    ("cut short", lambda f: damaged(f / TRAIN, lambda b: b[:50]), f"{TRAIN}: not a readable .mat file ("),
    ("empty", lambda f: damaged(f / TRAIN, lambda _: b""), f"{TRAIN}: not a readable .mat file ("),
    (
        "text",
        lambda f: damaged(f / TRAIN, lambda _: b"digits\n" * 50),
        f"{TRAIN}: not a readable .mat file (",
    ),
    (
        "idx cut off",
        lambda f: damaged(f / "t10k-images-idx3-ubyte", lambda b: b[:-1]),
        "t10k-images-idx3-ubyte: declares 100 x 28 x 28 values, but contains 78399",
    ),
    (
        "magic number",
        lambda f: damaged(f / "train-labels-idx1-ubyte", lambda b: b"\1" + b[1:]),
        "train-labels-idx1-ubyte: has the magic number 0x01000801, but must have 0x00000803",
    ),
    (
        "no labels",
        lambda f: (f / "train-labels-idx1-ubyte").unlink(),
        "train-images-idx3-ubyte: there is no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz with it",
    ),
]


@pytest.mark.parametrize(("damage", "sentence"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_damaged_source_is_one_sentence(
    damage: Callable[[Path], object],
    sentence: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names the file and the place, and nothing is cached."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / "cache"))
    damage(folder)
    with pytest.raises(DataError) as error:
        load_data("mnist_svhn_text", path=str(folder))
    assert str(error.value).startswith(f"{folder}/{sentence}")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "cache").glob("*.safetensors")) == []


def test_a_file_of_house_numbers_may_break_off_anywhere(folder: Path) -> None:
    """Whatever is left of it, plain or compressed, it is a sentence."""
    for compressed in (False, True):
        file = folder / "broken.mat"
        savemat(file, house_numbers(20, 0), do_compression=compressed)
        whole = file.read_bytes()
        for part in range(1, 60):
            file.write_bytes(whole[: part * len(whole) // 60])
            with pytest.raises(DataError, match=f"^{re.escape(str(file))}: "):
                read_svhn(file)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    """A folder without one of the two sources, or with no digit in common, and impossible options."""
    for file in folder.glob("*.mat"):
        file.rename(file.with_suffix(".old"))
    with pytest.raises(DataError, match=r"/mnist: contains neither train_32x32.mat nor test_32x32"):
        load_data("mnist_svhn_text", path=str(folder))
    with pytest.raises(DataError, match=r"/nothing: contains no idx files of MNIST such as t10k-images-"):
        load_data("mnist_svhn_text", path=str(tmp_path / "nothing"))
    mat(folder / "train_32x32.mat", y=np.full((20, 1), 3))
    mat(folder / "test_32x32.mat", X=X[..., :0], y=Y[:0])
    with pytest.raises(DataError, match=r"/mnist: MNIST and SVHN share no digit to pair in the test split$"):
        load_data("mnist_svhn_text", path=str(folder))
    with pytest.raises(ConfigError, match=r"^seed is -1, but must be between 0 and "):
        load_data("mnist_svhn_text", path=str(folder), seed=-1)
    with pytest.raises(ConfigError, match=r"^pairings is 0, but must be between 1 and 1,000$"):
        load_data("mnist_svhn_text", path=str(folder), pairings=0)
    with pytest.raises(
        ConfigError, match=r"^data set 'mnist_svhn_text' needs the option 'path': the folder of"
    ):
        load_data("mnist_svhn_text")


def test_training_on_real_digits_lowers_the_loss(mnist: Path, tmp_path: Path, write_idx: Write) -> None:
    """400 of MNIST's test digits, in colour in place of SVHN's; three epochs of the paper's networks."""
    images, labels = read_mnist(*mnist_files(mnist)[0])
    for name, part in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", images[part])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", labels[part].astype(np.uint8))
        grey = np.pad(images[part], ((0, 0), (2, 2), (2, 2)))
        arrays = {"X": np.stack([grey // 2, grey, 255 - grey], 3).transpose(1, 2, 3, 0)}
        arrays["y"] = np.where(labels[part] == 0, 10, labels[part])[:, None]
        savemat(tmp_path / f"{'train' if name == 'train' else 'test'}_32x32.mat", arrays)
    data = load_data("mnist_svhn_text", path=str(tmp_path), pairings=2)
    config = TrialConfig(latent_dim=20, lr=1e-3, batch_size=32, epochs=3, likelihood_weights="dimensions")
    reports: list[EpochReport] = []
    mopoe.train(config, data, reports.append)
    losses = [report.loss for report in reports]
    assert losses[0] > losses[1] > losses[2]
    for name in NAMES:
        assert reports[2].reconstruction[name] < reports[0].reconstruction[name]
