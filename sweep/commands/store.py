"""`sweep compact`, `verify`, `merge` and `export`: what is done with results once they are there."""

from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError
from sweep.errors import StoreError

app = typer.Typer()

Results = Annotated[
    str, typer.Argument(help="A results folder, or its address, as s3://BUCKET/FOLDER.", metavar="DIR")
]


@app.command()
def compact(folder: Results) -> None:
    """Merge the many small files of a results folder; others may read and write it meanwhile."""
    from sweep.store.maintenance import compact as compact_store
    from sweep.store.read import open_store

    for table, (before, after) in compact_store(open_store(folder)).items():
        typer.echo(f"{table:<16}{before:>6} files -> {after}")


@app.command()
def verify(folder: Results) -> None:
    """Check every file, key, reference and value of a results folder; exit with 1 if something is wrong."""
    from sweep.store.read import open_store
    from sweep.verify import problems

    store = open_store(folder)
    sound = True
    for problem in problems(store):
        typer.echo(problem)
        sound = False
    if not sound:
        raise typer.Exit(1)
    typer.echo(f"{store.files} is sound")


@app.command()
def merge(
    folders: Annotated[
        list[str],
        typer.Argument(help="Results folders of runs of one sweep, or addresses.", metavar="DIR..."),
    ],
    out: Annotated[str, typer.Option(help="An empty folder, or the address of one.")],
) -> None:
    """Put several runs of one sweep into one results folder, or copy one run."""
    import polars as pl

    from sweep.store.files import files_at
    from sweep.store.maintenance import merge_runs
    from sweep.store.read import open_store
    from sweep.verify import problems

    files, runs = files_at(out), [open_store(folder) for folder in folders]
    for run in runs:
        if (problem := next(problems(run), None)) is not None:
            raise StoreError(f"{run.files} is not sound, so it is not merged; `sweep verify` says: {problem}")
    for trial, name in merge_runs(runs, files).items():
        typer.echo(f"{trial} is named {name} there")
    trials = open_store(files).latest_trials().collect()
    twice = trials.filter(pl.struct("config_id", "seed").is_duplicated()).height
    if twice:
        typer.echo(f"{twice} trials share config and seed with another: they are no replicates of it")
    typer.echo(f"{files} holds {trials.height} trials")


@app.command()
def export(
    folder: Results,
    csv: Annotated[Path | None, typer.Option(help="Folder for one CSV file per table.")] = None,
    deepcave: Annotated[Path | None, typer.Option(help="Folder that DeepCAVE opens as a run.")] = None,
) -> None:
    """Write the tables as CSV files, or the trials as a data-frame run of DeepCAVE."""
    from sweep.store.export import export_csv, export_deepcave
    from sweep.store.read import open_store

    if csv is None and deepcave is None:
        raise ConfigError("nothing to export to; give --csv FOLDER, --deepcave FOLDER or both")
    store = open_store(folder)
    if csv:
        for path in export_csv(store, csv):
            typer.echo(path)
    if deepcave:
        left_out = export_deepcave(store, deepcave)
        typer.echo(f"{deepcave}: a run for DeepCAVE, without {left_out} ended trials that lack a parameter")
