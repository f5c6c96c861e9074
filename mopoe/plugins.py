"""Resolve "package.module:function" references: networks and data sets, the project's and yours.

Importing a module runs it, and references stand in files that others may have written. So a module is
imported only from the folder that the user has started in, or of an installed package that offers an entry
point to this project; and of what it holds only functions with the mark `@plugin` are called.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from mopoe.errors import ConfigError

GROUPS = ("mopoe.data", "mopoe.plugins")
"""The entry points by which an installed package offers data sets by name, and other functions."""

_F = TypeVar("_F", bound=Callable[..., Any])
_MARK = "_mopoe_plugin"
_folders: list[str] = []


def plugin(function: _F) -> _F:
    """Mark a function that a sweep's file may name; without the mark it is never called."""
    setattr(function, _MARK, True)
    return function


def named_function(reference: str) -> Callable[..., Any]:
    """Return the marked function that "package.module:function" names.

    Raises:
        ConfigError: it may not be imported or called, cannot be imported, or is no function. The sentence
            lacks its subject, so that what named the function can be put before it.
    """
    module, _, name = reference.partition(":")
    if module not in sys.modules:
        _check_place(module.partition(".")[0])
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a user's module raises
        raise ConfigError(
            f"cannot be imported ({reason(error)}); it must be a function, as 'package.module:function'"
        ) from error
    if not callable(found):
        raise ConfigError(f"is of type {type(found).__name__}, but must be a function")
    if getattr(found, _MARK, None) is not True:
        raise ConfigError(
            f"is not marked as a plugin, so it is not called; if it is yours, put @mopoe.plugin above {name}"
        )
    return found  # type: ignore[no-any-return] # getattr is untyped


def _check_place(package: str) -> None:
    """Refuse a top-level module that is neither the project's, nor offered by a package, nor of our folder.

    It is looked for as an import would, and not imported.
    """
    if package == "mopoe" or any(
        point.module.partition(".")[0] == package for group in GROUPS for point in entry_points(group=group)
    ):
        return
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # an empty name, or a module without a place
        spec = None
    if spec is None:
        raise ConfigError(
            f"cannot be imported (there is no module {package!r}); it must be a function, as "
            "'package.module:function'"
        )
    places = list(spec.submodule_search_locations or [spec.origin or ""])
    trusted = {Path(folder).resolve() for folder in (*_folders, ".")}
    if not all(Path(place).parent.resolve() in trusted for place in places):
        raise ConfigError(
            f"lies in {places[0] or 'Python itself'}, and only modules in the folder where sweep was "
            f"started, or of packages with an entry point {GROUPS[0]!r}, are imported"
        )


def also_import_from(folder: str) -> None:
    """Let modules in a folder be imported, if no other place has them: no file there can hide a library."""
    if folder not in sys.path:
        sys.path.append(folder)
    if folder not in _folders:
        _folders.append(folder)


def reason(error: BaseException) -> str:
    """Return an exception in one line, with the place in a user's file that raised it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    places = [p for p in traceback.extract_tb(error.__traceback__)[1:] if _is_users(p.filename)]
    return f"{text}; {places[-1].filename}:{places[-1].lineno}" if places else text


def _is_users(file: str) -> bool:
    ours = tuple(f"{Path(__file__).parents[1] / package}/" for package in ("mopoe", "sweep"))
    return not (file.startswith(("<frozen", *ours)) or file == importlib.__file__ or "site-packages" in file)
