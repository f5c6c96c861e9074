"""File formats of data sets: idx arrays of MNIST, pictures that are opened safely, and texts as symbols."""

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mopoe.data.container import Labelled
from mopoe.errors import DataError

SIDE = 28
"""Height and width of MNIST's images."""
MOST_VALUES = 2**31 - 1
"""The most values of an array that is read; MNIST's largest has 47,040,000."""
_AXES = {b"\0\0\x08\x03": 3, b"\0\0\x08\x01": 1}
"""Number of axes by magic number: images [N, H, W], and labels [N]."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"\\/|_@#$%^&*~`+-=<>()[]{} \n"
"""The 71 symbols of the released data sets. The hyphen occurs twice: texts are written with the first, as in
the released code; the second is read as a hyphen too."""


def mnist_files(folder: Path) -> list[tuple[Path, Path]]:
    """Return the pairs of files of images and labels that exist: of `train`, of `t10k`, or of both.

    Raises:
        DataError: neither exists, or one of a pair is missing.
    """
    pairs = []
    for name in ("train", "t10k"):
        images, labels = (_find(folder, f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        if images and labels:
            pairs.append((images, labels))
        elif images or labels:
            missing = f"{name}-{'labels-idx1' if images else 'images-idx3'}-ubyte"
            raise DataError(f"{images or labels}: there is no {missing} or {missing}.gz with it")
    if not pairs:
        raise DataError(f"{folder}: contains no idx files of MNIST such as t10k-images-idx3-ubyte.gz")
    return pairs


def _find(folder: Path, stem: str) -> Path | None:
    folders = (folder / "MNIST" / "raw", folder / "raw", folder)
    places = (place / f"{stem}{suffix}" for place in folders for suffix in ("", ".gz"))
    return next((path for path in places if path.is_file()), None)


def read_mnist(images_file: Path, labels_file: Path) -> Labelled:
    """Return MNIST's images [N, 28, 28] and labels [N] of a pair of files.

    Raises:
        DataError: a file is damaged, or the two do not belong together.
    """
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{images_file}: holds an array {list(images.shape)}, but must be [N, {SIDE}, {SIDE}]"
        )
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{labels_file}: holds an array {list(labels.shape)}, but there are {len(images)} images"
        )
    if len(labels) < 10 or labels.max() > 9:
        raise DataError(f"{labels_file}: must hold at least ten labels, from 0 to 9")
    return images.copy(), labels.astype(np.int64)  # torch needs writable arrays


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of an idx file, gzipped if its name ends in .gz: images [N, H, W] or labels [N].

    No more is read, or decompressed, than the file's header declares.

    Raises:
        DataError: the file is missing, not gzipped, of another type, truncated, or too long.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(path, file)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path}: not a readable idx file ({error})") from error


def _read(path: Path, file: BufferedIOBase) -> NDArray[np.uint8]:
    magic = file.read(4)
    if magic not in _AXES:
        raise DataError(
            f"{path}: has the magic number 0x{magic.hex()}, but must have 0x00000803 (images) or 0x00000801 "
            "(labels)"
        )
    n_axes = _AXES[magic]
    shape = struct.unpack(f">{n_axes}I", file.read(4 * n_axes))
    axes, size = " x ".join(map(str, shape)), math.prod(shape)
    if size > MOST_VALUES:
        raise DataError(f"{path}: declares {axes} values, but at most {MOST_VALUES} are read")
    content = file.read(size + 1)
    if len(content) != size:
        found = "more" if len(content) > size else len(content)
        raise DataError(f"{path}: declares {axes} values, but contains {found}")
    return np.frombuffer(content, np.uint8).reshape(shape)


@contextlib.contextmanager
def open_picture(file: Path, what: str, *formats: str) -> Iterator[Image.Image]:
    """Give a picture in one of the formats, which is decoded when its pixels are used.

    Raises:
        DataError: it has another format, is damaged, even if only the block notices it, or has more pixels
            than Pillow takes for an attack (179 million).
    """
    try:
        with Image.open(file, formats=formats) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a readable {what} ({error})") from error


def encode(texts: Sequence[str]) -> Tensor:
    """Return texts of equal length as positions in the alphabet: int8 [B, L].

    >>> encode(["abc", "-z "]).tolist()
    [[0, 1, 2], [36, 25, 69]]
    """
    return torch.tensor([[ALPHABET.index(c) for c in text] for text in texts], dtype=torch.int8)


def decode(x: Tensor) -> list[str]:
    """Return texts from positions in the alphabet [B, L], or the most probable from probabilities [B, C, L].

    >>> decode(encode([" two    "]))
    [' two    ']
    """
    positions_BL = x.argmax(1) if x.is_floating_point() else x
    return ["".join(ALPHABET[i] for i in row) for row in positions_BL.tolist()]
