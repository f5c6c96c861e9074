"""MNIST-SVHN-Text: a handwritten digit, a house number's digit and its English name (Sutter et al. 2021).

It is read from MNIST's idx files (also torchvision's `MNIST/raw`) and SVHN's `{train,test}_32x32.mat`, in one
folder or in `SVHN` below it. The images are split before they are paired, so no image is in two splits; a
tenth of the training images is for validation, so there are fewer training triples than the paper's
1,121,360. A triple consists of three row numbers: beside its images the data set takes 20 bytes of memory per
triple. Unlike in the released code, a triple's text has the same position in every epoch.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mopoe.data.container import SPLITS, Labelled, MultimodalData, Split, hold_out
from mopoe.data.formats import MOST_VALUES, encode, mnist_files, read_mnist
from mopoe.data.registry import Option
from mopoe.data.stored import cached_splits, map_data
from mopoe.errors import DataError

MOST_PER_DIGIT = 10_000
"""The most images of one digit that are paired."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEXTS = [(digit, " " * start + word) for digit, word in enumerate(WORDS) for start in range(8 - len(word))]
"""Every digit's name at every position; the last of the eight characters is always blank, as released."""
_MOST = {"X": MOST_VALUES, "y": MOST_VALUES // (32 * 32 * 3)}
"""The most values of SVHN's arrays; the largest released file has three quarters of them."""
_FORMAT = 1
"""Increased whenever a source is converted differently, so that older cached files are not used."""


def load(path: str, seed: int = 0, pairings: int = 20) -> MultimodalData:
    """Return the data set, which is converted on first use (seconds) and then cached.

    Args:
        path: the folder of the source files.
        seed: determines the validation split, the pairing and the order of the samples.
        pairings: how often each image is paired; 20 in the paper.

    Raises:
        ConfigError: the seed is negative, or `pairings` is not positive.
        DataError: a source file is missing or damaged; the message names it.
    """
    folder = Path(path).expanduser()
    mnist, svhn = mnist_files(folder), _svhn_files(folder)
    stats = [(file, file.stat()) for file in (*itertools.chain(*mnist), *svhn)]
    state = [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]

    def convert() -> dict[str, Split]:
        rng = np.random.default_rng([_FORMAT, seed])
        digits = hold_out([read_mnist(*files) for files in mnist], rng)
        numbers = hold_out([read_svhn(file) for file in svhn], rng)
        splits = {name: pair(digits[name], numbers[name], pairings, rng) for name in SPLITS}
        for name, split in splits.items():
            if not len(split):
                raise DataError(f"{folder}: MNIST and SVHN share no digit to pair in the {name} split")
        return splits

    file = cached_splits("mnist_svhn_text", [_FORMAT, seed, pairings, state], convert)
    options: dict[str, Option] = {"path": str(path), "seed": seed, "pairings": pairings}
    return map_data(file, "mnist_svhn_text", options)


def pair(mnist: Labelled, svhn: Labelled, pairings: int, rng: np.random.Generator) -> Split:
    """Return triples in random order, as row numbers of the images and of the texts.

    For each digit the first n = min(#MNIST, #SVHN, 10000) images of both are paired at random, `pairings`
    times (Shi et al. 2019, released script).
    """
    digit_of_text = np.array([digit for digit, _ in TEXTS])
    parts: list[tuple[NDArray[np.int64], ...]] = []
    for digit in range(10):
        a, b = (np.flatnonzero(labels == digit) for _, labels in (mnist, svhn))
        n = min(len(a), len(b), MOST_PER_DIGIT)
        texts = np.flatnonzero(digit_of_text == digit)
        for _ in range(pairings):
            drawn = a[rng.permutation(n)], b[rng.permutation(n)], rng.choice(texts, n)
            parts.append((*drawn, np.full(n, digit)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = rng.permutation(len(columns[0]))
    *rows, labels = (torch.from_numpy(column[order]) for column in columns)
    x = {
        "mnist": torch.from_numpy(mnist[0])[:, None],
        "svhn": torch.from_numpy(svhn[0]),
        "text": encode([text.ljust(8) for _, text in TEXTS]),
    }
    return Split(x, labels, {name: row.int() for name, row in zip(x, rows, strict=True)})


def _svhn_files(folder: Path) -> list[Path]:
    """Return SVHN's files for training and for testing, or the only one that exists."""
    place = folder / "SVHN" if (folder / "SVHN").is_dir() else folder
    files = [file for name in ("train", "test") if (file := place / f"{name}_32x32.mat").is_file()]
    if not files:
        raise DataError(f"{place}: contains neither train_32x32.mat nor test_32x32.mat of SVHN")
    return files


def read_svhn(file: Path) -> Labelled:
    """Return images [N, 3, 32, 32] and digits [N] of a file of SVHN's cropped digits.

    Raises:
        DataError: the file is damaged, or its arrays are not SVHN's.
    """
    from scipy.io import loadmat, whosmat

    try:
        large = {name for name, shape, _ in whosmat(file) if math.prod(shape) > _MOST.get(name, 0)}
        arrays = loadmat(file, variable_names=_MOST.keys() - large)
    except Exception as error:  # scipy may raise anything for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not a readable .mat file ({reason})") from error
    for key, most in _MOST.items():
        if key not in arrays:
            raise DataError(
                f"{file}: has no array {key!r} of at most {most} values, but SVHN's cropped digits have X "
                "and y"
            )
    x, y = arrays["X"], arrays["y"]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3):
        raise DataError(f"{file}: X is {x.dtype} {list(x.shape)}, but must be uint8 [32, 32, 3, N]")
    if y.dtype.kind not in "uif" or y.shape != (x.shape[3], 1):
        raise DataError(
            f"{file}: y is {y.dtype} {list(y.shape)}, but must be numbers [{x.shape[3]}, 1], as X is"
        )
    wrong = np.flatnonzero(~np.isin(y[:, 0], range(1, 11)))
    if len(wrong):
        raise DataError(
            f"{file}: y is {y[wrong[0], 0]} in row {wrong[0]}, but labels are 1 to 10, where 10 means digit 0"
        )
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), y[:, 0].astype(np.int64) % 10
