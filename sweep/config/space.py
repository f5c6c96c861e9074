"""All searched parameters together, translated to and from Optuna's flat suggestions.

Optuna has no distribution over a simplex: n weights that sum to one are suggested as n - 1 numbers of a cube.
A parameter with `when` exists only under those values of others; elsewhere it is no part of a suggestion, its
cells are null, and the trial takes the default of `TrialConfig`.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mopoe.errors import ConfigError
from sweep.config.parameters import Choice, Int, LogUniform, Parameter, Simplex, Uniform, as_tuple, middle

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Suggestion = Mapping[str, float | int | str]
"""A value per axis of the search space, as Optuna suggests it and a table keeps it."""


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


@dataclass(frozen=True, slots=True)
class Space:
    """The searched parameters together, those under `when` after the ones they depend on."""

    parameters: Mapping[str, Parameter]
    """The searched parameters by name of the setting."""
    modalities: tuple[str, ...]
    """Names of the data set's M modalities."""

    @property
    def conditional(self) -> bool:
        """Return whether some parameter exists only under values of others."""
        return any(parameter.when for parameter in self.parameters.values())

    def active(self, settings: Mapping[str, Any]) -> dict[str, Parameter]:
        """Return the parameters that exist under these settings, by name."""
        active: dict[str, Parameter] = {}
        for name, parameter in self.parameters.items():
            when = parameter.when or {}
            if all(p in active and as_tuple(settings.get(p)) == as_tuple(v) for p, v in when.items()):
                active[name] = parameter
        return active

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return these settings and, for every other parameter that then exists, its `middle`."""
        settings = {name: middle(p, self.modalities) for name, p in self.parameters.items()} | dict(given)
        active = self.active(settings)
        return {n: v for n, v in settings.items() if n in active or n in given or n not in self.parameters}

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution by axis.

        An axis has its parameter's name, but n weights are n - 1 numbers `subset_weights.0`, ...
        """
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        axes: dict[str, BaseDistribution] = {}
        for name, parameter in self.parameters.items():
            match parameter:
                case Uniform(low=low, high=high):
                    axes[name] = FloatDistribution(low, high)
                case LogUniform(low=low, high=high):
                    axes[name] = FloatDistribution(low, high, log=True)
                case Int(low=low, high=high, log=log, step=step):
                    axes[name] = IntDistribution(low, high, log=log, step=step)
                case Choice(values=values):
                    axes[name] = CategoricalDistribution([parameter.encode(value) for value in values])
                case Simplex():
                    axes |= {axis: FloatDistribution(0.0, 1.0) for axis in self._axes(name, parameter)}
        return axes

    def grid(self) -> dict[str, Sequence[float | int | str]]:
        """Return all values of each axis by name.

        Raises:
            ConfigError: a parameter has endlessly many.
        """
        axes: dict[str, Sequence[float | int | str]] = {}
        for name, parameter in self.parameters.items():
            match parameter:
                case Choice(values=values):
                    axes[name] = [parameter.encode(value) for value in values]
                case Int(low=low, high=high, step=step):
                    axes[name] = range(low, high + 1, step)
                case _:
                    raise ConfigError(f"{name} is {parameter.type}, but a grid needs int or choice")
        return axes

    @property
    def size(self) -> float:
        """Return how many suggestions there are; infinity if a parameter has endlessly many values."""
        deciding = {name for parameter in self.parameters.values() for name in parameter.when or ()}
        names = list(self.parameters)

        def count(i: int, settings: dict[str, Any]) -> float:
            if i == len(names):
                return 1
            name, parameter = names[i], self.parameters[names[i]]
            if name not in self.active(settings):
                return count(i + 1, settings)
            if isinstance(parameter, Choice) and name in deciding:
                return sum(count(i + 1, settings | {name: value}) for value in parameter.values)
            alone = parameter.size if isinstance(parameter, Choice | Int) else math.inf
            return alone * count(i + 1, settings)

        return count(0, {})

    def points(self) -> Iterator[Suggestion]:
        """Give every suggestion of a space that is not endless, once.

        Raises:
            ConfigError: a parameter has endlessly many values.
        """
        axes, seen = self.grid(), set[tuple[tuple[str, float | int | str], ...]]()
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            there = self.draw(point.__getitem__)
            point = {name: value for name, value in point.items() if name in there}
            if (key := tuple(point.items())) not in seen:
                seen.add(key)
                yield point

    def settings(self, suggestion: Suggestion) -> dict[str, Any]:
        """Return the `TrialConfig` values of a suggestion of Optuna."""
        return self.draw(suggestion.__getitem__)

    def draw(self, value_of: Callable[[str], float | int | str]) -> dict[str, Any]:
        """Return the `TrialConfig` values for a value per axis, asked for only where the axis exists."""
        settings: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name not in self.active(settings):
                continue
            match parameter:
                case Choice(values=values):
                    settings[name] = {parameter.encode(value): value for value in values}[value_of(name)]
                case Simplex():
                    cube = [float(value_of(axis)) for axis in self._axes(name, parameter)]
                    settings[name] = parameter.weights(simplex_from_cube(cube), self.modalities)
                case _:
                    settings[name] = value_of(name)
        return settings

    def suggestion(self, settings: Mapping[str, Any]) -> dict[str, float | int | str]:
        """Return the suggestion that has these settings, for points known beforehand: inverse of `settings`.

        Raises:
            ConfigError: a parameter is absent, or its value is none of the space's.
        """
        suggestion: dict[str, float | int | str] = {}
        for name, parameter in self.active(settings).items():
            if name not in settings:
                raise ConfigError(f"{name} is missing; the search space has: {', '.join(self.parameters)}")
            value = settings[name]
            match parameter:
                case Choice(values=values):
                    if as_tuple(value) not in values:
                        known = ", ".join(map(str, values))
                        raise ConfigError(f"{name} is {value!r}, but must be one of: {known}")
                    suggestion[name] = parameter.encode(value)
                case Simplex():
                    cube = cube_from_simplex(self._searched(name, parameter, value))
                    suggestion |= zip(self._axes(name, parameter), cube, strict=True)
                case _ if value is None or not parameter.low <= value <= parameter.high:
                    must = f"must be between {parameter.low} and {parameter.high}"
                    raise ConfigError(f"{name} is {value}, but {must}")
                case Int(low=low, step=step) if (value - low) % step:
                    raise ConfigError(f"{name} is {value}, but must be {low} plus a multiple of {step}")
                case _:
                    suggestion[name] = value
        return suggestion

    def columns(self, settings: Mapping[str, Any]) -> dict[str, float | int | str]:
        """Return the searched settings as table cells, but not None; weights are `subset_weights_1`, ..."""
        return {
            column: cell
            for name, parameter in self.active(settings).items()
            for column, cell in self._cells(name, parameter, settings[name]).items()
        }

    def kinds(self) -> dict[str, type[float] | type[int] | type[str]]:
        """Return the type of every table cell that `columns` may have, by name."""
        return {
            column: type(cell)
            for name, parameter in self.parameters.items()
            for column, cell in self._cells(name, parameter, middle(parameter, self.modalities)).items()
        }

    def _cells(self, name: str, parameter: Parameter, value: Any) -> dict[str, float | int | str]:
        match parameter:
            case Choice():
                return {name: parameter.encode(value)}
            case Simplex():
                weights = value or ()  # of a single trial also none, or as many as are not searched
                searched = len(weights) == parameter.length(self.modalities)
                places = parameter.places(self.modalities) if searched else range(len(weights))
                return {f"{name}_{i + 1}": float(weights[i]) for i in places}
            case _:
                return {} if value is None else {name: value}

    def _searched(self, name: str, parameter: Simplex, value: Any) -> list[float]:
        """Return the searched ones of a setting's weights, or say what does not fit."""
        places = parameter.places(self.modalities)
        n = parameter.length(self.modalities)
        if value is None or len(value) != n:
            raise ConfigError(f"{name} is {value!r}, but must have {n} numbers")
        if any(weight for i, weight in enumerate(value) if i not in places):
            raise ConfigError(f"{name} gives weight to subsets outside {', '.join(parameter.over)}")
        return [float(value[i]) for i in places]

    def _axes(self, name: str, parameter: Simplex) -> list[str]:
        return [f"{name}.{i}" for i in range(len(parameter.places(self.modalities)) - 1)]
