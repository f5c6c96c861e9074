"""A data set in memory: one uint8 tensor per modality and split, mapped from one file on disk.

The file is in the safetensors format. Its pages are shared by every process of a machine that maps it, so
ten trials cost the memory of one. Values become float only on the device, in `Split.batch`.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mopoe.data.registry import ModalitySpec, Option
from mopoe.errors import DataError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """The paired samples of one split."""

    x: Mapping[str, Tensor]
    """By modality name, [N, ...]: uint8, floats in a unit of your own, or int8 (numbers of symbols)."""
    labels: Tensor
    """Class of each sample, int64 [N]; or a row of attributes, each 0 or 1, int64 [N, attributes]."""

    def __len__(self) -> int:
        """Return the number of samples N."""
        return len(self.labels)

    def batch(self, index_B: Tensor | slice, device: torch.device) -> dict[str, Tensor]:
        """Return samples by modality name as floats on the device (`to_unit`), images channels-last."""
        return {name: to_unit(x[index_B].to(device)) for name, x in self.x.items()}

    def take(self, index: Tensor) -> "Split":
        """Return the samples at an index: positions, or a mask."""
        return Split({name: x[index] for name, x in self.x.items()}, self.labels[index])

    def to(self, device: torch.device) -> "Split":
        """Return the split with its tensors on the device."""
        return Split({name: x.to(device) for name, x in self.x.items()}, self.labels.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class MultimodalData:
    """A data set with its three splits."""

    name: str
    """The data set's name in the registry, or the user's own."""
    options: Mapping[str, Option]
    """The options it was loaded with."""
    fingerprint: str
    """Changes whenever the data changes; names cached classifiers."""
    modalities: tuple[ModalitySpec, ...]
    """The modalities, in the order of the bits of a subset mask."""
    n_classes: int
    """Number of classes that a label can take; of attributes, if a label is a row of them."""
    train: Split
    """For training models and classifiers."""
    validation: Split
    """For choosing between trials."""
    test: Split
    """For the last word on the chosen ones."""

    def split(self, name: str) -> Split:
        """Return a split by name: train, validation or test."""
        if name not in SPLITS:
            raise DataError(f"there is no split {name!r}; there are: {', '.join(SPLITS)}")
        split: Split = getattr(self, name)
        return split


def fingerprint(splits: Mapping[str, Split]) -> str:
    """Return a short hash of the content of the splits, wherever they came from."""
    content = hashlib.sha256()
    for name in SPLITS:
        for x in (*splits[name].x.values(), splits[name].labels):
            content.update(repr((name, tuple(x.shape), x.dtype)).encode())
            content.update(np.ascontiguousarray(x.numpy()).view(np.uint8).data)
    return content.hexdigest()[:12]


def stratified_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return all positions, class after class and in random order within each.

    Each tenth element of it is a tenth of all samples and, but for one, of each class.
    """
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)])


def to_unit(x: Tensor) -> Tensor:
    """Return uint8 values as float32 in 0..1, others as they are; images (4 axes) in channels-last layout."""
    x = x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def cache_dir() -> Path:
    """Return the folder for built data sets and classifiers: $MOPOE_CACHE, or ~/.cache/mopoe."""
    return Path(os.environ.get("MOPOE_CACHE") or Path.home() / ".cache" / "mopoe")


def cached_file(path: Path, build: Callable[[Path], None]) -> Path:
    """Return the path, after building the file if it is missing; concurrent callers build it once.

    The file appears whole or not at all: `build` writes to a temporary name in the same folder.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with whole_file(path) as temporary:
                build(temporary)
    return path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file in the same folder that replaces the path in the end, or is deleted on an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o644)  # others may share it
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_splits(path: Path, splits: Mapping[str, Split], about: Mapping[str, Any] | None = None) -> None:
    """Write the splits to one file, with what is to be known about them (`read_about`) in its head."""
    tensors = {f"{name}/{m}": x.contiguous() for name, s in splits.items() for m, x in s.x.items()}
    tensors |= {f"{name}/labels": s.labels.contiguous() for name, s in splits.items()}
    # One entry alone, as the format keeps no order among several: equal data make equal files.
    save_file(tensors, path, None if about is None else {"about": json.dumps(about)})


def read_about(path: Path) -> dict[str, Any]:
    """Return what `save_splits` was told about the data; empty if nothing.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("about", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable data set ({error})") from error
    return about


def map_splits(path: Path, modalities: tuple[ModalitySpec, ...]) -> dict[str, Split]:
    """Return the splits of a file as memory-mapped tensors.

    Raises:
        DataError: the file is damaged, or a tensor is missing or has the wrong shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: not a readable data set ({error}); delete it and it is built anew"
        ) from error
    splits = {}
    for name in SPLITS:
        if f"{name}/labels" not in tensors:
            raise DataError(f"{path}: {name}/labels holds nothing; delete the file and it is built anew")
        for m in modalities:
            found = tensors.get(f"{name}/{m.name}")
            if found is None or tuple(found.shape[1:]) != m.shape:
                shape = "nothing" if found is None else f"shape {list(found.shape)}"
                raise DataError(
                    f"{path}: {name}/{m.name} holds {shape}, but must have samples of shape {list(m.shape)}; "
                    "delete the file and it is built anew"
                )
        splits[name] = Split(
            {m.name: tensors[f"{name}/{m.name}"] for m in modalities}, tensors[f"{name}/labels"]
        )
    return splits
