"""The two released layouts of PolyMNIST's folder `MMNIST`.

{train,test}/m{0..4}/{i}.{digit}.png    8-bit RGB, 28 x 28; i counts within a digit; equal names are one tuple
{train,test}/m{0..4}.pt, labels.pt      floats [N, 3, 28, 28] in 0..1 and whole numbers [N]
"""

import os
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mopoe.data.container import Split
from mopoe.data.picture_file import open_picture
from mopoe.data.registry import ModalitySpec
from mopoe.errors import DataError

_NAME = re.compile(r"([0-9]+)\.([0-9])\.png")
_FEWEST = 10


def source_state(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of every file of the train and test folders, sorted by name."""
    found: list[tuple[str, int, int]] = []
    waiting = ["train", "test"]
    while waiting:
        here = waiting.pop()
        if not (folder / here).is_dir():
            raise DataError(f"{folder / here}: there is no such folder; MMNIST has train and test")
        with os.scandir(folder / here) as entries:
            for item in entries:
                if item.is_dir():
                    waiting.append(f"{here}/{item.name}")
                else:
                    stat = item.stat()
                    found.append((f"{here}/{item.name}", stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def read_folder(folder: Path, modalities: tuple[ModalitySpec, ...]) -> Split:
    """Return a train or test folder as bytes: PNG tuples sorted by digit and number, tensors as they stand.

    Raises:
        DataError: a file is missing, damaged, of another size or kind, or has no partner in a modality.
    """
    first = modalities[0].name
    if (folder / first).is_dir():
        split = _read_pngs(folder, modalities)
    elif (folder / f"{first}.pt").is_file():
        split = _read_tensors(folder, modalities)
    else:
        raise DataError(f"{folder}: holds neither a folder {first} of PNG files nor a file {first}.pt")
    if len(split) < _FEWEST:
        raise DataError(f"{folder}: holds {len(split)} samples, but at least {_FEWEST} are needed")
    return split


def write_pngs(folder: Path, split: Split) -> None:
    """Write a split in the PNG layout, in its order within each digit."""
    labels = split.labels.tolist()
    seen = [0] * 10
    names = []
    for digit in labels:
        names.append(f"{seen[digit]}.{digit}.png")
        seen[digit] += 1
    for m, x in split.x.items():
        (folder / m).mkdir(parents=True)
        for name, picture in zip(names, x.permute(0, 2, 3, 1).numpy(), strict=True):
            Image.fromarray(picture).save(folder / m / name)


def _read_pngs(folder: Path, modalities: tuple[ModalitySpec, ...]) -> Split:
    names = {m.name: _png_names(folder / m.name) for m in modalities}
    held_by = Counter(name for found in names.values() for name in found)
    lacking = [name for name, n in held_by.items() if n < len(names)]
    if lacking:
        # The tuple with the most partners: of one misnamed file, it names the file that should be there.
        name = min(lacking, key=lambda name: (-held_by[name], _digit_and_number(name)))
        here, other = (next(m for m in names if (name in names[m]) == there) for there in (False, True))
        raise DataError(
            f"{folder / here / name}: there is no such file, but {folder / other / name} is there"
        )
    everywhere = sorted(held_by, key=_digit_and_number)
    x = {}
    for m in modalities:
        pictures = np.empty((len(everywhere), *m.shape), np.uint8)
        for i, name in enumerate(everywhere):
            pictures[i] = _read_png(folder / m.name / name, m.shape)
        x[m.name] = torch.from_numpy(pictures)
    return Split(x, torch.tensor([_digit_and_number(name)[0] for name in everywhere], dtype=torch.int64))


def _png_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of PNG files")
    names = {file.name for file in folder.glob("[!.]*.png")}
    for name in sorted(names):
        if not _NAME.fullmatch(name):
            raise DataError(f"{folder / name}: the name is not NUMBER.DIGIT.png, as in 12.4.png")
    return names


def _digit_and_number(name: str) -> tuple[int, int]:
    number, digit, _ = name.split(".")
    return int(digit), int(number)


def _read_png(file: Path, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    _, height, width = shape
    with open_picture(file, "PNG file", "PNG") as picture:
        if picture.mode != "RGB" or picture.size != (width, height):
            raise DataError(
                f"{file}: is {picture.width} x {picture.height} pixels of mode {picture.mode}, but must be "
                f"{width} x {height} of mode RGB"
            )
        return np.asarray(picture).transpose(2, 0, 1)


def _read_tensors(folder: Path, modalities: tuple[ModalitySpec, ...]) -> Split:
    labels = _read_tensor(folder / "labels.pt")
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"{folder / 'labels.pt'}: holds {_form(labels)}, but must be whole numbers [N]")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise DataError(
            f"{folder / 'labels.pt'}: holds labels from {labels.min()} to {labels.max()}, but must be 0 to 9"
        )
    x = {}
    for m in modalities:
        file = folder / f"{m.name}.pt"
        values = _read_tensor(file)
        shape = (len(labels), *m.shape)
        if not values.is_floating_point() or tuple(values.shape) != shape:
            raise DataError(
                f"{file}: holds {_form(values)}, but must be floats {list(shape)}, as labels.pt has "
                f"{len(labels)} labels"
            )
        if values.numel() and not (values.min() >= 0 and values.max() <= 1):
            raise DataError(
                f"{file}: holds values from {values.min():g} to {values.max():g}, but must be in 0 to 1"
            )
        x[m.name] = values.float().mul_(255).round_().to(torch.uint8)
    return Split(x, labels.long())


def _read_tensor(file: Path) -> Tensor:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not a readable tensor file ({reason})") from error
    if not isinstance(found, Tensor):
        raise DataError(f"{file}: holds a {type(found).__name__}, but must hold one tensor")
    return found


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
