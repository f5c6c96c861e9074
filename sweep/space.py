"""The search space of a sweep: what one parameter can be, and how all of them become Optuna's distributions.

A simplex of n weights has no distribution of its own in Optuna. It becomes n - 1 numbers of the unit interval
by stick breaking, so chosen that uniform numbers give the uniform distribution on the simplex.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mopoe.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


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


class _Range(StrictModel):
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


class Int(StrictModel):
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


class Choice(StrictModel):
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

    def encode(self, value: Any) -> Any:
        """Return a value as Optuna and a table can keep it: as JSON text if one is no number or word."""
        value = next((known for known in self.values if known == as_tuple(value)), value)
        as_text = any(v is None or isinstance(v, bool | tuple | list) for v in (value, *self.values))
        return json.dumps(value) if as_text else value


class Simplex(StrictModel):
    """Weights of at least 0 that sum to one, all such weights equally likely."""

    type: Literal["simplex"] = "simplex"
    """The kind of parameter."""
    over: Literal["size", "subset"]
    """Whether there is one weight per subset size or one per subset."""

    def size(self, n_modalities: int) -> int:
        """Return how many weights there are: M or 2^M - 1."""
        return n_modalities if self.over == "size" else 2**n_modalities - 1


Parameter = Annotated[Uniform | LogUniform | Int | Choice | Simplex, Field(discriminator="type")]
"""What may stand under one name of `search_space`."""

FITTING = {
    float: ("uniform", "log_uniform", "choice"),
    int: ("int", "choice"),
    "subset_weights": ("simplex", "choice"),
    "mixture_path": ("uniform", "choice"),
}
"""The types of parameter by the type of a setting's default, or by name if it is None; others: choice."""


def middle(parameter: Parameter, n_modalities: int) -> Any:
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
            n = parameter.size(n_modalities)
            return (1 / n,) * n


@dataclass(frozen=True, slots=True)
class Space:
    """The searched parameters together, translated to and from Optuna's flat suggestions."""

    parameters: Mapping[str, Parameter]
    """The searched parameters by name of the `TrialConfig` field."""
    n_modalities: int
    """Number of modalities M of the data set."""

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution by name; n weights are n - 1 numbers `subset_weights.0`, ..."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for name, parameter in self.parameters.items():
            match parameter:
                case Uniform(low=low, high=high):
                    found[name] = FloatDistribution(low, high)
                case LogUniform(low=low, high=high):
                    found[name] = FloatDistribution(low, high, log=True)
                case Int(low=low, high=high, log=log, step=step):
                    found[name] = IntDistribution(low, high, log=log, step=step)
                case Choice(values=values):
                    found[name] = CategoricalDistribution([parameter.encode(value) for value in values])
                case Simplex():
                    found |= {axis: FloatDistribution(0.0, 1.0) for axis in self._axes(name, parameter)}
        return found

    def settings(self, suggestion: Mapping[str, float | int | str]) -> dict[str, Any]:
        """Return the `TrialConfig` values of a suggestion of Optuna."""
        found: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            match parameter:
                case Choice(values=values):
                    found[name] = {parameter.encode(value): value for value in values}[suggestion[name]]
                case Simplex():
                    cube = [float(suggestion[axis]) for axis in self._axes(name, parameter)]
                    found[name] = simplex_from_cube(cube)
                case _:
                    found[name] = suggestion[name]
        return found

    def suggestion(self, settings: Mapping[str, Any]) -> dict[str, float | int | str]:
        """Return the suggestion that has these settings, for points known beforehand: inverse of `settings`.

        Raises:
            ConfigError: a parameter is absent, is none of the choices, or has another number of weights.
        """
        found: dict[str, float | int | str] = {}
        for name, parameter in self.parameters.items():
            if name not in settings:
                raise ConfigError(f"{name} is absent, but the search space has: {', '.join(self.parameters)}")
            value = settings[name]
            match parameter:
                case Choice(values=values):
                    if as_tuple(value) not in values:
                        known = ", ".join(map(str, values))
                        raise ConfigError(f"{name} is {value!r}, but must be one of: {known}")
                    found[name] = parameter.encode(value)
                case Simplex():
                    n = parameter.size(self.n_modalities)
                    if value is None or len(value) != n:
                        raise ConfigError(f"{name} is {value!r}, but must have {n} numbers here")
                    found |= zip(self._axes(name, parameter), cube_from_simplex(value), strict=True)
                case _:
                    found[name] = value
        return found

    def columns(self, settings: Mapping[str, Any]) -> dict[str, float | int | str]:
        """Return the searched settings as table cells, but not None; weights are `subset_weights_1`, ..."""
        found: dict[str, float | int | str] = {}
        for name, parameter in self.parameters.items():
            match parameter:
                case Choice():
                    found[name] = parameter.encode(settings[name])
                case Simplex():
                    found |= {f"{name}_{i}": float(w) for i, w in enumerate(settings[name] or (), start=1)}
                case _ if settings[name] is not None:
                    found[name] = settings[name]
        return found

    def _axes(self, name: str, parameter: Simplex) -> list[str]:
        return [f"{name}.{i}" for i in range(parameter.size(self.n_modalities) - 1)]


def simplex_from_cube(u: Sequence[float]) -> tuple[float, ...]:
    """Return the n weights that n - 1 numbers of [0, 1] stand for; uniform numbers give uniform weights.

    A stick of length 1 is broken n - 1 times: where k weights are to be had, the first takes the share
    1 - u^(1/(k-1)) of what is left.

    >>> simplex_from_cube([0.25, 0.5])
    (0.5, 0.25, 0.25)
    """
    weights = []
    rest = 1.0
    for remaining, x in zip(range(len(u), 0, -1), u, strict=True):
        kept = x ** (1 / remaining)
        weights.append(rest * (1 - kept))
        rest *= kept
    return (*weights, rest)


def cube_from_simplex(w: Sequence[float]) -> tuple[float, ...]:
    """Return the n - 1 numbers of [0, 1] that stand for n weights: the inverse of `simplex_from_cube`.

    Where nothing of the stick is left every number stands for the same weights, and 0.5 is returned.

    >>> cube_from_simplex([0.5, 0.25, 0.25])
    (0.25, 0.5)
    """
    rests = [math.fsum(w[i:]) for i in range(len(w))]
    return tuple(
        (rests[i] / rests[i - 1]) ** (len(w) - i) if rests[i - 1] > 0 else 0.5 for i in range(1, len(w))
    )


def _check_range(low: float, high: float) -> None:
    if low > high:
        raise problem(f"low is {low}, but must be below high ({high}); swap them?", "low")
    if low == high:
        raise problem(f"low and high are both {low}, but must differ; put a constant under `fixed`", "low")
