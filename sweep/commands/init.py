"""`sweep init`: writes a first sweep's file, by flags or after a few questions."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mopoe.errors import ConfigError, MopoeError
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
    from mopoe.data import load_data
    from search_spaces import Document
    from sweep.running.first_file import first_file

    file = file if file.suffix else file.with_suffix(".yaml")
    if file.exists():
        raise ConfigError(f"{file} exists already; name another one")
    if not file.parent.is_dir():
        raise ConfigError(f"{file} cannot be written: {file.parent} is not a folder")
    if data is None and not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here; give --data, such as digits, and -o KEY=VALUE")
    answers = {"name": data} if data else _asked(typer.prompt)
    while True:
        document = Document(path=file, data=dict(answers), root=None)
        for assignment in option or ():
            document = document.override(assignment)
        if data or not answers.get("modalities"):
            break
        try:
            load_data(**document.data)
            break
        except MopoeError as error:
            say(f"{error}\nplease answer again; if the first answer is empty, the files stay as they are")
            files = _files(typer.prompt) or answers["modalities"]
            answers = {"name": answers["name"], "modalities": files} | _columns(typer.prompt)
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
        answers |= {"modalities": _files(ask)} | _columns(ask)
    else:
        answers |= {option: ask(what) for option, what in entry(name).required.items()}
    return answers


def _files(ask: Callable[..., Any]) -> dict[str, str]:
    """Return the file of each modality."""
    files: dict[str, str] = {}
    while path := _optional(ask, "file of a modality, .csv, .parquet or .npz (empty: no more)"):
        if Path(path).is_file():
            files[ask("  its name", default=Path(path).stem)] = path
        else:
            say(f"there is no file {path}")
    return files


def _columns(ask: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of tables beside their files: what some of the columns are."""
    answers: dict[str, Any] = {"id": ask("column with the subject", default="id")}
    if labels := _optional(ask, "column with the class (empty: none)"):
        answers["labels"] = labels
        answers["labels_file"] = _optional(ask, "  file with that column (empty: one of these)")
    covariates = _optional(ask, "columns to condition on, as age,sex (empty: none)").split(",")
    if names := [name.strip() for name in covariates if name.strip()]:
        answers["covariates"] = names
        answers["covariates_file"] = _optional(ask, "  file with these columns (empty: one of these)")
    return {option: answer for option, answer in answers.items() if answer}


def _optional(ask: Callable[..., Any], what: str) -> str:
    """Return an answer that may be empty."""
    return str(ask(what, default="", show_default=False)).strip()
