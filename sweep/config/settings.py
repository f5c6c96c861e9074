"""The settings of trials where a sweep's file has them: constants, searched parameters, known points."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from pydantic import ValidationInfo

from mopoe.config import TrialConfig, checked_setting
from mopoe.data import ModalitySpec
from mopoe.methods import LISTS, check_length
from mopoe.network_options import PREFIX, annotations, distinct, named, typed_option
from mopoe.wording import did_you_mean, show, unknown_key
from sweep.config.messages import problem, problems_at
from sweep.config.parameters import Choice, Parameter, Simplex, as_tuple, weights_by_label
from sweep.config.schema import DataSpec
from sweep.config.space import Space

SETTINGS = {f.name: f.default for f in fields(TrialConfig)}
"""Default by name of a trial's setting."""
FITTING = {
    float: ("uniform", "log_uniform", "choice"),
    int: ("int", "choice"),
    "subset_weights": ("simplex", "choice"),
    "mixture_path": ("uniform", "choice"),
}
"""The types of parameter by the type of a setting's default, or by name if it is None; others: choice."""
OPTION = ("uniform", "log_uniform", "int", "choice")
"""Those that an option of networks may have: its bounds and values decide."""


def setting(
    name: str, value: Any, modalities: Sequence[str], *at: str | int, specs: Sequence[ModalitySpec] = ()
) -> Any:
    """Return a value in its setting's type, or say at this path that it is impossible.

    Mixture weights may be given by label; without the modalities' names they stay so. Without `specs` any
    option of a network is possible.
    """
    labels = value if isinstance(value, Mapping | list | tuple) else ()
    with problems_at(*at):
        if is_option(name):
            return typed_option(name, value, specs)
        if name == "subset_weights" and modalities and any(isinstance(label, str) for label in labels):
            value = weights_by_label(value, modalities)
        value = checked_setting(name, value)
        if modalities and name in LISTS:
            check_length(name, value, len(modalities))
    return value


def is_option(name: object) -> bool:
    """Return whether a setting is an option of networks, by its full name."""
    return str(name).startswith(PREFIX)


def check_fixed(values: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
    """Return the constants in their settings' types."""
    with problems_at():
        given, names, specs = distinct(named(values)), _modalities(info), _specs(info)
    return {name: setting(name, value, names, name, specs=specs) for name, value in given.items()}


def by_name(space: Any) -> Any:
    """Return a search space with each option of networks by its full name, before anything is checked."""
    with problems_at():
        return distinct(named(space, searched=True)) if isinstance(space, Mapping) else space


def check_search_space(space: Mapping[str, Parameter], info: ValidationInfo) -> Mapping[str, Parameter]:
    """Return the space with choices in their setting's type, or say which bound or value is impossible."""
    checked: dict[str, Parameter] = {}
    specs = _specs(info)
    for name, parameter in space.items():
        if name not in SETTINGS and not is_option(name):
            raise problem(unknown_key(name, SETTINGS), name)
        if name == "network":
            raise problem("network has options, each searched by itself, as network.hidden", name)
        if is_option(name) and specs:
            with problems_at(name):
                annotations(name, specs)
        fitting = OPTION if is_option(name) else FITTING.get(name)
        fitting = fitting or FITTING.get(type(SETTINGS[name]), ("choice",))
        if parameter.type not in fitting:
            kinds = " or ".join(fitting)
            raise problem(f"type is {parameter.type!r}, but {name} needs {kinds}", name, "type")
        _check_when(name, parameter.when or {}, checked)
        checked[name] = _typed(name, parameter, _modalities(info), specs)
    return checked


def _typed(
    name: str, parameter: Parameter, modalities: Sequence[str], specs: Sequence[ModalitySpec]
) -> Parameter:
    """Return a parameter whose bounds or values are possible ones of its setting, choices in its type."""
    if isinstance(parameter, Simplex):
        if modalities:
            with problems_at(name, "over"):
                parameter.places(modalities)
        return parameter
    if not isinstance(parameter, Choice):
        for bound in ("low", "high"):
            setting(name, getattr(parameter, bound), modalities, name, bound, specs=specs)
        return parameter
    given = enumerate(parameter.values)
    values = [setting(name, value, modalities, name, "values", i, specs=specs) for i, value in given]
    for i, value in enumerate(values):
        if value in values[:i]:
            first = show(parameter.values[values.index(value)])
            raise problem(f"entry {i + 1} means the same as {first}; keep one", name, "values", i)
    if {*map(type, values)} == {int, float}:  # as an option may have; a column has one type
        values = [float(value) for value in values]
    return parameter.model_copy(update={"values": tuple(values)})


def _check_when(name: str, when: Mapping[str, Any], above: Mapping[str, Parameter]) -> None:
    choices = {n: p for n, p in above.items() if isinstance(p, Choice)}
    for other, value in when.items():
        if other not in choices:
            hint = did_you_mean(other, choices)
            raise problem(f"when needs a choice that is listed before {name}; {hint}", name, "when", other)
        if as_tuple(value) not in choices[other].values:
            hint = did_you_mean(value, map(str, choices[other].values))
            raise problem(f"{other} is {show(value)}; {hint}", name, "when", other)


def check_start_with(
    points: tuple[Mapping[str, Any], ...], info: ValidationInfo
) -> tuple[Mapping[str, Any], ...]:
    """Return the known points in their settings' types, or say which lies outside the search space."""
    modalities = _modalities(info)
    if not modalities or "search_space" not in info.data:
        return points
    space, specs = Space(info.data["search_space"], modalities), _specs(info)
    return tuple(check_point(given, space, i, specs=specs) for i, given in enumerate(points))


def check_point(
    given: Mapping[str, Any],
    space: Space,
    *at: str | int,
    specs: Sequence[ModalitySpec] = (),
    base: Mapping[str, Any] = MappingProxyType({}),
) -> Mapping[str, Any]:
    """Return a point in its settings' types, or say at this path that it lies outside the search space.

    What it leaves out is as in the base, if that has it and it exists beside what is given.
    """
    with problems_at(*at):
        point = distinct(named(given))
    for name in point:
        if name not in space.parameters:
            raise problem(unknown_key(name, space.parameters), *at, name)
    values = {n: setting(n, value, space.modalities, *at, n, specs=specs) for n, value in point.items()}
    active = space.active(space.complete({**base, **values}))
    for name in values:
        if name not in active:
            when = ", ".join(f"{k}: {v}" for k, v in (space.parameters[name].when or {}).items())
            raise problem(f"{name} is only used when {when}; leave it out", *at, name)
    values = {n: v for n, v in base.items() if n in active} | values
    with problems_at(*at):
        space.suggestion(space.complete(values))
    return values


def _modalities(info: ValidationInfo) -> tuple[str, ...]:
    """Return the modalities' names; none if the data set itself is wrong."""
    data = info.data.get("data")
    return data.modalities if isinstance(data, DataSpec) else ()


def _specs(info: ValidationInfo) -> tuple[ModalitySpec, ...]:
    """Return the modalities; none if the data set is wrong, or while a results folder is read."""
    data = info.data.get("data")
    return data.specs if isinstance(data, DataSpec) and not info.context else ()
