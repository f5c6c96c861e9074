"""A data set in memory: one uint8 tensor per modality and split, mapped from one file on disk.

The file is in the safetensors format. Its pages are shared by every process of a machine that maps it, so
ten trials cost the memory of one. Values become float only on the device, in `Split.batch`.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mopoe.data.registry import DATA_SETS, ModalitySpec, Option
from mopoe.errors import DataError

SPLITS = ("train", "validation", "test")
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, ...] and the class of each [N]."""


@dataclass(frozen=True, slots=True)
class Split:
    """The paired samples of one split."""

    x: Mapping[str, Tensor]
    """By modality name, [N, ...] or [rows, ...]: uint8, floats in a unit of your own, or int8 symbols."""
    labels: Tensor
    """Class of each sample, int64 [N]; or a row of attributes, each 0 or 1, int64 [N, attributes]."""
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    """Of modalities that reuse what they hold: the row of x in each sample, int32 [N]."""
    present: Tensor | None = None
    """Which modality of which sample is there: bool [N, M] in the order of x; None if all are."""

    def __len__(self) -> int:
        """Return the number of samples N."""
        return len(self.labels)

    def batch(self, index_B: Tensor | slice, device: torch.device) -> dict[str, Tensor]:
        """Return samples by modality name as floats on the device (`to_unit`), images channels-last."""
        return {name: to_unit(self.stored(name, index_B).to(device)) for name in self.x}

    def stored(self, name: str, index_B: Tensor | slice) -> Tensor:
        """Return samples of one modality as they are held: [B, ...]."""
        return self.x[name][self.rows[name][index_B] if name in self.rows else index_B]

    def take(self, index: Tensor) -> "Split":
        """Return the samples at an index: positions, or a mask. What is reused is not copied."""
        x = {name: x if name in self.rows else x[index] for name, x in self.x.items()}
        rows = {name: row[index] for name, row in self.rows.items()}
        return Split(x, self.labels[index], rows, None if self.present is None else self.present[index])

    def complete(self) -> "Split":
        """Return the samples none of whose modalities is missing."""
        return self if self.present is None else self.take(self.present.all(1))

    def to(self, device: torch.device) -> "Split":
        """Return the split with its tensors on the device."""
        x, rows = ({name: t.to(device) for name, t in part.items()} for part in (self.x, self.rows))
        present = None if self.present is None else self.present.to(device)
        return Split(x, self.labels.to(device), rows, present)


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
        split = splits[name]
        present = () if split.present is None else (split.present,)
        for x in (*split.x.values(), *split.rows.values(), split.labels, *present):
            content.update(repr((name, tuple(x.shape), x.dtype)).encode())
            content.update(np.ascontiguousarray(x.numpy()).view(np.uint8).data)
    return content.hexdigest()[:12]


def stratified_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return all positions, class after class and in random order within each.

    Each tenth element of it is a tenth of all samples and, but for one, of each class.
    """
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)])


def hold_out(sources: Sequence[Labelled], rng: np.random.Generator) -> dict[str, Labelled]:
    """Return three splits by name, of one source or of two: for training, and for testing.

    A tenth of each class of the first is for validation; if it is alone, another tenth is for testing.
    """
    images, labels = sources[0]
    order = stratified_order(labels, rng)
    place = np.arange(len(order)) % 10
    alone = len(sources) == 1
    index = {"validation": place == 0, "test": place == 5, "train": (place > 0) & ~(alone & (place == 5))}
    splits = {name: (images[order[among]], labels[order[among]]) for name, among in index.items()}
    return splits if alone else splits | {"test": sources[1]}


def to_unit(x: Tensor) -> Tensor:
    """Return uint8 values as float32 in 0..1, others as they are; images (4 axes) in channels-last layout."""
    x = x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


_ELSEWHERE = "set MOPOE_CACHE to a folder that can be written"


def cache_dir() -> Path:
    """Return the folder for built data sets and classifiers: $MOPOE_CACHE, or ~/.cache/mopoe.

    Raises:
        DataError: neither is there.
    """
    try:
        return Path(os.environ.get("MOPOE_CACHE") or Path.home() / ".cache" / "mopoe")
    except RuntimeError as error:
        raise DataError(f"there is no home folder for what is built once; {_ELSEWHERE}") from error


def cached_file(path: Path, build: Callable[[Path], None]) -> Path:
    """Return the path, after building the file if it is missing; concurrent callers build it once.

    The file appears whole or not at all: `build` writes to a temporary name in the same folder.

    Raises:
        DataError: the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        try:
            if path.exists():
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock")
            lock.touch()  # where it cannot be made, the lock would be waited for without end
            held.enter_context(FileLock(lock))
        except OSError as error:
            raise DataError(f"cannot write {path.parent}: {error.strerror}; {_ELSEWHERE}") from error
        if not path.exists():
            try:
                with whole_file(path) as temporary:
                    build(temporary)
            except SafetensorError as error:  # a full disk
                raise DataError(f"cannot write {path}: {error}; {_ELSEWHERE}") from error
    return path


def _umask() -> int:
    """Return which permissions new files of this process lack; it can be read by setting it only."""
    os.umask(mask := os.umask(0o077))
    return mask


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file in the same folder that replaces the path in the end, or is deleted on an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # Neither mkstemp nor safetensors asks the umask, but others may share a cache or a results folder.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_splits(path: Path, splits: Mapping[str, Split], about: Mapping[str, Any] | None = None) -> None:
    """Write the splits to one file, with what is to be known about them (`read_about`) in its head."""
    tensors = {f"{name}/{m}": x.contiguous() for name, s in splits.items() for m, x in s.x.items()}
    tensors |= {f"{name}/labels": s.labels.contiguous() for name, s in splits.items()}
    tensors |= {
        f"{name}/rows/{m}": row.contiguous() for name, s in splits.items() for m, row in s.rows.items()
    }
    tensors |= {f"{name}/present": s.present for name, s in splits.items() if s.present is not None}
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
            {m.name: tensors[f"{name}/{m.name}"] for m in modalities},
            tensors[f"{name}/labels"],
            {m.name: tensors[key] for m in modalities if (key := f"{name}/rows/{m.name}") in tensors},
            tensors.get(f"{name}/present"),
        )
    return splits


def map_data(path: Path, name: str, options: Mapping[str, Option], fingerprint: str) -> MultimodalData:
    """Return a registered data set of ten classes, its splits memory-mapped from a file.

    Raises:
        DataError: the file is damaged, or a tensor is missing or has the wrong shape.
    """
    modalities = DATA_SETS[name].modalities
    return MultimodalData(
        name=name,
        options=options,
        fingerprint=fingerprint,
        modalities=modalities,
        n_classes=10,
        **map_splits(path, modalities),
    )
