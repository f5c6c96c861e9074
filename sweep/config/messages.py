"""Every mistake in a sweep's file as one sentence with its line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import SkipValidation, ValidationError
from pydantic_core import PydanticCustomError

from mopoe.errors import ConfigError
from mopoe.validation import Path, mistake
from search_spaces import Document

Name = Annotated[str, SkipValidation]
"""A key of a mapping; whoever knows the possible ones refuses others, also those that are no words."""


def problem(sentence: str, *at: str | int) -> PydanticCustomError:
    """Return the error to raise in a validator: a sentence, and its key's path below the validated value."""
    return PydanticCustomError("problem", "{sentence}", {"sentence": sentence, "at": at})


@contextmanager
def problems_at(*at: str | int) -> Iterator[None]:
    """Turn a ConfigError inside into a `problem` at this path."""
    try:
        yield
    except ConfigError as error:
        raise problem(str(error), *at) from None


def sentences(kind: type, error: ValidationError, document: Document, most: int = 3) -> str:
    """Return what is wrong with a file that a class reads: a line each, which starts with the place.

    Unknown keys come first, as one is often the cause of a missing one.
    """
    order = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    texts: dict[Path, str] = {}
    for e in order:
        # Of a list with a wrong entry pydantic says too that the right ones are too few.
        if e["type"] != "too_short" or len(e["input"]) < e["ctx"]["min_length"]:
            path, text = mistake(kind, e)
            texts.setdefault(path, text)  # of a value of several types there is one error per type
    lines = []
    for path, text in list(texts.items())[:most]:
        holder = ".".join(map(str, path[:-1]))
        lines.append(": ".join(filter(None, (document.where(path), holder, text))))
    return "\n".join(lines)
