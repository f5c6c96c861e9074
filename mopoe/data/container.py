"""A data set in memory: one tensor per modality and split. Values become floats only in `Split.batch`."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mopoe.data.registry import ModalitySpec, Option

SPLITS = ("train", "validation", "test")
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, ...] and their classes [N]."""


@dataclass(frozen=True, slots=True)
class Split:
    """The paired samples of one split."""

    x: Mapping[str, Tensor]
    """Values by modality name, [N, ...] or [rows, ...]: uint8, floats in any unit, or int8 symbols; last, as
    `COVARIATES`, the numbers [N, C] that networks read for the covariates, if there are any."""
    labels: Tensor
    """Class of each sample, int64 [N], or its attributes of 0 and 1, int64 [N, A]; [N, 0] without labels."""
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    """For modalities whose values several samples share: the row of x of each sample, int32 [N]."""
    present: Tensor | None = None
    """Whether the sample has the modality, bool [N, M] in the order of x; None if all are present."""

    def __len__(self) -> int:
        """Return the number of samples N."""
        return len(self.labels)

    def batch(
        self, index_B: Tensor | slice, device: torch.device, *, innermost: bool = False
    ) -> dict[str, Tensor]:
        """Return samples by modality name on the device, as `to_unit` gives them.

        With `innermost` the samples of a pixel lie next to each other in memory, and the modalities of one
        shape one after the other, as banks of networks read them.
        """
        stored = {name: self.stored(name, index_B).to(device) for name in self.x}
        if not innermost:
            return {name: to_unit(x) for name, x in stored.items()}
        alike: dict[tuple[torch.dtype, torch.Size], list[str]] = {}
        for name, x in stored.items():
            alike.setdefault((x.dtype, x.shape), []).append(name)
        found: dict[str, Tensor] = {}
        for (dtype, (n, *shape)), names in alike.items():
            as_float = torch.float32 if dtype == torch.uint8 else dtype
            block = torch.empty(len(names), *shape, n, dtype=as_float, device=device)
            for name, x in zip(names, block, strict=True):
                x.copy_(stored[name].movedim(0, -1))
            if dtype == torch.uint8:
                block.div_(255)
            found |= zip(names, block.movedim(-1, 1), strict=True)
        return {name: found[name] for name in stored}

    def stored(self, name: str, index_B: Tensor | slice) -> Tensor:
        """Return samples of one modality as they are stored: [B, ...]."""
        x, index_B = self.x[name], self.rows[name][index_B] if name in self.rows else index_B
        return x[index_B] if isinstance(index_B, slice) else x.index_select(0, index_B)

    def take(self, index: Tensor) -> "Split":
        """Return the samples at an index of positions or booleans; shared values are not copied."""
        x = {name: x if name in self.rows else x[index] for name, x in self.x.items()}
        rows = {name: row[index] for name, row in self.rows.items()}
        return Split(x, self.labels[index], rows, None if self.present is None else self.present[index])

    def shuffled(self, index: NDArray[np.int64], rng: np.random.Generator) -> "Split":
        """Return the samples at an index in random order, as an evaluation takes a split's first ones."""
        return self.take(torch.from_numpy(rng.permutation(index)))

    def complete(self) -> "Split":
        """Return the samples that have all modalities."""
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
    """The data set's name, in the registry or as the user gave it."""
    options: Mapping[str, Option]
    """The options with which it was loaded."""
    fingerprint: str
    """A hash of the data."""
    modalities: tuple[ModalitySpec, ...]
    """The modalities, in the order of the bits of a subset mask."""
    n_classes: int
    """Number of classes, or of attributes; 0 without labels."""
    classes: tuple[str, ...] = ()
    """Their names in the order of their numbers, if they have any."""
    train: Split
    """Trains models and classifiers."""
    validation: Split
    """Compares trials."""
    test: Split
    """Measures the trials that were chosen."""

    def split(self, name: str) -> Split:
        """Return a split by name: train, validation or test."""
        split: Split = getattr(self, name)
        return split


def fingerprint(splits: Mapping[str, Split]) -> str:
    """Return a short hash of the content of the splits."""
    content = hashlib.sha256()
    for name in SPLITS:
        split = splits[name]
        present = () if split.present is None else (split.present,)
        for x in (*split.x.values(), *split.rows.values(), split.labels, *present):
            content.update(repr((name, tuple(x.shape), x.dtype)).encode())
            content.update(np.ascontiguousarray(x.numpy()).view(np.uint8).data)
    return content.hexdigest()[:12]


def stratified_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return all positions, class after class, in random order within each class.

    Every tenth element makes a tenth of all samples and, up to one sample, of each class.
    """
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)])


def held_out(order: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return a tenth of the elements of an order for each of at most two names, and the rest as "train"."""
    place = np.arange(len(order)) % 10
    shares = dict(zip(names, (0, 5), strict=False))
    chosen = {name: order[place == share] for name, share in shares.items()}
    return chosen | {"train": order[~np.isin(place, list(shares.values()))]}


def hold_out(sources: Sequence[Labelled], rng: np.random.Generator) -> dict[str, Labelled]:
    """Return three splits by name from one source, or from two: one for training and one for testing.

    A tenth of each class of the first source becomes the validation split; if there is no second source,
    another tenth becomes the test split.
    """
    images, labels = sources[0]
    single = len(sources) == 1
    index = held_out(stratified_order(labels, rng), ("validation", "test") if single else ("validation",))
    splits = {name: (images[chosen], labels[chosen]) for name, chosen in index.items()}
    return splits if single else splits | {"test": sources[1]}


def chunks(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the start and the end of consecutive runs of at most `size` of n samples.

    >>> list(chunks(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    return ((start, min(start + size, n)) for start in range(0, n, size))


def type_and_shape(tensor: Tensor) -> str:
    """Return the type and shape of a tensor for error messages, as in 'uint8 [3, 28, 28]'."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def to_unit(x: Tensor) -> Tensor:
    """Return uint8 values as float32 in 0..1, others unchanged; images (4 axes) in channels-last layout."""
    x = x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
