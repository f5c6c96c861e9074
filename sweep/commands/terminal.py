"""What commands print: texts without secrets, commands that can be pasted, and how to resume after Ctrl-C."""

import codecs
import io
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mopoe.errors import shown

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Return the terminal, or the file or pipe in its place."""
    from rich.console import Console

    # A file or a pipe has no width of its own: wide enough for a table with many settings.
    return Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False, emoji=False)


def say(text: object, *, err: bool = False) -> None:
    """Print a text without secrets, at once; `err` is the error output."""
    # Not by typer, which goes round `adapt_streams`.
    print(shown(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def yaml_text(values: Mapping[str, object]) -> str:
    """Return values as YAML, in their order."""
    import yaml

    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=110)


def command(*words: object) -> str:
    """Return a command that can be pasted."""
    return shlex.join(map(str, words))


@contextmanager
def resume_hint(again: str, folder: Path) -> Iterator[None]:
    """Turn an interruption into a message with the command that continues, and its exit status."""
    try:
        yield
    except KeyboardInterrupt:
        from sweep.running.signals import exit_status
        from sweep.store.files import files_at
        from sweep.store.layout import MANIFEST

        text = f" before {folder} was created"
        if MANIFEST in files_at(folder).list():
            text = f"; finished trials and checkpoints of the others are kept. To continue: {again}"
        say(f"\nsweep: interrupted{text}", err=True)
        sys.exit(exit_status())


def adapt_streams() -> None:
    """Let a terminal that only knows ASCII print similar characters, where Python would raise."""
    codecs.register_error("nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return "".join(
        {"±": "+-", "·": "-", "…": "...", "↑": "^", "↓": "v"}.get(c, "?") for c in characters
    ), error.end
