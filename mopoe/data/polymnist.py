"""PolyMNIST: one digit in five handwritings on crops of five photographs (Sutter et al. 2021).

Three sources can be read: the released folder `MMNIST` with PNG files, the same folder with tensors, and a
file made by `mopoe.data.polymnist_build`. A folder is converted once to a memory-mapped file in the cache.
The translated variant has the same layouts; its digits have 21 pixels at random places of the crops
(Daunhawer et al. 2022).

The validation split of a folder is a tenth of its train folder. The two share no picture, but handwritings:
the released script permutes the digits of a class for each modality separately, so every MNIST digit is in
five tuples, once per modality, and most of a validation tuple's handwritings occur in training in other
modalities, on other photographs. The test folder shares none, as it is made from MNIST's test digits. In a
file built here no two splits share a handwriting, because the digits are split before they are paired.
"""

import os
import pickle
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mopoe.data.container import MultimodalData, Split, held_out, stratified_order, type_and_shape
from mopoe.data.formats import open_picture
from mopoe.data.registry import DATA_SETS, ModalitySpec
from mopoe.data.stored import cached_splits, map_data, read_file
from mopoe.errors import ConfigError, DataError

_NAME = re.compile(r"([0-9]+)\.([0-9])\.png")
_FEWEST = 10
"""The least number of samples in a folder."""
_FORMAT = 1
"""Increased whenever a folder is converted differently, so that older cached files are not used."""


def source_state(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and modification time of all files in the train and test folders, sorted by name."""
    files: list[tuple[str, int, int]] = []
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise DataError(f"{folder / part}: there is no such folder; MMNIST has train and test")
        for place, _, names in os.walk(folder / part, followlinks=True):
            where = Path(place).relative_to(folder)
            for name in names:
                stat = Path(place, name).stat()
                files.append((f"{where}/{name}", stat.st_size, stat.st_mtime_ns))
    return sorted(files)


def read_folder(folder: Path, modalities: tuple[ModalitySpec, ...]) -> Split:
    """Return the uint8 samples of a train or test folder, PNG tuples sorted by digit and number.

    Raises:
        DataError: a file is missing, damaged, of the wrong size or kind, or lacks a partner in a modality.
    """
    first = modalities[0].name
    if (folder / first).is_dir():
        split = _read_pngs(folder, modalities)
    elif (folder / f"{first}.pt").is_file():
        split = _read_tensors(folder, modalities)
    else:
        raise DataError(f"{folder}: contains neither a folder {first} of PNG files nor a file {first}.pt")
    if len(split) < _FEWEST:
        raise DataError(f"{folder}: has {len(split)} samples, but at least {_FEWEST} are needed")
    return split


def write_pngs(folder: Path, split: Split) -> None:
    """Write a split in the PNG layout; the samples of a digit are numbered in their order."""
    seen = [0] * 10
    names = []
    for digit in split.labels.tolist():
        names.append(f"{seen[digit]}.{digit}.png")
        seen[digit] += 1
    for m, x in split.x.items():
        (folder / m).mkdir(parents=True)
        for name, picture in zip(names, x.permute(0, 2, 3, 1).numpy(), strict=True):
            Image.fromarray(picture).save(folder / m / name)


def _read_pngs(folder: Path, modalities: tuple[ModalitySpec, ...]) -> Split:
    names = {m.name: _png_names(folder / m.name) for m in modalities}
    copies = Counter(name for of_modality in names.values() for name in of_modality)
    incomplete = [name for name, n in copies.items() if n < len(names)]
    if incomplete:
        # The tuple with the most partners: if one file is misnamed, this names the file that is missing.
        name = min(incomplete, key=lambda name: (-copies[name], _digit_and_number(name)))
        lacks, has = (next(m for m in names if (name in names[m]) == known) for known in (False, True))
        raise DataError(f"{folder / lacks / name}: there is no such file, but {folder / has / name} exists")
    tuples = sorted(copies, key=_digit_and_number)
    x = {}
    for m in modalities:
        pictures = np.empty((len(tuples), *m.shape), np.uint8)
        for i, name in enumerate(tuples):
            pictures[i] = _read_png(folder / m.name / name, m.shape)
        x[m.name] = torch.from_numpy(pictures)
    return Split(x, torch.tensor([_digit_and_number(name)[0] for name in tuples], dtype=torch.int64))


def _png_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of PNG files")
    names = {file.name for file in folder.glob("[!.]*.png")}
    for name in sorted(names):
        if not _NAME.fullmatch(name):
            raise DataError(f"{folder / name}: the name must be NUMBER.DIGIT.png, as in 12.4.png")
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
    if labels.dim() != 1 or not set(labels.tolist()) <= set(range(10)):
        raise DataError(
            f"{folder / 'labels.pt'}: holds {type_and_shape(labels)}, but must be one digit 0 to 9 per sample"
        )
    x = {}
    for m in modalities:
        file = folder / f"{m.name}.pt"
        values = _read_tensor(file)
        shape = (len(labels), *m.shape)
        if not values.is_floating_point() or tuple(values.shape) != shape:
            raise DataError(
                f"{file}: holds {type_and_shape(values)}, but must be floats {list(shape)}, as labels.pt has "
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
        tensor = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not a readable tensor file ({reason})") from error
    if not isinstance(tensor, Tensor):
        raise DataError(f"{file}: holds a {type(tensor).__name__}, but must hold one tensor")
    return tensor


def load(path: str, seed: int = 0, *, name: str = "polymnist") -> MultimodalData:
    """Return the data set; a folder is converted on first use (a minute for PNG files) and then cached.

    Args:
        path: the folder `MMNIST` in either released layout, or a file made by `polymnist_build.build`.
        seed: determines which tenth of a train folder is the validation split, and the order of the samples;
            for a file, the seed it was built with.
        name: the data set, one of those with these layouts.

    Raises:
        ConfigError: the seed is negative, or is not the file's.
        DataError: nothing is at the path, or a file is damaged; the message names the file.
    """
    modalities = DATA_SETS[name].modalities
    source = Path(path).expanduser()
    if source.is_file():
        file = _built(source, seed, name)
    elif source.is_dir():
        file = _converted(source, seed, modalities)
    else:
        raise DataError(f"{source}: there is no such file or folder; {DATA_SETS[name].required['path']}")
    return map_data(file, name, {"path": str(path), "seed": seed})


load_translated = partial(load, name="translated_polymnist")


def _built(file: Path, seed: int, name: str) -> Path:
    _, about = read_file(file)
    if about.get("data") != name or not {"seed", "fingerprint"} <= about.keys():
        raise DataError(f"{file}: not a file made by `sweep data build {name}`")
    if about["seed"] != seed:
        raise ConfigError(f"{file}: was built with seed {about['seed']}, but the option seed is {seed}")
    return file


def _converted(folder: Path, seed: int, modalities: tuple[ModalitySpec, ...]) -> Path:
    """Return the cached file of a folder, which is made again when a file of the folder has changed."""

    def convert() -> dict[str, Split]:
        train, test = (read_folder(folder / name, modalities) for name in ("train", "test"))
        rng = np.random.default_rng(seed)
        index = held_out(stratified_order(train.labels.numpy(), rng), ["validation"])
        return {
            "train": train.shuffled(index["train"], rng),
            "validation": train.shuffled(index["validation"], rng),
            "test": test.shuffled(np.arange(len(test)), rng),
        }

    recipe = [_FORMAT, str(folder.resolve()), seed, source_state(folder)]
    return cached_splits("polymnist", recipe, convert)
