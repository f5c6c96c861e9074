"""A user's arrays and a model's inputs: what may be given for a modality, and its units there and here.

Axes: M modality, N sample, X the axes of one sample.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mopoe.data.container import MultimodalData, to_unit
from mopoe.data.features import impossible
from mopoe.data.registry import COVARIATES, ModalitySpec
from mopoe.errors import DataError
from mopoe.wording import did_you_mean

Kind = Literal["uint8", "float32", "int8"]
"""The values of a modality: bytes from 0 to 255, floats in any unit, or numbers of symbols."""

_DTYPES: Mapping[Kind, torch.dtype] = {"uint8": torch.uint8, "float32": torch.float32, "int8": torch.int8}


@dataclass(frozen=True, slots=True)
class Units:
    """One modality as its user has it, and as its model reads it.

    `to_model` and `to_user` are the one place where units are converted.
    """

    spec: ModalitySpec
    """Its name and shape."""
    kind: Kind
    """Its values in the data set that the model was trained on."""
    symbols: int = 0
    """How many symbols there are, if its values are numbers of symbols."""

    def to_model(self, x_NX: Tensor) -> Tensor:
        """Return samples that `read` checked as the model's networks and likelihoods take them."""
        x_NX = to_unit(x_NX / 255 if self.kind == "uint8" and x_NX.is_floating_point() else x_NX)
        if not self.spec.offset:
            return x_NX
        offset_X, scale_X = self._scaling(x_NX)
        return (x_NX - offset_X) / scale_X

    def to_user(self, mean_NX: Tensor) -> Tensor:
        """Return means of p(x | z) in the user's units: of images 0 to 255, of symbols probabilities."""
        if self.spec.offset:
            offset_X, scale_X = self._scaling(mean_NX)
            return mean_NX * scale_X + offset_X
        return (mean_NX * 255).clamp(0, 255) if self.kind == "uint8" else mean_NX

    def _scaling(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return what was subtracted from each element, and by what it was divided then."""
        offset_X, scale_X = (like.new_tensor(part) for part in (self.spec.offset, self.spec.scale))
        return offset_X.view(self.spec.shape), scale_X.view(self.spec.shape)

    def read(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return a user's samples [N, X], and which of them are there, bool [N]; the others become zeros.

        A sample is missing if every number of it is NaN.

        Raises:
            DataError: the array has another shape, or values that the modality cannot have.
        """
        name, shape = self.spec.name, self.spec.shape
        try:
            x_NX = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        except (TypeError, ValueError) as error:
            raise DataError(f"{name!r} is not an array of numbers ({error})") from error
        if tuple(x_NX.shape[1:]) != shape:
            raise DataError(
                f"{name!r} has samples of shape {list(x_NX.shape[1:])}, but must have {list(shape)}"
            )
        x_NX = x_NX.detach().cpu()
        flat = x_NX.reshape(len(x_NX), math.prod(shape))
        here_N = ~flat.isnan().all(1)
        if here_N.any() and (wrong := self._wrong(flat[here_N])):
            raise DataError(f"{name!r} {wrong}")
        x_NX = x_NX.where(here_N.view(-1, *(1 for _ in shape)), 0)
        # Floats are fine for images, whose means are none of the 256 levels.
        as_floats = self.kind == "uint8" and x_NX.is_floating_point()
        return x_NX.to(torch.float32 if as_floats else _DTYPES[self.kind]), here_N

    def _wrong(self, values: Tensor) -> str | None:
        """Return what is wrong with the values of samples that are there, as the rest of a sentence."""
        if not values.isfinite().all():
            return "holds a number that is not finite; a sample is missing if every number of it is NaN"
        low, high = float(values.min()), float(values.max())
        found = f"holds values from {low:g} to {high:g}"
        if self.kind == "uint8" and not 0 <= low <= high <= 255:
            return f"{found}, but must have 0 to 255"
        if self.kind == "uint8" and values.is_floating_point() and 0 < high <= 1:
            return f"{found}, but its images are from 0 to 255; multiply by 255"
        if self.spec.likelihood is not None:
            wrong, possible = impossible(self.spec.likelihood, values)
            return f"holds {float(values[wrong][0]):g}, but must have {possible}" if wrong.any() else None
        inside = 0 <= low <= high < self.symbols and bool((values.double() % 1 == 0).all())
        if self.kind == "int8" and not inside:
            return f"{found}, but must have numbers of symbols, 0 to {self.symbols - 1}"
        return None


def read_samples(units: Mapping[str, Units], x: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
    """Return a user's samples of some of a model's modalities, and which are there of all, bool [M, N].

    Raises:
        DataError: there is no such modality, an array does not fit, or a sample has no modality.
    """
    for name in x:
        if name not in units:
            raise DataError(f"there is no modality {name!r}; {did_you_mean(name, units)}")
    read = {name: units[name].read(array) for name, array in x.items()}
    sizes = {name: len(x_NX) for name, (x_NX, _) in read.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        found = ", ".join(f"{name} has {size}" for name, size in sizes.items()) or "nothing is given"
        raise DataError(f"the modalities given need equal numbers of samples, at least one, but {found}")
    absent_N = torch.zeros(max(sizes.values()), dtype=torch.bool)
    present_MN = torch.stack([read[name][1] if name in read else absent_N for name in units])
    if not (some_N := present_MN.any(0)).all():
        raise DataError(f"sample {int(some_N.int().argmin())} has none of the modalities")
    return {name: x_NX for name, (x_NX, _) in read.items()}, present_MN


def kinds(data: MultimodalData) -> dict[str, Kind]:
    """Return how a data set holds each of its modalities, by name."""
    return {name: _kind(x) for name, x in data.train.x.items() if name != COVARIATES}


def _kind(x: Tensor) -> Kind:
    return "float32" if x.is_floating_point() else "uint8" if x.dtype == torch.uint8 else "int8"
