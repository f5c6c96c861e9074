"""What one parameter of a search space can be, as it stands in a sweep's file."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from mopoe.errors import ConfigError
from mopoe.subsets import subset_label, subset_masks
from sweep.config.messages import Name, problem
from sweep.config.schema import StrictModel


def subset_places(labels: Sequence[object], modalities: Sequence[str]) -> tuple[int, ...]:
    """Return the places of subsets among the 2^M - 1, in the order of `subset_masks`.

    The names in a label may have any order.

    Raises:
        ConfigError: there is no such subset, and the message has the nearest; or one stands twice.

    >>> subset_places(["m2+m0", "m1"], ["m0", "m1", "m2"])
    (4, 1)
    """
    masks = subset_masks(len(modalities))
    places: dict[int, object] = {}
    for label in labels:
        names = str(label).replace(" ", "").split("+")
        if len(set(names)) < len(names) or not set(names) <= set(modalities):
            known = [subset_label(mask, modalities) for mask in masks]
            (near,) = difflib.get_close_matches(str(label), known, n=1, cutoff=0.0)
            hint = f"did you mean {near!r}? The modalities are {', '.join(modalities)}"
            raise ConfigError(f"there is no subset {label!r}; {hint}")
        place = masks.index(sum(1 << modalities.index(name) for name in names))
        if place in places:
            raise ConfigError(f"subset {label!r} appears twice (as {places[place]!r}); keep one")
        places[place] = label
    return tuple(places)


def weights_by_label(
    given: Mapping[str, float] | Sequence[str], modalities: Sequence[str]
) -> tuple[float, ...]:
    """Return 2^M - 1 weights from those of some subsets, or from a list of subsets of equal weight.

    Raises:
        ConfigError: as of `subset_places`.

    >>> weights_by_label({"m0": 0.25, "m0+m1": 0.75}, ["m0", "m1"])
    (0.25, 0.0, 0.75)
    """
    places = subset_places(list(given), modalities)
    weights = given.values() if isinstance(given, Mapping) else [1 / len(given)] * len(given)
    return _spread(places, weights, 2 ** len(modalities) - 1)


def _spread(places: Sequence[int], weights: Iterable[float], n: int) -> tuple[float, ...]:
    """Return n numbers: the weights at their places, and 0 elsewhere."""
    there = dict(zip(places, weights, strict=True))
    return tuple(there.get(i, 0.0) for i in range(n))


def as_tuple(value: Any) -> Any:
    """Return a list, and the lists in it, as tuples; anything else as it is."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


class Conditional(StrictModel):
    """What every parameter may have."""

    when: Annotated[Mapping[Name, Any], Field(min_length=1)] | None = None
    """The values of choices above this parameter under which it exists; null for always.

    Where it does not exist, the setting is at its default:

        search_space:
          method: {type: choice, values: [mopoe, moe]}
          subset_weights: {type: simplex, over: size, when: {method: mopoe}}
    """


class _Range(Conditional):
    low: FiniteFloat
    """The smallest value."""
    high: FiniteFloat
    """The largest value."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise problem(f"low is {self.low}, but must be below high ({self.high}); swap them?", "low")
        if self.low == self.high:
            must = "must differ; put a constant under `fixed`"
            raise problem(f"low and high are both {self.low}, but {must}", "low")
        return self


class Uniform(_Range):
    """A number between two bounds, all equally likely.

    A trial hides up to half of the modalities:

        search_space: {missing: {type: uniform, low: 0, high: 0.5}}
    """

    type: Literal["uniform"] = "uniform"


class LogUniform(_Range):
    """A number between two bounds above 0, all of whose logarithms are equally likely.

    The range from 0.1 to 1 is searched as much as that from 1 to 10:

        search_space: {beta: {type: log_uniform, low: 0.1, high: 10}}
    """

    type: Literal["log_uniform"] = "log_uniform"
    low: Annotated[FiniteFloat, Field(gt=0)]
    """The smallest value."""


class Int(_Range):
    """A whole number between two bounds, both included.

    One of 64, 128, 192 and so on:

        search_space: {latent_dim: {type: int, low: 64, high: 512, step: 64}}
    """

    type: Literal["int"] = "int"
    low: int
    """The smallest value."""
    high: int
    """The largest value; low plus a multiple of step."""
    log: bool = False
    """Whether the logarithms are equally likely rather than the values."""
    step: Annotated[int, Field(ge=1)] = 1
    """Distance between neighbouring values; 1 with log."""

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        if self.log and self.low < 1:
            raise problem(f"low is {self.low}, but must be at least 1 with log: true", "low")
        if self.log and self.step > 1:
            raise problem(f"step is {self.step}, but must be 1 with log: true", "step")
        if beyond := (self.high - self.low) % self.step:
            near = self.high - beyond
            must = f"low plus a multiple of step; near: {near} and {near + self.step}"
            raise problem(f"high is {self.high}, but must be {must}", "high")
        return self

    @property
    def size(self) -> int:
        """Return how many values there are."""
        return (self.high - self.low) // self.step + 1


class Choice(Conditional):
    """One of some values, all equally likely.

    A value may be a list:

        search_space: {channels: {type: choice, values: [[16, 32, 64], [32, 64, 128]]}}
    """

    type: Literal["choice"] = "choice"
    values: Annotated[tuple[Any, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """The values, no two of them equal."""

    @property
    def size(self) -> int:
        """Return how many values there are."""
        return len(self.values)

    def encode(self, value: Any) -> Any:
        """Return a value as Optuna and a table can keep it: as JSON text if not all are numbers or words."""
        value = next((known for known in self.values if known == as_tuple(value)), value)
        as_text = any(v is None or isinstance(v, bool | tuple | list) for v in (value, *self.values))
        as_text = as_text or len({isinstance(v, str) for v in self.values}) > 1
        return json.dumps(value) if as_text else value


class Simplex(Conditional):
    """Weights of at least 0 that sum to one, all such weights equally likely.

    Weights of two single modalities and of all five together:

        search_space: {subset_weights: {type: simplex, over: [m0, m1, m0+m1+m2+m3+m4]}}
    """

    type: Literal["simplex"] = "simplex"
    over: Annotated[
        Literal["size", "subset"] | Annotated[tuple[str, ...], Field(strict=False, min_length=2)],
        Field(description="size, subset, or a list of at least two subsets such as m0+m1"),
    ]
    """What has a weight.

    size: every subset size; subsets of one size share its weight equally.
    subset: every subset.
    """

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
        return subset_places(self.over, modalities)

    def weights(self, searched: Sequence[float], modalities: Sequence[str]) -> tuple[float, ...]:
        """Return the setting with these weights in its searched places and 0 in the others."""
        return _spread(self.places(modalities), searched, self.length(modalities))


Parameter = Annotated[
    Uniform | LogUniform | Int | Choice | Simplex,
    Field(
        discriminator="type",
        description="a mapping such as {type: uniform, low: 1, high: 2}; constants go to `fixed`",
    ),
]
"""What may stand under one name of `search_space`."""


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
