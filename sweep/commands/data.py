"""`sweep data`: lists, downloads, builds and splits data. Nothing heavy is imported before a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from mopoe.data.registry import DATA_SETS, entry, installed
from mopoe.errors import ConfigError
from mopoe.wording import show
from sweep.commands.options import File, Overrides
from sweep.commands.terminal import say

app = typer.Typer(
    help="List data sets, download one, build one from its sources, or tell its splits.", no_args_is_help=True
)


@app.command("list")
def list_() -> None:
    """List the data sets with their modalities and options."""
    names = (*DATA_SETS, *installed())
    width = max(map(len, names)) + 2
    for name in names:
        try:
            lines = _described(name)
        except ConfigError as error:
            lines = [str(error)]
        for i, line in enumerate(lines):
            say(f"{'' if i else name:<{width}}{line}")
    say(f"{'your own':<{width}}a function, named as package.module:function; see docs/own_data.md")


def _described(name: str) -> list[str]:
    """Return the modalities of a data set and its options, one line each."""
    data_set = entry(name)
    parts = [f"{m.name} {'x'.join(map(str, m.shape))}" for m in data_set.modalities]
    return [
        ", ".join(parts) or "modalities: known once it is loaded",
        *(f"{option}: required; {what}" for option, what in data_set.required.items()),
        *(f"{option}: {default or show(default)} by default" for option, default in data_set.options.items()),
    ]


@app.command()
def splits(
    file: File,
    out: Annotated[Path, typer.Option(help="What to write: .csv or .parquet.")],
    override: Overrides = None,
) -> None:
    """Write which subject of a sweep's tables is in which split: train, validation or test."""
    import polars as pl

    from mopoe.data.tables import subjects_of_splits
    from sweep.config.sweep_spec import load_spec
    from sweep.store.files import write_atomically

    data = load_spec(file, override or ()).data
    if data.name != "tables":
        raise ConfigError(f"the data set is {data.name!r}, but only that of `tables` has subjects")
    if out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--out is {out}, but must end in .csv or .parquet")
    found = subjects_of_splits(**data.options)
    parts = [
        pl.DataFrame({data.options["id"]: some, "split": [name] * len(some)}) for name, some in found.items()
    ]
    table = pl.concat(parts)
    write_atomically(out, table.write_csv if out.suffix == ".csv" else table.write_parquet)
    say(f"{out}: {', '.join(f'{len(some)} {name}' for name, some in found.items())}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="What to download: celeba, mnist or svhn.", metavar="NAME")],
    to: Annotated[Path, typer.Option(help="Folder to download to.")] = Path("data"),
) -> None:
    """Download released data, and say how to use it."""
    from mopoe.data.fetch import fetch as fetch_data

    say(f"next: {fetch_data(name, to)}")


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="polymnist or translated_polymnist.", metavar="NAME")],
    mnist: Annotated[Path, typer.Option(help="Folder of MNIST's idx files, or the one above MNIST/raw.")],
    photographs: Annotated[Path, typer.Option(help="Folder of five photographs, one per modality.")],
    out: Annotated[Path, typer.Option(help="File to write, such as data/polymnist.safetensors.")],
    seed: Annotated[int, typer.Option(help="Seed of the split, the pairing and the crops.", min=0)] = 0,
    *,
    png: Annotated[bool, typer.Option("--png", help="Also write PNG files in a folder MMNIST.")] = False,
) -> None:
    """Build a data set from its sources, as one file for the option `path`."""
    if name not in ("polymnist", "translated_polymnist"):
        possible = "polymnist, translated_polymnist"
        raise ConfigError(f"data set {name!r} cannot be built from files; possible: {possible}")
    from mopoe.data.polymnist_build import build as build_polymnist

    build_polymnist(mnist, photographs, out, seed, png=png, name=name)
    say(f"{out}\nnext: data: {{name: {name}, path: {out}, seed: {seed}}} in a sweep's file")
