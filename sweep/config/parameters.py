"""What one parameter of a search space can be, as it stands in a sweep's file."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mopoe.errors import ConfigError
from mopoe.subsets import subset_label, subset_masks
from search_spaces import did_you_mean, show


def subset_position(label: object, modalities: Sequence[str]) -> int:
    """Return the place of a subset among the 2^M - 1, in the order of `subset_masks`; any order of names.

    Raises:
        ConfigError: there is no such subset; the message has the nearest.

    >>> subset_position("m2+m0", ["m0", "m1", "m2"])
    4
    """
    masks = subset_masks(len(modalities))
    names = str(label).replace(" ", "").split("+")
    if len(set(names)) == len(names) and set(names) <= set(modalities):
        return masks.index(sum(1 << modalities.index(name) for name in names))
    labels = [subset_label(mask, modalities) for mask in masks]
    (near,) = difflib.get_close_matches(str(label), labels, n=1, cutoff=0.0)
    raise ConfigError(
        f"there is no subset {label!r}; did you mean {near!r}? modalities: {', '.join(modalities)}"
    )


def weights_by_label(
    given: Mapping[str, float] | Sequence[str], modalities: Sequence[str]
) -> tuple[float, ...]:
    """Return 2^M - 1 weights from those of some subsets, or from a list of subsets of equal weight.

    Raises:
        ConfigError: there is no such subset, or it stands twice.

    >>> weights_by_label({"m0": 0.25, "m0+m1": 0.75}, ["m0", "m1"])
    (0.25, 0.0, 0.75)
    """
    pairs = given.items() if isinstance(given, Mapping) else [(label, 1 / len(given)) for label in given]
    found = [0.0] * (2 ** len(modalities) - 1)
    seen: dict[int, object] = {}
    for label, weight in pairs:
        at = subset_position(label, modalities)
        if at in seen:
            raise ConfigError(f"subset {label!r} is there twice (as {seen[at]!r}); keep one")
        seen[at] = label
        found[at] = weight
    return tuple(found)


def problem(sentence: str, *at: str | int) -> PydanticCustomError:
    """Return the error to raise in a validator: a sentence, and its key's path below the validated value."""
    return PydanticCustomError("sweep", "{sentence}", {"sentence": sentence, "at": at})


@contextmanager
def problems_at(*at: str | int) -> Iterator[None]:
    """Turn a ConfigError inside into a `problem` at this path."""
    try:
        yield
    except ConfigError as error:
        raise problem(str(error), *at) from None


def as_tuple(value: Any) -> Any:
    """Return a list, and the lists in it, as tuples; anything else as it is."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


class StrictModel(BaseModel):
    """A mapping of the YAML file: no unknown keys, no conversions such as "3" to 3, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Parameter(StrictModel):
    when: Annotated[Mapping[str, Any] | None, Field(min_length=1)] = None
    """The values of other parameters under which this one exists; null for always."""


class _Range(_Parameter):
    low: float
    """The smallest value."""
    high: float
    """The largest value."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high)
        return self


class Uniform(_Range):
    """A number between two bounds, all equally likely."""

    type: Literal["uniform"] = "uniform"
    """The kind of parameter."""


class LogUniform(_Range):
    """A number between two bounds above 0, all of whose logarithms are equally likely."""

    type: Literal["log_uniform"] = "log_uniform"
    """The kind of parameter."""

    @model_validator(mode="after")
    def _check_log(self) -> Self:
        if self.low <= 0:
            raise problem(f"low is {self.low}, but must be above 0 for log_uniform", "low")
        return self


class Int(_Parameter):
    """A whole number between two bounds, both included."""

    type: Literal["int"] = "int"
    """The kind of parameter."""
    low: int
    """The smallest value."""
    high: int
    """The largest value; low plus a multiple of step."""
    log: bool = False
    """Whether the logarithms are equally likely rather than the values."""
    step: int = Field(1, ge=1)
    """Distance between neighbouring values; 1 with log."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.log and self.low < 1:
            raise problem(f"low is {self.low}, but must be at least 1 with log: true", "low")
        if self.log and self.step > 1:
            raise problem(f"step is {self.step}, but must be 1 with log: true", "step")
        _check_range(self.low, self.high)
        if beyond := (self.high - self.low) % self.step:
            near = f"{self.high - beyond} and {self.high - beyond + self.step}"
            raise problem(
                f"high is {self.high}, but must be low plus a multiple of step; near: {near}", "high"
            )
        return self

    @property
    def size(self) -> int:
        """Return how many values there are."""
        return (self.high - self.low) // self.step + 1


class Choice(_Parameter):
    """One of some values, all equally likely."""

    type: Literal["choice"] = "choice"
    """The kind of parameter."""
    values: Annotated[tuple[Any, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """The values, no two of them equal."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for i, value in enumerate(self.values):
            if value in self.values[:i]:
                raise problem(f"values has {value!r} twice; keep one", "values")
        return self

    @property
    def size(self) -> int:
        """Return how many values there are."""
        return len(self.values)

    def encode(self, value: Any) -> Any:
        """Return a value as Optuna and a table can keep it: as JSON text if one is no number or word."""
        value = next((known for known in self.values if known == as_tuple(value)), value)
        as_text = any(v is None or isinstance(v, bool | tuple | list) for v in (value, *self.values))
        return json.dumps(value) if as_text else value


def _over(value: Any) -> Any:
    value = as_tuple(value)
    if isinstance(value, tuple):
        for i, label in enumerate(value):
            if not isinstance(label, str):
                raise problem(f"entry {i + 1} is {show(label)}, but must be a subset such as m0+m1", i)
        if len(value) < 2:
            raise problem("over has fewer than two subsets, which leaves nothing to search; add another")
    elif value not in ("size", "subset"):
        kinds = ("size", "subset", "a list of subsets")
        raise problem(f"over is {show(value)}; {did_you_mean(value, kinds)}")
    return value


class Simplex(_Parameter):
    """Weights of at least 0 that sum to one, all such weights equally likely."""

    type: Literal["simplex"] = "simplex"
    """The kind of parameter."""
    over: Annotated[str | tuple[str, ...], BeforeValidator(_over)]
    """What has a weight: every subset size, every subset, or these subsets by label, all others none."""

    def length(self, modalities: Sequence[str]) -> int:
        """Return how many numbers the setting has: M or 2^M - 1."""
        return len(modalities) if self.over == "size" else 2 ** len(modalities) - 1

    def places(self, modalities: Sequence[str]) -> tuple[int, ...]:
        """Return which of the setting's numbers are searched, in order: all, or those of the labels.

        Raises:
            ConfigError: a label names no subset, or one that is there already.
        """
        if isinstance(self.over, str):
            return tuple(range(self.length(modalities)))
        found = tuple(subset_position(label, modalities) for label in self.over)
        for i, place in enumerate(found):
            if place in found[:i]:
                raise ConfigError(f"subset {self.over[i]!r} is there twice; keep one")
        return found

    def weights(self, searched: Sequence[float], modalities: Sequence[str]) -> tuple[float, ...]:
        """Return the setting with these weights in its searched places and 0 in the others."""
        found = [0.0] * self.length(modalities)
        for place, weight in zip(self.places(modalities), searched, strict=True):
            found[place] = weight
        return tuple(found)


Parameter = Annotated[Uniform | LogUniform | Int | Choice | Simplex, Field(discriminator="type")]
"""What may stand under one name of `search_space`."""

FITTING = {
    float: ("uniform", "log_uniform", "choice"),
    int: ("int", "choice"),
    "subset_weights": ("simplex", "choice"),
    "mixture_path": ("uniform", "choice"),
}
"""The types of parameter by the type of a setting's default, or by name if it is None; others: choice."""


def middle(parameter: Parameter, modalities: Sequence[str]) -> Any:
    """Return the default point of a parameter.

    The geometric mean of the bounds for log scales, their mean otherwise (rounded to the grid of an int),
    the first choice, equal weights.
    """
    match parameter:
        case Uniform(low=low, high=high):
            return low + (high - low) / 2
        case LogUniform(low=low, high=high):
            return math.sqrt(low) * math.sqrt(high)
        case Int(low=low, high=high, log=True):
            return round(math.sqrt(low * high))
        case Int(low=low, high=high, step=step):
            return low + (high - low) // (2 * step) * step
        case Choice(values=values):
            return values[0]
        case Simplex():
            n = len(parameter.places(modalities))
            return parameter.weights([1 / n] * n, modalities)


def _check_range(low: float, high: float) -> None:
    if low > high:
        raise problem(f"low is {low}, but must be below high ({high}); swap them?", "low")
    if low == high:
        raise problem(f"low and high are both {low}, but must differ; put a constant under `fixed`", "low")
