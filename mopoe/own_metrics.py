"""Metrics of a user's own: functions that a sweep's file names, and the numbers that they promise.

Reading a file needs the promises alone, so that this module imports no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from mopoe.errors import ConfigError
from mopoe.plugins import named_function, plugin
from mopoe.quantities import KINDS, Direction
from mopoe.wording import did_you_mean, show

if TYPE_CHECKING:
    import torch

    from mopoe.data.container import MultimodalData

_F = TypeVar("_F", bound=Callable[..., Any])
_PROMISE = "_mopoe_metrics"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that a metric of a user's own returns."""

    name: str
    """Its name, one of those that the function promises."""
    value: Any
    """The number; or one per held-out sample (an array or a tensor [N]), of which it is the mean.

    Samples must be the same in every evaluation, in the same order: differences between trials are then known
    far better than their values.
    """
    stderr: float | None = None
    """Its standard error, if it is known; that of values per sample is computed."""
    subset: Sequence[str] = ()
    """The observed modalities, if the number is of a subset; () for all."""
    target: str | None = None
    """The generated modality, if the number is of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricContext:
    """What a metric is measured with, besides the model and the held-out samples."""

    data: "MultimodalData"
    """The data set, whose other splits a metric may refer to."""
    device: "torch.device"
    """The model's device."""
    generator: "torch.Generator"
    """The source of random numbers on that device: the same ones in every evaluation of every trial."""


def metric(**directions: Direction) -> Callable[[_F], _F]:
    """Mark a function as a metric that a sweep's file may name, with the names and directions of its numbers.

    It is called with the model, the held-out samples and a `MetricContext` and returns a `Metric` or several.

    Raises:
        ConfigError: a name is one of the project's, or a direction is neither maximize nor minimize.
    """
    for name, direction in directions.items():
        if name in KINDS:
            raise ConfigError(f"{name!r} is a metric of the project; choose another name")
        if direction not in get_args(Direction):
            hint = did_you_mean(direction, get_args(Direction))
            raise ConfigError(f"the direction of {name} is {show(direction)}; {hint}")

    def mark(function: _F) -> _F:
        setattr(function, _PROMISE, dict(directions))
        return plugin(function)

    return mark


def promised(reference: str) -> Mapping[str, Direction]:
    """Return which numbers a metric promises, and which of their values are better.

    Raises:
        ConfigError: the function cannot be imported or called, or promises none.
    """
    found: Mapping[str, Direction] | None = getattr(named_function(reference), _PROMISE, None)
    if not found:
        raise ConfigError("is no metric; put @mopoe.metric(NAME='maximize') above it, or 'minimize'")
    return found


def promises(references: Sequence[str]) -> dict[str, Direction]:
    """Return which numbers all metrics of a file promise.

    Raises:
        ConfigError: as for `promised`, with the reference, or two promise one name.
    """
    known: dict[str, Direction] = {}
    for reference in references:
        try:
            found = promised(reference)
        except ConfigError as error:
            raise ConfigError(f"{reference!r} {error}") from error
        if twice := sorted(known.keys() & found.keys()):
            raise ConfigError(f"{reference!r} promises {twice[0]}, as another metric does; rename one")
        known |= found
    return known
