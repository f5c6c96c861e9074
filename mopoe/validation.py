"""What a setting may be, said once by its annotation: the check, the error and the documentation follow.

Pydantic checks the values. Nothing is converted but whole numbers to floats where those are meant, and lists
to tuples: "3" is no number, and 1 is not true.
"""

from collections.abc import Mapping
from functools import wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AllowInfNan, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mopoe.errors import ConfigError
from mopoe.wording import did_you_mean, show, unknown_key

CLOSED = ConfigDict(extra="forbid")
"""For a class of settings: a key that is no field is refused."""

Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""At least one of something."""
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
"""A seed of random numbers."""

Path = tuple[str | int, ...]
_Class = TypeVar("_Class", bound=type)


def config_errors(cls: _Class) -> _Class:
    """Return a pydantic class with a constructor that raises ConfigError: a sentence about one mistake."""
    check: Any = cls.__init__  # type: ignore[misc]

    @wraps(check)
    def __init__(self: object, **values: object) -> None:  # noqa: N807 - it becomes the method
        try:
            check(self, **values)
        except ValidationError as error:
            raise ConfigError(told(cls, error)) from None

    cls.__init__ = __init__  # type: ignore[misc]
    return cls


def told(kind: type, error: ValidationError) -> str:
    """Return the first mistake that pydantic found in the fields of a class, as one sentence."""
    path, text = mistake(kind, error.errors(include_url=False)[0])
    return ": ".join([*map(str, path[:-1]), text])


def mistake(kind: type, error: ErrorDetails) -> tuple[Path, str]:
    """Return the path of a mistake in the fields of a class, and what is wrong with the last key of it."""
    at, hint, names = located(kind, error)
    found, details = error["input"], error.get("ctx", {})
    key = f"entry {at[-1] + 1}" if at and isinstance(at[-1], int) else at[-1] if at else ""
    match error["type"]:
        case "problem":
            at, text = at + details["at"], details["sentence"]
        case "value_error":
            text = str(details["error"])
        case _ if hint is None:
            text = unknown_key(at[-1], names)
        case "missing" if isinstance(error["loc"][-1], str):
            text = f"key {key!r} is missing"
        case "union_tag_not_found":
            at, text = (*at, "type"), f"key 'type' is missing; possible: {', '.join(_members(hint))}"
        case "union_tag_invalid":
            at, found = (*at, "type"), found["type"]
            text = f"type is {show(found)}; {did_you_mean(found, _members(hint))}"
        case "literal_error" if get_origin(possible := opened(hint).annotation) is Literal:
            text = f"{key} is {show(found)}; {did_you_mean(found, get_args(possible))}"
        case "too_short" if not found:
            text = f"{key} is {show(found)}, but must be non-empty"
        case _:
            text = wrong(key, found, hint)
    return at, text


def wrong(key: object, found: object, hint: object) -> str:
    """Return the sentence about a value that its annotation does not allow."""
    quotes = allowed(hint) == "a word" and not isinstance(found, str)
    advice = " (a number or date in quotes)" if quotes else _as_list(found, hint)
    return f"{key} is {show(found)}, but must be {allowed(hint)}{advice}"


def _as_list(found: object, hint: object) -> str:
    """Return how a text is written as the list that it must be, or seems to be; empty if it is none.

    >>> _as_list("age, sex", tuple[str, ...] | None)
    '; a list is written as [age,sex]'
    """
    base = _required(hint)
    kinds = get_args(base) if get_origin(base) in (Union, UnionType) else (base,)
    lists = [get_origin(opened(kind).annotation) in (tuple, list) for kind in kinds]
    if not isinstance(found, str) or not (all(lists) or (any(lists) and "," in found)):
        return ""
    # Without spaces, so that a shell takes it for one word.
    return f"; a list is written as [{','.join(part.strip(' []') for part in found.split(','))}]"


def located(kind: object, error: ErrorDetails) -> tuple[Path, Any, tuple[str, ...]]:
    """Return the place of an error in a value of a type, what annotates it, and the names possible there.

    The annotation is None if there is no such field. A value that is of none of several types is the place
    itself, whatever pydantic found within.
    """
    loc = error["loc"]
    if error["type"] == "missing" and isinstance(loc[-1], int):  # of a tuple that is too short
        loc = loc[:-1]
    path: list[str | int] = []
    hint: Any = kind
    names: tuple[str, ...] = ()
    for key in loc:
        if get_origin(base := _required(hint)) in (Union, UnionType):
            if key not in _members(base):
                break
            hint = _members(base)[str(key)]  # pydantic names the class that it took in the place
            continue
        path.append(key)
        if get_origin(base) is None:
            names = tuple(fields_of(base))
            hint = fields_of(base).get(str(key))
        else:
            hint = get_args(base)[0 if get_origin(base) is tuple else -1]
    return tuple(path), hint, names


def _required(hint: object) -> Any:
    """Return the type that an annotation has beside None."""
    base = opened(hint).annotation
    others = [part for part in get_args(base) if part is not NoneType]
    is_union = get_origin(base) in (Union, UnionType)
    return opened(others[0]).annotation if is_union and len(others) == 1 else base


def _members(hint: object) -> dict[str, Any]:
    """Return the classes of a union that a field `type` tells apart, by its value."""
    parts = get_args(opened(hint).annotation)
    return {fields_of(part)["type"].default: part for part in parts if "type" in fields_of(part)}


def fields_of(kind: object) -> dict[str, FieldInfo]:
    """Return the fields of a class that pydantic checks, by name; none of any other type."""
    found: dict[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    return found


def opened(hint: object) -> FieldInfo:
    """Return an annotation as pydantic reads it: the type, its constraints, and its description."""
    return hint if isinstance(hint, FieldInfo) else FieldInfo.from_annotation(hint)  # type: ignore[arg-type]


def allowed(hint: object, *, many: bool = False) -> str:
    """Return which values an annotation allows, as the end of "must be"; of many values in the plural.

    Where the annotation describes itself by `Field(description=...)`, these are the words.

    >>> allowed(Annotated[int, Field(ge=1, le=4096)] | None)
    'a whole number between 1 and 4,096, or null'
    >>> allowed(tuple[Literal["a", "b"], ...])
    'a list of some of a, b'
    """
    info = opened(hint)
    base, parts = info.annotation, get_args(info.annotation)
    if info.description:
        return info.description
    match get_origin(base) or base:
        case origin if origin in (Union, UnionType):
            words = ", or ".join(allowed(part) for part in parts)
        case origin if origin is Literal:
            names = ", ".join(map(str, parts))
            words = names if len(parts) == 1 else f"{'some' if many else 'one'} of {names}"
        case origin if origin in (tuple, list):
            length = "" if origin is list or parts[-1] is ... else f"{len(parts)} "
            words = f"a list of {length}{allowed(parts[0], many=True)}"
        case origin if origin is Mapping:
            words = f"{'mappings' if many else 'a mapping'} of names to {allowed(parts[1], many=True)}"
        case kind if kind in (int, float):
            finite = "finite " * any(isinstance(m, AllowInfNan) for m in info.metadata)
            noun = f"{finite}{'whole number' if kind is int else 'number'}"
            words = (f"{noun}s" if many else f"a {noun}") + _range(info)
        case kind:
            text = "words" if many else "a word"
            plain: dict[Any, str] = {NoneType: "null", bool: "true or false", str: text, Any: "values"}
            section = any(name.startswith("__pydantic_") for name in dir(kind))
            other = (
                "a mapping of keys to values" if section else f"of the type {getattr(kind, '__name__', kind)}"
            )
            words = plain.get(kind, other)
    return words


def _range(info: FieldInfo) -> str:
    """Return the limits of a number as words; whole numbers beyond 2^31 end at a power of two, less one."""
    if any(isinstance(m, Gt) for m in info.metadata):
        return " above 0"
    low: Any = next((m.ge for m in info.metadata if isinstance(m, Ge)), None)
    high: Any = next((m.le for m in info.metadata if isinstance(m, Le)), None)
    if low is None or high is None:
        return "" if low is None else f" of at least {low:,}"
    return f" between {low:,} and " + (f"{high:,}" if high < 2**31 else f"2^{high.bit_length()} - 1")
