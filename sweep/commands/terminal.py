"""What the commands share: the terminal, and the argument that names a results folder."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Folder = Annotated[
    Path, typer.Argument(help="A results folder, or its address, as s3://BUCKET/FOLDER.", metavar="DIR")
]


def console() -> "Console":
    """Return the terminal, or what stands for it."""
    from rich.console import Console

    # A file or a pipe has no width of its own: wide enough for a table with many settings.
    return Console(width=None if sys.stdout.isatty() else 160)
