"""PolyMNIST: one digit in five handwritings on crops of five photographs (Sutter et al. 2021).

Three sources are read: the released folder `MMNIST` with PNG files, the same folder with tensors, and the
file that `mopoe.data.polymnist_build` makes. A folder is converted once to a memory-mapped file in the cache.

In a folder, the validation split is a tenth of the train folder. No picture is in both, but handwritings are:
the released script permutes the digits of a class for each modality on its own, so every MNIST digit is in
five tuples, once per modality, and most of a validation tuple's handwritings occur in training in other
modalities, on other photographs. The test folder shares none, being made from MNIST's test digits. In a file
built here no two splits share a handwriting, because the digits are split before they are paired.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mopoe.data.container import (
    MultimodalData,
    Split,
    cache_dir,
    cached_file,
    fingerprint,
    map_data,
    read_about,
    save_splits,
    stratified_order,
)
from mopoe.data.polymnist_folder import read_folder, source_state
from mopoe.data.registry import DATA_SETS, ModalitySpec
from mopoe.errors import ConfigError, DataError

_FORMAT = 1
"""Raised whenever a folder is converted differently, so that older cached files are not used."""


def load(path: str, seed: int = 0, *, name: str = "polymnist") -> MultimodalData:
    """Return the data set, converted on first use (a minute for PNG files) and then mapped from the cache.

    Args:
        path: the folder `MMNIST` in either released layout, or a file made by `build`.
        seed: fixes which tenth of a train folder is the validation split, and the order of the samples; for
            a file, the seed of `build`.
        name: the data set, of those with these layouts.

    Raises:
        ConfigError: the seed is negative, or not the file's.
        DataError: there is nothing at the path, or it is damaged; the message names the file.
    """
    modalities = DATA_SETS[name].modalities
    source = Path(path).expanduser()
    if source.is_file():
        file = _built(source, seed, name)
    elif source.is_dir():
        file = _converted(source, seed, modalities)
    else:
        raise DataError(f"{source}: there is no such file or folder; {DATA_SETS[name].required['path']}")
    return map_data(file, name, {"path": str(path), "seed": seed}, read_about(file)["fingerprint"])


def _built(file: Path, seed: int, name: str) -> Path:
    about = read_about(file)
    if about.get("data") != name or not {"seed", "fingerprint"} <= about.keys():
        raise DataError(f"{file}: not a file made by `sweep data build {name}`")
    if about["seed"] != seed:
        raise ConfigError(f"{file}: was built with seed {about['seed']}, but the option seed is {seed}")
    return file


def _converted(folder: Path, seed: int, modalities: tuple[ModalitySpec, ...]) -> Path:
    """Return the cached file of a folder, made anew when a file of the folder has changed."""
    recipe = json.dumps([_FORMAT, str(folder.resolve()), seed, source_state(folder)])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]

    def convert(to: Path) -> None:
        train, test = (read_folder(folder / name, modalities) for name in ("train", "test"))
        rng = np.random.default_rng(seed)
        place = np.arange(len(train)) % 10
        order = stratified_order(train.labels.numpy(), rng)
        splits = {"train": _shuffled(train, order[place > 0], rng)}
        splits["validation"] = _shuffled(train, order[place == 0], rng)
        splits["test"] = _shuffled(test, np.arange(len(test)), rng)
        save_splits(to, splits, {"data": "polymnist", "seed": seed, "fingerprint": fingerprint(splits)})

    return cached_file(cache_dir() / f"polymnist-{key}.safetensors", convert)


def _shuffled(split: Split, index: NDArray[np.int64], rng: np.random.Generator) -> Split:
    """Return the samples at an index in random order: an evaluation takes the first ones of a split."""
    return split.take(torch.from_numpy(rng.permutation(index)))
