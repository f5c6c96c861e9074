"""`sweep run`, `sweep resume` and `sweep extend`. Nothing heavy is imported before a command runs."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sweep.spec.sweep_spec import SweepSpec

File = Annotated[
    str, typer.Argument(help="A sweep's YAML file, or the name of a shipped one.", metavar="FILE")
]
Folder = Annotated[Path, typer.Argument(help="A results folder.", metavar="DIR")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", help="Replace a value of the file, as in trials=30 (repeatable)."),
]
_Address = Annotated[
    str,
    typer.Option(help="'local' for this machine, 'auto' for the Ray cluster it is part of, or an address."),
]
_Workers = Annotated[
    int, typer.Option(help="Wait for so many workers of the cluster, two minutes at most.", min=0)
]
_Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-changed",
        metavar="KEY",
        help="Go on although this key differs, as in evaluation.importance_samples (repeatable).",
    ),
]
_Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL_OR_FILE", help="Copy the study there for optuna-dashboard: a database or a journal file."
    ),
]
_TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write DIR/tensorboard, too.")]

_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what the sweep would cost; train only a few steps.")
]


def run(
    file: File,
    out: Annotated[
        str | None, typer.Option(help="Results folder [default: results/NAME, or what --cluster says].")
    ] = None,
    address: _Address = "local",
    override: Overrides = None,
    allow_changed: _Allowed = None,
    optuna_storage: _Storage = None,
    tensorboard: _TensorBoard = False,  # noqa: FBT002 - typer's way
    dry_run: _DryRun = False,  # noqa: FBT002 - typer's way
    cluster: Annotated[
        Path | None,
        typer.Option(help="Run it on the cluster of this file for `ray up`, not here.", metavar="FILE"),
    ] = None,
    workers: _Workers = 0,
) -> None:
    """Run a sweep; on the folder of an earlier run, what is left of it."""
    from sweep.spec.sweep_spec import load_spec

    spec = load_spec(file, override or ())
    if dry_run:
        from sweep.running.dry_run import print_costs

        print_costs(spec, console())
        return
    if cluster is not None:
        from sweep.commands.cluster import run_spec_there

        words = [*repeated("-o", override), *repeated("--allow-changed", allow_changed)]
        words += ["--optuna-storage", optuna_storage] if optuna_storage else []
        words += ["--tensorboard"] if tensorboard else []
        run_spec_there(cluster, file, spec, out, words)
    root = Path(out) if out else Path("results") / spec.name
    _run(spec, root, address, workers, allow_changed, optuna_storage, tensorboard=tensorboard)


def resume(
    folder: Folder,
    address: _Address = "local",
    override: Overrides = None,
    allow_changed: _Allowed = None,
    optuna_storage: _Storage = None,
    tensorboard: _TensorBoard = False,  # noqa: FBT002 - typer's way
    workers: _Workers = 0,
) -> None:
    """Go on with a sweep that was cut off, from its results folder alone."""
    from sweep.manifest import stored_spec

    spec = stored_spec(folder, override or ())
    _run(spec, folder, address, workers, allow_changed, optuna_storage, tensorboard=tensorboard)


def extend(
    folder: Folder,
    trials: Annotated[int, typer.Option(help="How many trials more.", min=1)],
    address: _Address = "local",
    optuna_storage: _Storage = None,
    tensorboard: _TensorBoard = False,  # noqa: FBT002 - typer's way
) -> None:
    """Add trials to a sweep, from its results folder alone."""
    from sweep.manifest import stored_spec

    spec = stored_spec(folder, [f"trials={stored_spec(folder).trials + trials}"])
    _run(spec, folder, address, 0, None, optuna_storage, tensorboard=tensorboard)


def _run(
    spec: "SweepSpec",
    root: Path,
    address: str,
    workers: int,
    allowed: list[str] | None,
    optuna_storage: str | None,
    *,
    tensorboard: bool,
) -> None:
    from sweep.report.summary import print_front
    from sweep.running.progress import SweepProgress
    from sweep.running.runner import run_sweep

    screen = console()
    more = (("--address", address if address != "local" else None), ("--optuna-storage", optuna_storage))
    options = [word for option, value in more if value for word in (option, value)]
    again = ["sweep", "resume", str(root), *options, *(["--tensorboard"] if tensorboard else [])]
    with SweepProgress(screen) as progress, interrupted(shlex.join(again), root):
        store = run_sweep(
            spec,
            root,
            address=address,
            workers=workers,
            allowed=allowed or (),
            optuna_storage=optuna_storage,
            tensorboard=tensorboard,
            say=progress.say,
            on_change=progress.update,
        )
    screen.print()
    print_front(store, screen)
    screen.print(f"\ntables: {root}\nnext:   sweep report {root}", highlight=False, soft_wrap=True)


@contextmanager
def interrupted(command: str, folder: Path) -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says how to go on with a results folder, and exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        begun = f"; what was finished is kept. To go on: {command}"
        text = begun if (folder / "sweep.json").exists() else f" before {folder} was begun"
        print(f"\nsweep: interrupted{text}", file=sys.stderr)  # noqa: T201 - the message
        sys.exit(130)


def repeated(option: str, values: list[str] | None) -> list[str]:
    """Return the words of an option that was given several times."""
    return [word for value in values or () for word in (option, value)]


def console() -> "Console":
    """Return the terminal, or what stands for it."""
    from rich.console import Console

    # A file or a pipe has no width of its own: wide enough for a table with many settings.
    return Console(width=None if sys.stdout.isatty() else 160)
