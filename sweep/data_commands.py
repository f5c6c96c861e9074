"""`sweep data`: what data sets there are, and making one. Nothing heavy is imported before a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from mopoe.data.registry import DATA_SETS
from mopoe.errors import ConfigError

app = typer.Typer(help="List the data sets, or make one from its sources.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the data sets with their modalities and options."""
    width = max(map(len, DATA_SETS)) + 2
    for name, found in DATA_SETS.items():
        parts = [f"{m.name} {'x'.join(map(str, m.shape))}" for m in found.modalities]
        print(f"{name:<{width}}{', '.join(parts)}")  # noqa: T201 - the command's answer
        for option, what in found.required.items():
            print(f"{'':<{width}}{option}: required; {what}")  # noqa: T201 - the command's answer
        for option, default in found.options.items():
            print(f"{'':<{width}}{option}: {default} unless given")  # noqa: T201 - the command's answer


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="polymnist or translated_polymnist.", metavar="NAME")],
    mnist: Annotated[Path, typer.Option(help="Folder of MNIST's idx files, or the one above MNIST/raw.")],
    photographs: Annotated[Path, typer.Option(help="Folder of five photographs, one per modality.")],
    out: Annotated[Path, typer.Option(help="The file to write, such as data/polymnist.safetensors.")],
    seed: Annotated[int, typer.Option(help="Fixes the split, the pairing and the crops.", min=0)] = 0,
    png: Annotated[bool, typer.Option("--png", help="Write PNG files in a folder MMNIST too.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Make a data set from its sources, as one file for the option `path`."""
    if name not in ("polymnist", "translated_polymnist"):
        possible = "polymnist, translated_polymnist"
        raise ConfigError(f"data set {name!r} cannot be built from files; possible: {possible}")
    from mopoe.data.polymnist_build import build as build_polymnist

    build_polymnist(mnist, photographs, out, seed, png=png, name=name)
    print(f"{out}\nnext: data: {{name: {name}, path: {out}, seed: {seed}}} in a sweep's file")  # noqa: T201 - the command's answer
