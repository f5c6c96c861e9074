"""`sweep run`, `sweep resume` and `sweep extend`. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import shown
from sweep.commands.terminal import Folder, command, console, say
from sweep.errors import TrialsFailedError

if TYPE_CHECKING:
    from sweep.config.sweep_spec import SweepSpec

File = Annotated[
    str, typer.Argument(help="A sweep's YAML file, or the name of a shipped one.", metavar="FILE")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", help="Replace a value of the file, as in trials=30 (repeatable)."),
]
_Address = Annotated[
    str,
    typer.Option(help="'local' for this machine, 'auto' for the Ray cluster it is part of, or an address."),
]
_Cluster = Annotated[
    Path | None,
    typer.Option(help="Run it on the cluster of this file for `ray up`, not here.", metavar="FILE"),
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
_Retry = Annotated[bool, typer.Option("--retry-failed", help="Train trials that failed once more, too.")]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what the sweep would cost; train only a few steps.")
]


def run(
    file: File,
    out: Annotated[
        str | None,
        typer.Option(help="Results folder, or an address (default: results/NAME, or what --cluster says)."),
    ] = None,
    address: _Address = "local",
    override: Overrides = None,
    allow_changed: _Allowed = None,
    optuna_storage: _Storage = None,
    tensorboard: _TensorBoard = False,  # noqa: FBT002 - typer's way
    dry_run: _DryRun = False,  # noqa: FBT002 - typer's way
    cluster: _Cluster = None,
    workers: _Workers = 0,
) -> None:
    """Run a sweep; on the folder of an earlier run, what is left of it."""
    from sweep.config.sweep_spec import load_spec

    spec = load_spec(file, override or ())
    if dry_run:
        from sweep.running.dry_run import print_costs

        print_costs(spec, console())
        return
    if cluster is not None:
        from sweep.commands.cluster import run_spec_there

        words = [*repeated("-o", override), *repeated("--allow-changed", allow_changed)]
        run_spec_there(cluster, file, spec, out, [*words, *_copies(optuna_storage, tensorboard)])
    root = Path(out) if out else Path("results") / spec.name
    _run(spec, root, address, workers, allow_changed, optuna_storage, tensorboard=tensorboard)


def resume(
    folder: Folder,
    address: _Address = "local",
    override: Overrides = None,
    allow_changed: _Allowed = None,
    optuna_storage: _Storage = None,
    tensorboard: _TensorBoard = False,  # noqa: FBT002 - typer's way
    retry_failed: _Retry = False,  # noqa: FBT002 - typer's way
    cluster: _Cluster = None,
    workers: _Workers = 0,
) -> None:
    """Go on with a sweep that was cut off, from its results folder alone."""
    if cluster is not None:
        from sweep.commands.cluster import go_on_there

        words = [*repeated("-o", override), *repeated("--allow-changed", allow_changed)]
        words += ["--retry-failed"] if retry_failed else []
        go_on_there(cluster, "resume", folder, [*words, *_copies(optuna_storage, tensorboard)])
    from sweep.manifest import stored_spec

    _run(
        stored_spec(folder, override or ()),
        folder,
        address,
        workers,
        allow_changed,
        optuna_storage,
        tensorboard=tensorboard,
        retry_failed=retry_failed,
    )


def extend(
    folder: Folder,
    trials: Annotated[int, typer.Option(help="How many trials more.", min=1)],
    address: _Address = "local",
    optuna_storage: _Storage = None,
    tensorboard: _TensorBoard = False,  # noqa: FBT002 - typer's way
    cluster: _Cluster = None,
    workers: _Workers = 0,
) -> None:
    """Add trials to a sweep, from its results folder alone."""
    if cluster is not None:
        from sweep.commands.cluster import go_on_there

        words = ["--trials", str(trials), *_copies(optuna_storage, tensorboard)]
        go_on_there(cluster, "extend", folder, words)
    from sweep.manifest import stored_spec

    spec = stored_spec(folder, [f"trials={stored_spec(folder).trials + trials}"])
    _run(spec, folder, address, workers, None, optuna_storage, tensorboard=tensorboard)


def _run(
    spec: "SweepSpec",
    root: Path,
    address: str,
    workers: int,
    allowed: list[str] | None,
    optuna_storage: str | None,
    *,
    tensorboard: bool,
    retry_failed: bool = False,
) -> None:
    from sweep.report.tables import print_front
    from sweep.running.progress import SweepProgress
    from sweep.running.runner import run_sweep
    from sweep.running.signals import stoppable
    from sweep.store.files import LocalFiles, canonical_uri, files_at

    screen = console()
    options = [] if address == "local" else ["--address", address]
    where = str(root) if isinstance(files_at(root), LocalFiles) else canonical_uri(root)
    again = command("sweep", "resume", where, *options, *_copies(optuna_storage, tensorboard))
    with stoppable(), SweepProgress(screen) as progress, interrupted(again, root):
        store = run_sweep(
            spec,
            root,
            address=address,
            workers=workers,
            allowed=allowed or (),
            retry_failed=retry_failed,
            optuna_storage=optuna_storage,
            tensorboard=tensorboard,
            say=progress.say,
            on_change=progress.update,
        )
    screen.print()
    print_front(store, screen)
    say(f"\ntables: {where}\nnext:   {command('sweep', 'report', where)}", screen)
    ended = store.latest_trials().collect()["status"]
    if len(ended) and (ended == "failed").all():
        raise TrialsFailedError(f"all {len(ended)} trials failed; see the reasons above")


def _copies(optuna_storage: str | None, tensorboard: bool) -> list[str]:  # noqa: FBT001 - a flag's value
    """Return the words that ask for copies for other programs."""
    storage = ["--optuna-storage", optuna_storage] if optuna_storage else []
    return [*storage, *(["--tensorboard"] if tensorboard else [])]


@contextmanager
def interrupted(again: str, folder: Path) -> Iterator[None]:
    """Turn an interruption into a sentence that says how to go on with a results folder, and its status."""
    try:
        yield
    except KeyboardInterrupt:
        from sweep.running.signals import exit_status
        from sweep.store.files import files_at
        from sweep.store.layout import MANIFEST

        begun = f"; what was finished is kept. To go on: {again}"
        text = begun if MANIFEST in files_at(folder).list() else f" before {folder} was begun"
        print(shown(f"\nsweep: interrupted{text}"), file=sys.stderr)  # noqa: T201 - the message
        sys.exit(exit_status())


def repeated(option: str, values: list[str] | None) -> list[str]:
    """Return the words of an option that was given several times."""
    return [word for value in values or () for word in (option, value)]
