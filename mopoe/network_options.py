"""Options of the functions that build a modality's networks: their names, their values, and what takes them.

An option is a parameter of such a function beyond the config, the modality and the width. A trial's settings
have it by name: `network.hidden` is for every modality whose function takes it, `network.mri.hidden` for the
modality `mri`. Imports no torch, but asking for what a function takes imports that function.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.plugins import named_function, reason
from mopoe.validation import wrong
from mopoe.wording import did_you_mean, show

PREFIX = "network."
"""What the name of a setting begins with that is such an option."""
Options = tuple[tuple[str, Any], ...]
"""Options by name without the prefix, sorted."""
ABOUT = "a mapping of options to values, or of modalities to such mappings"

_NAME = re.compile(r"([A-Za-z0-9_-]{1,100}\.)?[A-Za-z_]\w{0,99}", re.ASCII)
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
_Scalar = StrictBool | _Whole | _Number | StrictStr | None
_Value = Annotated[
    _Scalar | tuple[_Scalar, ...],
    Field(description="a number, a word, true, false, null, or a list of these"),
]
_VALUE: TypeAdapter[Any] = TypeAdapter(_Value)


def named(settings: Mapping[Any, Any], *, searched: bool = False) -> Iterator[tuple[Any, Any]]:
    """Give settings by name, those nested under `network` by their full names.

    Args:
        settings: any mapping.
        searched: whether it is of parameters of a search space, which are mappings with a word as `type`.

    >>> dict(named({"beta": 1, "network": {"hidden": 64, "mri": {"dropout": 0.1}}}))
    {'beta': 1, 'network.hidden': 64, 'network.mri.dropout': 0.1}
    """

    def inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, Mapping) or (searched and isinstance(value.get("type"), str)):
            yield name, value
            return
        for key, inner in value.items():
            yield from inside(f"{name}.{key}", inner)

    for name, value in settings.items():
        yield from inside(name, value) if name == PREFIX[:-1] else ((name, value),)


def distinct(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return settings by name.

    Raises:
        ConfigError: one is given twice.
    """
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ConfigError(f"{name} is given twice; keep one of the two")
        found[name] = value
    return found


def options(given: object) -> Options:
    """Return options as a config holds them, from a mapping as in a file or from what a config holds.

    Raises:
        ConfigError: it is no such mapping, or a name or a value cannot be one.
    """
    if isinstance(given, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given):
        given = dict(given)
    if not isinstance(given, Mapping):
        raise ConfigError(f"network is {show(given)}, but must be {ABOUT}")
    found = distinct(named({"network": given}))
    return tuple(sorted((name.removeprefix(PREFIX), plain_option(name, v)) for name, v in found.items()))


def plain_option(name: str, value: Any) -> Any:
    """Return the value of an option, by its full name, in a type that a file and a table can hold.

    Raises:
        ConfigError: it can be none, or the name is that of no option.
    """
    if not _NAME.fullmatch(name.removeprefix(PREFIX)):
        raise ConfigError(f"{name!r} names no option; it must be network.OPTION or network.MODALITY.OPTION")
    try:
        return _VALUE.validate_python(value)
    except ValidationError:
        raise ConfigError(wrong(name, value, _Value)) from None


def function_of(modality: ModalitySpec) -> Callable[..., Any]:
    """Return the function that builds a modality's networks.

    Raises:
        ConfigError: there is no such plugin.
    """
    try:
        return named_function(modality.network)
    except ConfigError as error:
        raise ConfigError(
            f"modality {modality.name!r} has the network {modality.network!r}, but it {error}"
        ) from error


def taken(modality: ModalitySpec) -> dict[str, Any]:
    """Return the annotation of each option of a modality's function; without one, its default's type.

    Raises:
        ConfigError: there is no such function, its annotations cannot be read, or an option has no default.
    """
    function, found = function_of(modality), {}
    try:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    except Exception as error:  # an annotation is an expression of the user's
        why = f"the annotations of {modality.network!r} cannot be read ({reason(error)})"
        raise ConfigError(f"modality {modality.name!r}: {why}") from error
    for i, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY or (p.kind is p.POSITIONAL_OR_KEYWORD and i > 2):
            if p.default is p.empty:
                raise ConfigError(
                    f"the option {p.name!r} of {modality.network!r} has no default; give it one"
                )
            without = _Value if p.default is None else type(p.default)
            found[p.name] = without if p.annotation is p.empty else p.annotation
    return found


def annotations(name: str, modalities: Sequence[ModalitySpec]) -> list[Any]:
    """Return the annotations of an option, by its full name, in the functions that it is for.

    Raises:
        ConfigError: there is no such modality, or no function takes the option.
    """
    modality, _, option = name.removeprefix(PREFIX).rpartition(".")
    some = [m for m in modalities if modality in ("", m.name)]
    if not some:
        hint = did_you_mean(modality, (m.name for m in modalities))
        raise ConfigError(f"{name} is of a modality that does not exist; {hint}")
    known = [taken(m) for m in some]
    found = [of[option] for of in known if option in of]
    if not found:
        whose = f"the network of {modality!r} has no" if modality else "no modality's network has an"
        hint = did_you_mean(option, dict.fromkeys(n for of in known for n in of))
        raise ConfigError(f"{whose} option {option!r}; {hint}")
    return found


def typed_option(name: str, value: Any, modalities: Sequence[ModalitySpec]) -> Any:
    """Return the value of an option in the type that the functions have for it, as a config holds it.

    Args:
        name: the setting's name, as network.hidden or network.mri.hidden.
        value: its value.
        modalities: those of the data set; none if no function may be asked, and any option is possible.

    Raises:
        ConfigError: as of `annotations`, or the value is not of the option's type.
    """
    value = plain_option(name, value)
    if not modalities:
        return value
    typed, *_ = [_typed(name, value, hint, mode="json") for hint in annotations(name, modalities)]
    return plain_option(name, typed)


def arguments(given: Options, modality: ModalitySpec) -> dict[str, Any]:
    """Return the arguments that the options of a config are for the function of a modality.

    Raises:
        ConfigError: as of `typed_option`, but for an option of which only other modalities know.
    """
    if not given:
        return {}
    hints, own = taken(modality), f"{modality.name}."
    mine = {n: v for n, v in given if n in hints} | {n[len(own) :]: v for n, v in given if n.startswith(own)}
    return {n: _typed(PREFIX + n, v, hints[n]) for n, v in mine.items()}


def _typed(name: str, value: Any, hint: Any, *, mode: str = "python") -> Any:
    """Return a value as an annotation says; in mode "json" what JSON makes of that, lists as tuples."""
    try:
        adapter = TypeAdapter(hint)
        found = adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        raise ConfigError(wrong(name, value, hint)) from None
    except PydanticUserError:
        raise ConfigError(f"{name} is annotated as {hint!r}, which no value of a file can be") from None
    return found if mode == "python" else json.loads(adapter.dump_json(found))
