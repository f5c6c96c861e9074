"""`sweep init`: writes a first sweep's file, by flags or after a few questions."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mopoe.errors import ConfigError
from sweep.commands.terminal import command, say


def init(
    file: Annotated[Path, typer.Argument(help="The file to write, as mine.yaml.", metavar="FILE")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", help="A data set of `sweep data list`, tables, or package.module:function."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            help="An option of the data set, as in modalities.mri=mri.csv (repeatable).",
        ),
    ] = None,
) -> None:
    """Write a commented file of a first sweep for your data, which runs as it is."""
    from search_spaces import Document
    from sweep.running.first_file import first_file

    file = file if file.suffix else file.with_suffix(".yaml")
    if file.exists():
        raise ConfigError(f"{file} exists already; name another one")
    if not file.parent.is_dir():
        raise ConfigError(f"{file} cannot be written: {file.parent} is not a folder")
    if data is None and not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here; give --data, such as digits, and -o KEY=VALUE")
    document = Document(path=file, data={"name": data} if data else _asked(typer.prompt), root=None)
    for assignment in option or ():
        document = document.override(assignment)
    text = first_file(file, document.data)
    file.write_text(text, encoding="utf-8")
    say(f"{file} is written\nnext: {command('sweep', 'run', file, '--dry-run')}")


def _asked(ask: Callable[..., Any]) -> dict[str, Any]:
    """Return the data set and its options from a short dialogue."""
    from mopoe.data.registry import DATA_SETS, entry

    say(f"data sets: {', '.join(DATA_SETS)}, or a function of your own as package.module:function")
    name = ask("data set", default="digits")
    answers: dict[str, Any] = {"name": name}
    if name == "tables":
        files: dict[str, str] = {}
        while path := ask(
            "file of a modality, .csv, .parquet or .npz (empty: no more)", default="", show_default=False
        ):
            files[ask("  its name", default=Path(path).stem)] = path
        answers["modalities"] = files
        answers["id"] = ask("column with the subject", default="id")
        if labels := ask("column with the class (empty: none)", default="", show_default=False):
            answers["labels"] = labels
    else:
        answers |= {option: ask(what) for option, what in entry(name).required.items()}
    return answers
