"""Covariates: the values that a user has for each sample, and the numbers that networks read for them.

Axes: B batch, C number that networks read, F feature, N sample.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mopoe.data.registry import Covariate, ModalitySpec
from mopoe.data.table_files import refuse_constant
from mopoe.errors import ConfigError, DataError
from mopoe.wording import did_you_mean


def of_modalities(modalities: Sequence[ModalitySpec]) -> tuple[Covariate, ...]:
    """Return the covariates of a data set, which all its modalities share."""
    return modalities[0].covariates if modalities else ()


def width(covariates: Iterable[Covariate]) -> int:
    """Return how many numbers C networks read for some covariates."""
    return sum(len(c.columns) for c in covariates)


def covariate(name: str, values: Iterable[object]) -> Covariate:
    """Return a covariate by its values in training: not yet scaled if they are numbers, else categories."""
    known = [value for value in values if not _absent(value)]
    if all(isinstance(value, Real) and not isinstance(value, bool) for value in known):
        return Covariate(name=name)
    return Covariate(name=name, categories=tuple(sorted({str(value) for value in known})))


def numbers(
    covariates: Sequence[Covariate], values: Mapping[str, Sequence[object]], who: Callable[[int], str]
) -> Tensor:
    """Return the numbers [N, C] that networks read, float64.

    Args:
        covariates: what is read.
        values: by covariate name, one for each sample.
        who: a sample's name in a message, by its position.

    Raises:
        DataError: a value is missing, no number, or a category that no training sample has.
    """
    rows = [
        [column for c in covariates for column in _numbers(c, values[c.name][i], who(i))]
        for i in range(len(values[covariates[0].name]))
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _numbers(c: Covariate, value: object, who: str) -> list[float]:
    if _absent(value):
        raise DataError(f"covariate {c.name!r} is missing for {who}")
    if c.categories:
        if str(value) not in c.categories:
            hint = did_you_mean(value, c.categories)
            raise DataError(f"covariate {c.name!r} is {value!r} for {who}, as for no training sample; {hint}")
        return [float(category == str(value)) for category in c.categories]
    try:
        number = (float(value) - c.offset) / c.scale  # type: ignore[arg-type] # what is no number is caught
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"covariate {c.name!r} is {value!r} for {who}, but must be a finite number")
    return [number]


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, Real) and math.isnan(value))


def rescaled(
    covariates: Sequence[Covariate], train_NC: Tensor, where: str
) -> tuple[tuple[Covariate, ...], Tensor, Tensor]:
    """Return covariates in the scale of training samples, and what to subtract and divide by, [C] each.

    Args:
        covariates: as the numbers of the samples are scaled now.
        train_NC: these numbers of the training samples.
        where: the beginning of a message.

    Raises:
        DataError: a number or a category is the same for all of them.
    """
    columns = [column for c in covariates for column in c.columns]
    refuse_constant(where, columns, train_NC, " among the training samples")
    parts = train_NC.double().split([len(c.columns) for c in covariates], 1)
    found, mean_C, deviation_C = list[Covariate](), list[float](), list[float]()
    for c, part in zip(covariates, parts, strict=True):
        mean, deviation = (0.0, 1.0) if c.categories else (float(part.mean()), float(part.std(correction=0)))
        found.append(replace(c, offset=c.offset + c.scale * mean, scale=c.scale * deviation))
        mean_C += [mean] * len(c.columns)
        deviation_C += [deviation] * len(c.columns)
    return tuple(found), train_NC.new_tensor(mean_C), train_NC.new_tensor(deviation_C)


def given_numbers(covariates: Sequence[Covariate], given: Any, n: int) -> Tensor | None:
    """Return the numbers [N, C], float32, of a user's covariates of n samples; None if the model has none.

    Args:
        covariates: the model's.
        given: a table or a mapping with a column for each, or an array [N] or [N, covariates] in their order.
        n: the number of samples.

    Raises:
        DataError: they are not given, not all of them, or for another number of samples, or one is wrong.
    """
    names = [c.name for c in covariates]
    if not names:
        if given is not None:
            raise DataError("covariates are given, but the model has none")
        return None
    if given is None:
        told = ", ".join(map(repr, names))
        raise DataError(f"the model is conditioned on {told}; give a value of each for every sample")
    columns = given if isinstance(given, Mapping) else getattr(given, "columns", None)
    if columns is None:
        rows = np.array(given, dtype=object)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.shape[1:] != (len(names),):
            raise DataError(f"covariates must be an array with the columns {', '.join(names)}")
        given = dict(zip(names, rows.T, strict=True))
    elif missing := [name for name in names if name not in columns]:
        raise DataError(f"there is no covariate {missing[0]!r}; {did_you_mean(missing[0], columns)}")
    values = {name: list(given[name]) for name in names}
    for name, column in values.items():
        if len(column) != n:
            raise DataError(f"covariate {name!r} has {len(column)} values, but there are {n} samples")
    return numbers(covariates, values, "sample {}".format).float()


def joined(h_BF: Tensor, covariates_BC: Tensor | None, n: int) -> Tensor:
    """Return the input [B, F + C] of a network that is conditioned on n numbers; without any, h as it is.

    Raises:
        ConfigError: there are none of them, or they are of another shape.
    """
    if not n:
        return h_BF
    due = [len(h_BF), n]
    if covariates_BC is None or list(covariates_BC.shape) != due:
        found = "are not given" if covariates_BC is None else f"have shape {list(covariates_BC.shape)}"
        raise ConfigError(f"the model is conditioned on covariates {due}, but they {found}")
    return torch.cat([h_BF.flatten(1), covariates_BC.to(h_BF.dtype)], 1)
