"""Functions named in words, as "package.module:function": networks and data sets, the project's and yours."""

import importlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

from mopoe.errors import ConfigError


def named_function(reference: str) -> Callable[..., Any]:
    """Return the function that "package.module:function" names.

    Raises:
        ConfigError: it cannot be imported or is no function. The sentence lacks its subject, so that what
            named the function can be put before it.
    """
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a user's module raises
        raise ConfigError(
            f"cannot be imported ({reason(error)}); it must be a function, as 'package.module:function'"
        ) from error
    if not callable(found):
        raise ConfigError(f"is of type {type(found).__name__}, but must be a function")
    return found  # type: ignore[no-any-return] # getattr is untyped


def also_import_from(folder: str) -> None:
    """Let modules in a folder be imported, if no other place has them: no file there can hide a library."""
    if folder not in sys.path:
        sys.path.append(folder)


def reason(error: Exception) -> str:
    """Return an exception in one line, with the place in a user's file that raised it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    places = [p for p in traceback.extract_tb(error.__traceback__)[1:] if _is_users(p.filename)]
    return f"{text}; {places[-1].filename}:{places[-1].lineno}" if places else text


def _is_users(file: str) -> bool:
    return not (file.startswith("<frozen") or file == importlib.__file__ or "site-packages" in file)
