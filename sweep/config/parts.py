"""The sections of a sweep's file that have keys of their own, and the checks of its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from mopoe.config import checked_setting
from mopoe.data import entry, modalities
from mopoe.data.registry import DATA_SETS, check_options
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig, Extra, RungConfig
from search_spaces import did_you_mean, show, unknown_key
from sweep.config.constraints import MEASURED, limit
from sweep.config.messages import MUST, SETTINGS
from sweep.config.objectives import Objective, names
from sweep.config.parameters import (
    FITTING,
    Choice,
    Parameter,
    Simplex,
    StrictModel,
    as_tuple,
    problem,
    problems_at,
    weights_by_label,
)
from sweep.config.space import Space


class DataSpec(StrictModel, extra="allow"):
    """The data set; its options stand beside its name, those not given at their defaults.

    Where the names of its modalities are known, as the context of the validation, nothing is asked of the
    data set itself: a function of somebody's own is neither imported nor called.
    """

    name: Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
    """Name of the data set in the registry."""
    _modalities: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            return given
        if info.context:
            bad = [(k, v) for k, v in given.items() if type(v) not in (int, str)]
            for name, value in bad:
                raise problem(
                    f"{name} is {show(value)}, but must be {MUST['string_type']}, or a number", name
                )
            return given
        with problems_at("name"):
            found = entry(given["name"])
        required = {name: 0 if name in found.numbers else "" for name in found.required}
        values = _like(given, {"name": "", **required, **found.options})
        for name, what in found.required.items():
            if name not in given:
                raise problem(f"key {name!r} is missing; {what}", name)
        if given["name"] in DATA_SETS:
            with problems_at():
                check_options(values)
        return values

    @model_validator(mode="after")
    def _name_modalities(self, info: ValidationInfo) -> Self:
        with problems_at("name"):
            self._modalities = info.context or tuple(m.name for m in modalities(self.name, **self.options))
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Return the data set's options by name, for its `load(**options)`."""
        return dict(self.model_extra or {})

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the modalities, in the order of the bits of a subset mask."""
        return self._modalities


class SchedulerSpec(StrictModel):
    """Which trials are stopped before their full budget; every one is measured at the rungs it reaches."""

    type: Literal["none", "halving", "asha", "median"] = "none"
    """none; halving by all objectives; asha by one; median stops the worse half by one objective."""
    grace: int = Field(2, ge=1, le=1_000_000)
    """Epochs before the first rung."""
    eta: int = Field(2, ge=2, le=1000)
    """Each rung is at eta times the epochs of the one before; the best 1/eta go on, with median 1/2."""
    brackets: int = Field(1, ge=1, le=100)
    """Groups of trials: bracket s has no first s rungs, and 1/eta as many trials as the bracket before."""
    objective: str | None = None
    """The objective that asha and median compare."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.objective is not None and self.type in ("none", "halving"):
            compares = "stops no trial" if self.type == "none" else "compares all objectives"
            raise problem(
                f"objective is {self.objective!r}, but {self.type} {compares}; leave it out", "objective"
            )
        return self

    def rungs(self, budget: int, bracket: int = 0) -> tuple[int, ...]:
        """Return the epochs at which trials are compared: grace times powers of eta, below the full budget.

        >>> SchedulerSpec(type="halving", grace=2, eta=3).rungs(54)
        (2, 6, 18)
        """
        found = []
        epoch = self.grace * self.eta**bracket
        while self.type != "none" and epoch < budget:
            found.append(epoch)
            epoch *= self.eta
        return tuple(found)

    def compared(self, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
        """Return the objectives that decide at a rung.

        Raises:
            ConfigError: it is missing, or none of the sweep's.
        """
        if self.type in ("none", "halving") or (self.objective is None and len(objectives) == 1):
            return tuple(objectives)
        if self.objective is None:
            possible = ", ".join(names(objectives))
            raise ConfigError(f"key 'objective' is missing; {self.type} compares one of: {possible}")
        if self.objective not in names(objectives):
            raise ConfigError(
                f"objective is {self.objective!r}; {did_you_mean(self.objective, names(objectives))}"
            )
        return tuple(o for o in objectives if o.name == self.objective)


def check_constraints(texts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the constraints, or say which quantity is unknown or which text no limit."""
    for name, text in texts.items():
        if name not in MEASURED:
            raise problem(unknown_key(name, MEASURED), name)
        with problems_at(name):
            limit(name, text)
    return texts


def check_search_space(space: Mapping[str, Parameter], info: ValidationInfo) -> Mapping[str, Parameter]:
    """Return the space with choices in their setting's type, or say which bound or value is impossible."""
    names = _modalities(info)
    found: dict[str, Parameter] = {}
    for name, parameter in space.items():
        if name not in SETTINGS:
            raise problem(unknown_key(name, SETTINGS), name)
        fitting = FITTING.get(name) or FITTING.get(type(SETTINGS[name]), ("choice",))
        if parameter.type not in fitting:
            kinds = " or ".join(fitting)
            raise problem(f"type is {parameter.type!r}, but {name} needs {kinds}", name, "type")
        if isinstance(parameter, Choice):
            values = [setting(name, v, names, name, "values", i) for i, v in enumerate(parameter.values)]
            for i, value in enumerate(values):
                if value in values[:i]:
                    first = show(parameter.values[values.index(value)])
                    raise problem(f"entry {i + 1} means the same as {first}; keep one", name, "values", i)
            parameter = parameter.model_copy(update={"values": tuple(values)})  # noqa: PLW2901 - typed from here on
        elif not isinstance(parameter, Simplex):
            for bound in ("low", "high"):
                setting(name, getattr(parameter, bound), names, name, bound)
        elif names:
            with problems_at(name, "over"):
                parameter.places(names)
        _check_when(name, parameter.when or {}, found)
        found[name] = parameter
    return found


def _check_when(name: str, when: Mapping[str, Any], above: Mapping[str, Parameter]) -> None:
    choices = {n: p for n, p in above.items() if isinstance(p, Choice)}
    for other, value in when.items():
        if other not in choices:
            hint = did_you_mean(other, choices)
            raise problem(f"when needs a choice that stands above {name}; {hint}", name, "when", other)
        if as_tuple(value) not in choices[other].values:
            hint = did_you_mean(value, map(str, choices[other].values))
            raise problem(f"{other} is {show(value)}; {hint}", name, "when", other)


def check_fixed(values: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
    """Return the constants in their settings' types, weights by label as numbers."""
    return {name: setting(name, value, _modalities(info), name) for name, value in values.items()}


def check_start_with(
    points: tuple[Mapping[str, Any], ...], info: ValidationInfo
) -> tuple[Mapping[str, Any], ...]:
    """Return the known points in their settings' types, or say which lies outside the search space."""
    names = _modalities(info)
    if not names or "search_space" not in info.data:
        return points
    space = Space(info.data["search_space"], names)
    found = []
    for i, point in enumerate(points):
        for name in point:
            if name not in space.parameters:
                raise problem(unknown_key(name, space.parameters), i, name)
        values = {name: setting(name, value, names, i, name) for name, value in point.items()}
        full = space.complete(values)
        for name in values:
            if name not in space.active(full):
                when = ", ".join(f"{k}: {v}" for k, v in (space.parameters[name].when or {}).items())
                raise problem(f"{name} exists only when {when}; leave it out", i, name)
        with problems_at(i):
            space.suggestion(full)
        found.append(values)
    return tuple(found)


def fill_evaluation(given: Any) -> Any:
    """Return the evaluation with its defaults, every value checked where it stands."""
    if not isinstance(given, dict):
        return given
    values = _amounts(given, EvaluationConfig)
    at_rungs = RungConfig(**_amounts(values["at_rungs"], RungConfig, "at_rungs"))
    return EvaluationConfig(**{**values, "at_rungs": at_rungs})


def _amounts(
    given: Mapping[Any, Any], kind: type[EvaluationConfig] | type[RungConfig], *at: str
) -> dict[str, Any]:
    """Return a section of amounts with its defaults filled in, every value checked where it stands."""
    defaults = {f.name: f.default for f in fields(kind)}
    values = _like(given, {k: {} if isinstance(v, RungConfig) else v for k, v in defaults.items()}, *at)
    for i, name in enumerate(values.get("extras", ())):
        if name not in get_args(Extra):
            raise problem(
                f"unknown extra {show(name)}; {did_you_mean(str(name), get_args(Extra))}", "extras", i
            )
    for name, value in values.items():
        if name != "at_rungs":
            with problems_at(*at, name):
                kind(**{name: value})
    return values


def setting(name: str, value: Any, modalities: Sequence[str], *at: str | int) -> Any:
    """Return a value in its setting's type, or say at this path that it is impossible."""
    if name not in SETTINGS:
        raise problem(unknown_key(name, SETTINGS), *at)
    with problems_at(*at):
        words = isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value)
        if name == "subset_weights" and modalities and (words or isinstance(value, Mapping)):
            value = weights_by_label(value, modalities)
        return checked_setting(name, value)


def _modalities(info: ValidationInfo) -> tuple[str, ...]:
    """Return the modalities' names; none if the data set itself is wrong."""
    data = info.data.get("data")
    return data.modalities if isinstance(data, DataSpec) else ()


def _like(values: Mapping[Any, Any], defaults: Mapping[str, Any], *at: str) -> dict[str, Any]:
    """Return the defaults with these values above them, each of its default's type; lists become tuples."""
    found = dict(defaults)
    for name, value in values.items():
        if name not in defaults:
            raise problem(unknown_key(name, defaults), *at, name)
        kind = type(defaults[name])
        found[name] = tuple(value) if kind is tuple and isinstance(value, list) else value
        if type(found[name]) is not kind:
            word = "string" if kind is str else kind.__name__
            raise problem(f"{name} is {show(value)}, but must be {MUST[f'{word}_type']}", *at, name)
    return found
