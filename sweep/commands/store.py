"""`sweep compact`, `verify`, `merge` and `export`: commands on the tables of results folders."""

from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError
from sweep.commands.options import Folder
from sweep.commands.terminal import say
from sweep.errors import StoreError


def compact(folder: Folder) -> None:
    """Merge the many small files of a results folder, which may be in use meanwhile."""
    from sweep.store.maintenance import compact as compact_store
    from sweep.store.read import open_store

    for table, (before, after) in compact_store(open_store(folder)).items():
        say(f"{table:<16}{before:>6} files -> {after}")


def verify(folder: Folder) -> None:
    """Check every file, key, reference and value of a results folder; exit with 1 if something is wrong."""
    from sweep.store.read import open_store
    from sweep.verify import problems

    store = open_store(folder)
    sound = True
    for problem in problems(store):
        say(problem)
        sound = False
    if not sound:
        raise typer.Exit(1)
    say(f"{store.files} is sound")


def merge(
    folders: Annotated[
        list[str],
        typer.Argument(help="Results folders of runs of one sweep, or their addresses.", metavar="DIR..."),
    ],
    out: Annotated[str, typer.Option(help="An empty folder, or its address.")],
) -> None:
    """Merge several runs of one sweep into one results folder, or copy one run."""
    import polars as pl

    from sweep.store.files import files_at
    from sweep.store.maintenance import merge_runs
    from sweep.store.read import open_store
    from sweep.verify import problems

    files, runs = files_at(out), [open_store(folder) for folder in folders]
    for run in runs:
        if (problem := next(problems(run), None)) is not None:
            raise StoreError(f"{run.files} is not sound, so it is not merged: {problem}")
    for trial, name in merge_runs(runs, files).items():
        say(f"{trial} is renamed to {name}")
    trials = open_store(files).latest_trials().collect()
    twice = trials.filter(pl.struct("config_id", "seed").is_duplicated()).height
    if twice:
        say(f"{twice} trials share config and seed with another trial, so they are not replicates")
    say(f"{files} holds {trials.height} trials")


def export(
    folder: Folder,
    csv: Annotated[Path | None, typer.Option(help="Folder for one CSV file per table.")] = None,
    deepcave: Annotated[Path | None, typer.Option(help="Folder that DeepCAVE opens as a run.")] = None,
) -> None:
    """Write the tables as CSV files, or the trials as a run for DeepCAVE."""
    from sweep.store.export import export_csv, export_deepcave
    from sweep.store.read import open_store

    if csv is None and deepcave is None:
        raise ConfigError("no output is given; add --csv FOLDER, --deepcave FOLDER or both")
    store = open_store(folder)
    if csv:
        for path in export_csv(store, csv):
            say(path)
    if deepcave:
        left_out = export_deepcave(store, deepcave)
        say(f"{deepcave}: a run for DeepCAVE, without {left_out} trials that lack a parameter")
