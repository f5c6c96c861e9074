"""Resolves "package.module:function" references to networks and data sets, the project's and your own.

Importing a module executes it, and references occur in files that others may have written. A module is
therefore imported only from the folder in which the command was started, or from an installed package that
offers an entry point to this project, and only functions marked `@plugin` are called.
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
"""The entry point groups through which an installed package offers data sets by name, and other functions."""

_F = TypeVar("_F", bound=Callable[..., Any])
_MARK = "_mopoe_plugin"
_folders: set[str] = set()


def plugin(function: _F) -> _F:
    """Mark a function that a sweep's file may name; functions without the mark are never called."""
    setattr(function, _MARK, True)
    return function


def named_function(reference: str) -> Callable[..., Any]:
    """Return the plugin that "package.module:function" refers to.

    Raises:
        ConfigError: it may not be imported or called, or cannot be imported. The message has no subject, so
            that the caller can prepend one.
    """
    module, _, name = reference.partition(":")
    if module not in sys.modules:
        _check_place(module.partition(".")[0])
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module may raise anything
        hint = "it must be a function, as 'package.module:function'"
        if isinstance(error, ModuleNotFoundError):
            hint = (
                f"it is looked for where the command was started, {Path.cwd()}, and among what is installed"
            )
        raise ConfigError(f"cannot be imported ({reason(error)}); {hint}") from error
    if getattr(function, _MARK, None) is not True:
        raise ConfigError(
            f"is not marked as a plugin, so it is not called; if it is yours, put @mopoe.plugin above {name}"
        )
    return function  # type: ignore[no-any-return] # getattr is untyped


def _check_place(package: str) -> None:
    """Raise ConfigError unless a top-level module is the project's, offered by a package, or in the folder.

    The module is located as by an import, but not imported.
    """
    if package in ("mopoe", "sweep") or any(
        point.module.partition(".")[0] == package for group in GROUPS for point in entry_points(group=group)
    ):
        return
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # an empty name, or a module without a location
        spec = None
    if spec is None:
        return  # importing it fails, and says why
    places = list(spec.submodule_search_locations or [spec.origin or ""])
    trusted = {Path(folder).resolve() for folder in (*_folders, ".")}
    if not all(Path(place).parent.resolve() in trusted for place in places):
        raise ConfigError(
            f"lies in {places[0] or 'Python itself'}, and only modules in the folder where sweep was "
            f"started, or of packages with an entry point {GROUPS[0]!r}, are imported"
        )


def also_import_from(folder: str) -> None:
    """Allow imports from a folder, after all other locations, so that no file there can shadow a library."""
    if folder not in sys.path:
        sys.path.append(folder)
    _folders.add(folder)


def reason(error: BaseException) -> str:
    """Return an exception in one line, with the file and line of the user's code that raised it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    places = [p for p in traceback.extract_tb(error.__traceback__)[1:] if _is_users(p.filename)]
    return f"{text}; {places[-1].filename}:{places[-1].lineno}" if places else text


def _is_users(file: str) -> bool:
    ours = tuple(f"{Path(__file__).parents[1] / package}/" for package in ("mopoe", "sweep"))
    return not (file.startswith(("<frozen", *ours)) or file == importlib.__file__ or "site-packages" in file)
