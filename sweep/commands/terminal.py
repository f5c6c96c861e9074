"""What the commands share: the terminal, hints that can be pasted, and the argument that names a folder."""

import codecs
import io
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import shown

if TYPE_CHECKING:
    from rich.console import Console

Folder = Annotated[
    Path, typer.Argument(help="A results folder, or its address, as s3://BUCKET/FOLDER.", metavar="DIR")
]


def console() -> "Console":
    """Return the terminal, or what stands for it."""
    from rich.console import Console

    # A file or a pipe has no width of its own: wide enough for a table with many settings.
    return Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False, emoji=False)


def say(text: str, screen: "Console | None" = None) -> None:
    """Print a text as it is, without secrets, in lines as long as they are."""
    (screen or console()).print(shown(text), soft_wrap=True)


def command(*words: object) -> str:
    """Return a command that can be pasted."""
    return shlex.join(map(str, words))


def adapt_streams() -> None:
    """Let a terminal that knows ASCII alone have the nearest signs, where Python would raise."""
    codecs.register_error("nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    return "".join({"±": "+-", "·": "-", "…": "..."}.get(sign, "?") for sign in signs), error.end
