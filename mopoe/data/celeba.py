"""Bimodal CelebA: a face and its attributes as text (Liu et al. 2015; as in Sutter et al. 2021).

Images are the aligned ones, cropped to the central 148 x 148 pixels and resized to 64 x 64 (bicubic). The
text lists the attributes that are present, in the order of the list, in lower case, with blanks for
underscores, joined by ", ", and is cut or padded with "*" to 256 characters, as in "bangs, smiling***...".
Labels are the 40 attributes. The splits are the official partitions, in the order of the list.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mopoe.data.container import SPLITS, MultimodalData, Split
from mopoe.data.formats import ALPHABET, encode, open_picture
from mopoe.data.registry import DATA_SETS
from mopoe.data.stored import cached_splits, map_data
from mopoe.errors import DataError

LENGTH = 256
"""Characters of a text."""
PAD = "*"
N_ATTRIBUTES = 40
_SIZE = (178, 218)
_BOX = (15, 35, 163, 183)
"""Left, upper, right and lower edge of the crop."""
_SIDE = 64
_FORMAT = 1
"""Increased whenever a folder is converted differently, so that older cached files are not used."""


def load(path: str) -> MultimodalData:
    """Return the data set, which is converted on first use (minutes, 5 GB of memory) and then cached.

    It is converted again when a list has changed, or when images were added, removed or renamed.

    Args:
        path: torchvision's folder `celeba`: `img_align_celeba/000001.jpg`, and `list_attr_celeba` and
            `list_eval_partition` as `.txt` (official) or `.csv`.

    Raises:
        DataError: a file is missing or damaged; the message names it, and the line in a list.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such folder; it must be {DATA_SETS['celeba'].required['path']}"
        )
    images = folder / "img_align_celeba"
    if (images / images.name).is_dir():
        images /= images.name
    if not images.is_dir():
        raise DataError(f"{images}: there is no such folder of images")
    lists = [_find(folder, stem) for stem in ("list_attr_celeba", "list_eval_partition")]
    stats = [file.stat() for file in (*lists, images)]
    recipe = [_FORMAT, str(folder.resolve()), [(s.st_size, s.st_mtime_ns) for s in stats]]
    file = cached_splits("celeba", recipe, partial(read_folder, images, *lists))
    return map_data(file, "celeba", {"path": str(path)}, n_classes=N_ATTRIBUTES)


def text_of(present: Sequence[str]) -> str:
    """Return the text of 256 characters that lists the names of a face's attributes.

    >>> text_of(["5_o_Clock_Shadow", "Young"])[:26]
    '5 o clock shadow, young***'
    """
    return ", ".join(present).replace("_", " ").lower()[:LENGTH].ljust(LENGTH, PAD)


def read_folder(images: Path, attributes: Path, partitions: Path) -> dict[str, Split]:
    """Return the three splits: image uint8 [N, 3, 64, 64], text int8 [N, 256], labels int64 [N, 40].

    Raises:
        DataError: a list is damaged, the lists name different images, or an image is missing or damaged.
    """
    names, rows = _attributes(attributes)
    head = 0 if partitions.suffix == ".txt" else 1
    partition = _rows(partitions, _lines(partitions), head, ["partition"], ("0", "1", "2"))
    for image in rows:
        if image not in partition:
            raise DataError(f"{partitions}: there is no {image}, but {attributes} has its attributes")
    for image in partition:
        if image not in rows:
            raise DataError(f"{attributes}: there is no {image}, but {partitions} has its partition")
    splits = {}
    for number, split in enumerate(SPLITS):
        chosen = [image for image in rows if partition[image] == [str(number)]]
        if not chosen:
            raise DataError(f"{partitions}: there is no image of partition {number}, the {split} split")
        labels = (np.array([rows[image] for image in chosen]) == "1").astype(np.int64)
        texts = encode([text_of([names[a] for a in np.flatnonzero(row)]) for row in labels])
        x = {"image": torch.from_numpy(_pictures(images, chosen)), "text": texts}
        splits[split] = Split(x, torch.from_numpy(labels))
    return splits


def _find(folder: Path, stem: str) -> Path:
    for file in (folder / f"{stem}.txt", folder / f"{stem}.csv"):
        if file.is_file():
            return file
    raise DataError(f"{folder}: contains neither {stem}.txt nor {stem}.csv")


def _lines(file: Path) -> list[list[str]]:
    """Return the words of each line."""
    try:
        lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable list ({error})") from error
    return [(line.replace(",", " ") if file.suffix == ".csv" else line).split() or [""] for line in lines]


def _attributes(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the attributes, and for each image the words 1 or -1."""
    lines = _lines(file)
    count = file.suffix == ".txt"  # in which the first line is the number of images
    words = lines[1] if count and len(lines) > 1 else (lines or [[]])[0][1:]
    names = [word for word in words if set(word.lower()) <= set(ALPHABET)]
    if len(names) != N_ATTRIBUTES:
        raise DataError(f"{file}:{1 + count}: names {len(names)} attributes, but must name {N_ATTRIBUTES}")
    return names, _rows(file, lines, 1 + count, names, ("-1", "1"))


def _rows(
    file: Path, lines: list[list[str]], head: int, names: list[str], values: tuple[str, ...]
) -> dict[str, list[str]]:
    """Return the values of each image by its name, from the lines after a header of `head` lines."""
    rows: dict[str, list[str]] = {}
    for number, (image, *row) in enumerate(lines[head:], head + 1):
        if len(row) != len(names):
            raise DataError(
                f"{file}:{number}: {image or 'an empty line'} has {len(row)} values, not {len(names)}"
            )
        for name, value in zip(names, row, strict=True):
            if value not in values:
                raise DataError(f"{file}:{number}: {name} is {value!r}, but must be {' or '.join(values)}")
        if image in rows:
            raise DataError(f"{file}:{number}: {image} is listed twice")
        rows[image] = row
    return rows


def _pictures(folder: Path, names: list[str]) -> NDArray[np.uint8]:
    """Return the images [N, 3, 64, 64], decoded by one thread per core (Pillow releases Python's lock)."""
    images = np.empty((len(names), 3, _SIDE, _SIDE), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for i, picture in enumerate(threads.map(partial(_picture, folder), names)):
            images[i] = picture
    return images


def _picture(folder: Path, name: str) -> NDArray[np.uint8]:
    file = folder / name
    if not file.exists():
        raise DataError(f"{file}: there is no such file, but the list of attributes names it")
    with open_picture(file, "image", "JPEG") as picture:
        if picture.size != _SIZE:
            raise DataError(
                f"{file}: is {picture.width} x {picture.height} pixels, but the aligned images have 178 x 218"
            )
        small = picture.convert("RGB").crop(_BOX).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small).transpose(2, 0, 1)
