"""The command line. Nothing heavy is imported before a command runs."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError, DataError, MopoeError
from mopoe.functions import also_import_from
from sweep.data_commands import app as data_app
from sweep.store_commands import app as store_app

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="sweep",
    help="Hyperparameter sweeps for MoPoE multimodal VAEs: coherence against likelihood.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")

File = Annotated[
    str, typer.Argument(help="A sweep's YAML file, or the name of a shipped one.", metavar="FILE")
]
Folder = Annotated[Path, typer.Argument(help="A results folder.", metavar="DIR")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", help="Replace a value of the file, as in trials=30 (repeatable)."),
]


@app.command()
def run(
    file: File,
    out: Annotated[Path | None, typer.Option(help="Results folder [default: results/NAME].")] = None,
    address: Annotated[
        str,
        typer.Option(
            help="'local' for this machine, 'auto' for the Ray cluster it is part of, or an address."
        ),
    ] = "local",
    override: Overrides = None,
) -> None:
    """Run a sweep; on the folder of an earlier run, what is left of it."""
    from sweep.spec import load_spec

    spec = load_spec(file, override or ())
    root = out or Path("results") / spec.name
    from sweep.progress import SweepProgress
    from sweep.report.summary import print_front
    from sweep.runner import run_sweep

    console = _console()
    again = shlex.join(["sweep", "run", file, "--out", str(root), *_repeated("-o", override)])
    with SweepProgress(console) as progress, _interrupted(again):
        store = run_sweep(spec, root, address=address, say=progress.say, on_change=progress.update)
    console.print()
    print_front(store, console)
    console.print(f"\ntables: {root}\nnext:   sweep report {root}", highlight=False, soft_wrap=True)


@app.command()
def trial(
    file: File,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the trial, as in beta=2.5 (repeatable).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder [default: results/NAME-trials].")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from this trial's last checkpoint.")] = False,  # noqa: FBT002 - typer's way
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    override: Overrides = None,
) -> None:
    """Train one trial here, without Ray. Settings that are not set take the middle of the search space."""
    from sweep.spec import load_spec, trial_config_for

    spec = load_spec(file, override or ())
    config = trial_config_for(spec, set_ or ())
    root = out or Path("results") / f"{spec.name}-trials"
    from sweep.progress import TrialProgress
    from sweep.single import run_single

    console = _console()
    options = [*_repeated("--set", set_), *_repeated("-o", override), "--out", str(root), "--resume"]
    again = shlex.join(["sweep", "trial", file, *options])
    with TrialProgress(console, config.epochs) as progress, _interrupted(again):
        record = run_single(
            spec, config, root, resume=resume, device=_device(device), on_report=progress.update
        )
    for name, value in record.objectives.items():
        mark = "" if name in spec.objectives else "  (not an objective of this sweep)"
        console.print(f"{name:<24}{value:>12.4f} ± {record.stderr[name]:.4f}{mark}", highlight=False)
    console.print(
        f"\ntrial {record.trial_id}, attempt {record.attempt}; tables: {root}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"next: sweep samples {root} --trial {record.trial_id}", highlight=False, soft_wrap=True)


@app.command()
def report(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Where the page goes [default: DIR/report].")] = None,
) -> None:
    """Print the front and write the report: an HTML page that opens from disk, and the front as tables."""
    from sweep.report.page import write_report
    from sweep.report.summary import print_front
    from sweep.store.read import open_store

    store = open_store(folder)
    console = _console()
    print_front(store, console)
    page = write_report(store, out or folder / "report")
    console.print(f"\nreport: {page}", highlight=False, soft_wrap=True)


@app.command()
def samples(
    folder: Folder,
    trial: Annotated[str | None, typer.Option(help="Trial [default: the newest checkpoint's].")] = None,
    source: Annotated[str, typer.Option(help="Observed modalities, as in m0+m2; or all; or prior.")] = "m0",
    n: Annotated[int, typer.Option("-n", help="Number of samples, one column each.", min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Fixes the noise.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Image file [default: DIR/samples-TRIAL-SOURCE.png].")
    ] = None,
) -> None:
    """Draw samples from a trial's checkpoint as one image."""
    from sweep.samples import choose_checkpoint, draw_samples

    checkpoint = choose_checkpoint(folder, trial)
    image = out or folder / f"samples-{checkpoint.stem}-{source}.png"
    if image.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--out is {image}, but must end in .png or .jpg")
    if not image.parent.is_dir():
        raise DataError(f"{image.parent} is no folder, so that {image.name} cannot be written there")
    print(draw_samples(checkpoint, source, n, seed, image))  # noqa: T201 - the command's answer


@app.command("show-config")
def show_config(file: File, override: Overrides = None) -> None:
    """Print a sweep's file with every default filled in, as YAML."""
    import yaml

    from mopoe.config import TrialConfig
    from sweep.spec import load_spec

    spec = load_spec(file, override or ())
    plain = spec.plain()
    fixed = TrialConfig.from_dict(spec.fixed).to_dict()
    plain["fixed"] = {name: value for name, value in fixed.items() if name not in spec.search_space}
    print(yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110), end="")  # noqa: T201 - the command's answer


app.registered_commands += store_app.registered_commands


def main() -> None:
    """Run the command line; an error of the project's tree is one sentence and exit status 2."""
    also_import_from(str(Path.cwd()))  # data sets and networks of the user's own
    try:
        app()
    except MopoeError as error:
        print(f"sweep: {error}", file=sys.stderr)  # noqa: T201 - the message
        sys.exit(2)


@contextmanager
def _interrupted(command: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says how to go on, and exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nsweep: interrupted; what was finished is kept. To go on: {command}", file=sys.stderr)  # noqa: T201 - the message
        sys.exit(130)


def _repeated(option: str, values: list[str] | None) -> list[str]:
    return [word for value in values or () for word in (option, value)]


def _console() -> "Console":
    from rich.console import Console

    # A file or a pipe has no width of its own: wide enough for a table with many settings.
    return Console(width=None if sys.stdout.isatty() else 160)


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {name!r}, but must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no GPU here; possible: cpu")
    return name
