"""`sweep run`, `resume`, `extend` and `show-config`. Nothing heavy is imported before a command runs."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mopoe.errors import masked
from sweep.commands.cluster import run_on_cluster
from sweep.commands.options import File, Folder, Overrides, RunOptions, with_run_options
from sweep.commands.terminal import command, console, resume_hint, say, yaml_text
from sweep.errors import TrialsFailedError

if TYPE_CHECKING:
    from sweep.config.sweep_spec import SweepSpec


@with_run_options
def run(
    file: File,
    out: Annotated[
        str | None,
        typer.Option(
            help="Results folder, or its address (default: results/NAME, or what --cluster's file says)."
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only estimate what the sweep would cost, from a few training steps."),
    ] = False,
    **given: Any,
) -> None:
    """Run a sweep, or what is left of it if its results folder exists."""
    from sweep.config.sweep_spec import load_spec

    options = RunOptions(**given)
    spec = load_spec(file, options.override or ())
    if dry_run:
        from sweep.running.dry_run import print_costs

        print_costs(spec, console())
    elif options.cluster is not None:
        words = ["run", "sweep.yaml", "--out"]
        raise typer.Exit(run_on_cluster(options, words, spec.name, out, (spec, file)))
    else:
        _run_here(spec, Path(out) if out else Path("results") / spec.name, options)


@with_run_options
def resume(folder: Folder, **given: Any) -> None:
    """Continue an interrupted sweep, from its results folder alone."""
    from sweep.manifest import stored_spec

    options = RunOptions(**given)
    if options.cluster is not None:
        raise typer.Exit(run_on_cluster(options, ["resume"], folder.name, str(folder)))
    _run_here(stored_spec(folder, options.override or ()), folder, options)


@with_run_options
def extend(
    folder: Folder,
    *,
    trials: Annotated[int, typer.Option(help="Number of trials to add.", min=1)],
    **given: Any,
) -> None:
    """Add trials to a sweep, from its results folder alone."""
    from sweep.manifest import stored_spec

    options = RunOptions(**given)
    if options.cluster is not None:
        words = ["extend", "--trials", str(trials)]
        raise typer.Exit(run_on_cluster(options, words, folder.name, str(folder)))
    total = stored_spec(folder).trials + trials
    _run_here(stored_spec(folder, [*(options.override or ()), f"trials={total}"]), folder, options)


def _run_here(spec: "SweepSpec", root: Path, options: RunOptions) -> None:
    """Run a sweep with this process as its driver, then print its front and what to do next."""
    from sweep.cluster.connection import choose_auth_mode

    choose_auth_mode(options.address)  # before Ray is imported

    from sweep.report.tables import print_front
    from sweep.running.driver import run_sweep
    from sweep.running.progress import SweepProgress
    from sweep.running.signals import stoppable
    from sweep.store.files import files_at

    screen = console()
    where = files_at(root).address
    # The folder's manifest holds what the other two options change.
    again = replace(options, override=None, allow_changed=None).words()
    hint = resume_hint(command("sweep", "resume", where, *again), root)
    warn = partial(say, err=True)
    progress = SweepProgress(screen, quiet=options.quiet)
    with stoppable(on_interrupt=partial(warn, "\nstopping")), progress, hint:
        store = run_sweep(
            spec,
            root,
            address=options.address,
            workers=options.workers,
            allowed=options.allow_changed or (),
            retry_failed=options.retry_failed,
            optuna_storage=options.optuna_storage,
            tensorboard=options.tensorboard,
            log=options.log,
            say=progress.say,
            warn=warn,
            on_step=progress.show,
        )
    if not options.quiet:
        screen.print()
    print_front(store, screen)
    if not options.quiet:
        say(f"\ntables: {where}\nnext:   {command('sweep', 'report', where)}")
    ended = store.latest_trials().collect()["status"]
    if len(ended) and (ended == "failed").all():
        raise TrialsFailedError(f"all {len(ended)} trials failed; see the reasons above")


def show_config(file: File, override: Overrides = None) -> None:
    """Print a sweep's file with every default filled in, as YAML."""
    from mopoe.config import TrialConfig
    from sweep.config.sweep_spec import load_spec

    spec = load_spec(file, override or ())
    plain = spec.plain()
    fixed = TrialConfig.from_dict(spec.fixed).to_dict()
    plain["fixed"] = {name: value for name, value in fixed.items() if name not in spec.search_space}
    sys.stdout.write(masked(yaml_text(plain)))
