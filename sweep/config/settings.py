"""The settings of trials where a sweep's file has them: constants, searched parameters, known points."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import ValidationInfo

from mopoe.config import TrialConfig, checked_setting
from mopoe.methods import LISTS, check_length
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


def setting(name: str, value: Any, modalities: Sequence[str], *at: str | int) -> Any:
    """Return a value in its setting's type, or say at this path that it is impossible.

    Mixture weights may be given by label; without the modalities' names they stay so.
    """
    labels = value if isinstance(value, Mapping | list | tuple) else ()
    with problems_at(*at):
        if name == "subset_weights" and modalities and any(isinstance(label, str) for label in labels):
            value = weights_by_label(value, modalities)
        value = checked_setting(name, value)
        if modalities and name in LISTS:
            check_length(name, value, len(modalities))
    return value


def check_fixed(values: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
    """Return the constants in their settings' types."""
    return {name: setting(name, value, _modalities(info), name) for name, value in values.items()}


def check_search_space(space: Mapping[str, Parameter], info: ValidationInfo) -> Mapping[str, Parameter]:
    """Return the space with choices in their setting's type, or say which bound or value is impossible."""
    modalities = _modalities(info)
    checked: dict[str, Parameter] = {}
    for name, parameter in space.items():
        if name not in SETTINGS:
            raise problem(unknown_key(name, SETTINGS), name)
        fitting = FITTING.get(name) or FITTING.get(type(SETTINGS[name]), ("choice",))
        if parameter.type not in fitting:
            kinds = " or ".join(fitting)
            raise problem(f"type is {parameter.type!r}, but {name} needs {kinds}", name, "type")
        _check_when(name, parameter.when or {}, checked)
        checked[name] = _typed(name, parameter, modalities)
    return checked


def _typed(name: str, parameter: Parameter, modalities: Sequence[str]) -> Parameter:
    """Return a parameter whose bounds or values are possible ones of its setting, choices in its type."""
    if isinstance(parameter, Simplex):
        if modalities:
            with problems_at(name, "over"):
                parameter.places(modalities)
        return parameter
    if not isinstance(parameter, Choice):
        for bound in ("low", "high"):
            setting(name, getattr(parameter, bound), modalities, name, bound)
        return parameter
    values = [setting(name, v, modalities, name, "values", i) for i, v in enumerate(parameter.values)]
    for i, value in enumerate(values):
        if value in values[:i]:
            first = show(parameter.values[values.index(value)])
            raise problem(f"entry {i + 1} means the same as {first}; keep one", name, "values", i)
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
    space = Space(info.data["search_space"], modalities)
    checked = []
    for i, point in enumerate(points):
        for name in point:
            if name not in space.parameters:
                raise problem(unknown_key(name, space.parameters), i, name)
        values = {name: setting(name, value, modalities, i, name) for name, value in point.items()}
        full = space.complete(values)
        for name in values:
            if name not in space.active(full):
                when = ", ".join(f"{k}: {v}" for k, v in (space.parameters[name].when or {}).items())
                raise problem(f"{name} is only used when {when}; leave it out", i, name)
        with problems_at(i):
            space.suggestion(full)
        checked.append(values)
    return tuple(checked)


def _modalities(info: ValidationInfo) -> tuple[str, ...]:
    """Return the modalities' names; none if the data set itself is wrong."""
    data = info.data.get("data")
    return data.modalities if isinstance(data, DataSpec) else ()
