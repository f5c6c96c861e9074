"""`sweep attach`, `stop`, `fetch` and `doctor`, and what `run`, `resume` and `status` do on a cluster."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError
from mopoe.wording import did_you_mean
from search_spaces import find
from sweep.commands.add import end_trial
from sweep.commands.options import Address, Cluster, MaybeCluster, RunOptions, option_words
from sweep.commands.terminal import command, say

if TYPE_CHECKING:
    from sweep.cluster.file import ClusterFile
    from sweep.config.sweep_spec import SweepSpec


def attach(
    cluster: Cluster,
    job: Annotated[str | None, typer.Argument(help="Job (default: the newest).", metavar="JOB")] = None,
) -> None:
    """Follow a sweep that runs on a cluster, from its first line on; Ctrl-C leaves it running."""
    raise typer.Exit(_follow(cluster, _existing_job(cluster, job)))


def print_jobs(cluster: Path) -> None:
    """List the sweeps of a cluster since its head started, the oldest first."""
    from sweep.cluster.jobs import jobs

    for name, job in jobs(cluster).items():
        began = "not yet"
        if job.start_time:
            began = f"{datetime.fromtimestamp(job.start_time / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
        say(f"{name:<40}{job.status.lower():<11}{began:<25}{job.entrypoint}")


def stop(
    job: Annotated[
        str,
        typer.Argument(
            help="The job, or without --cluster a Slurm job's results folder; with --trial any sweep's.",
            metavar="JOB|DIR",
        ),
    ],
    cluster: MaybeCluster = None,
    trial: Annotated[
        str | None, typer.Option(help="End this running trial alone, at its next evaluation or checkpoint.")
    ] = None,
) -> None:
    """Stop a sweep on a cluster or under Slurm; what is finished is kept, and running it again goes on.

    A trial that is ended keeps the epochs that are recorded, counts as stopped early and is not tried again.
    """
    if trial is not None and cluster is not None:
        raise ConfigError("--trial takes a results folder, and no --cluster")
    if trial is not None:
        end_trial(job, trial)
    elif cluster is None:
        from sweep.cluster.slurm import cancel, jobs_of

        for number in jobs_of(Path(job)):
            cancel(number)
            say(f"Slurm job {number} is cancelled")
    else:
        from sweep.cluster.jobs import stop as stop_job

        stopped = stop_job(cluster, _existing_job(cluster, job))
        say(f"{job} {'is stopped' if stopped else 'had already ended'}")


def fetch(
    folder: Annotated[str, typer.Argument(help="Results folder on the cluster, or s3://...", metavar="DIR")],
    to: Annotated[
        Path | None, typer.Argument(help="Where to copy it (default: results/NAME).", metavar="[TO]")
    ] = None,
    cluster: MaybeCluster = None,
) -> None:
    """Copy a sweep's tables, pictures and weights to this machine, except for what is already here."""
    from sweep.cluster.fetch import fetch as fetch_results

    here = to or Path("results") / folder.rstrip("/").rpartition("/")[2]
    n = fetch_results(folder, here, cluster)
    say(f"{here} holds {n} files\nnext: {command('sweep', 'report', here)}")


def doctor(
    file: Annotated[
        str | None, typer.Argument(help="A sweep's YAML file, whose data set is looked for.", metavar="FILE")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Results folder, or its address, that all machines must reach.")
    ] = None,
    address: Address = "local",
    cluster: MaybeCluster = None,
) -> None:
    """Examine this machine, or every machine of a cluster; exit with 2 if something is wrong."""
    if cluster is not None:
        place = out or _ready(cluster).results
        words = ["sweep", "doctor", *(["sweep.yaml"] if file else [])]
        words += option_words({"address": "auto", "out": place})
        raise typer.Exit(_run_job(cluster, "doctor", words, {"sweep.yaml": find(file)} if file else {}))
    from sweep.cluster.connection import choose_auth_mode

    choose_auth_mode(address)  # before Ray is imported

    from sweep.cluster.doctor import examine
    from sweep.config.sweep_spec import load_spec

    spec = load_spec(file) if file else None
    if not examine(spec, out, address, say):
        raise typer.Exit(2)


def run_on_cluster(
    options: RunOptions,
    words: Sequence[str],
    name: str,
    out: str | None,
    new: "tuple[SweepSpec, str] | None" = None,
) -> int:
    """Run a command with the cluster's head as the sweep's driver, and return its exit status.

    Args:
        options: how the sweep is run; the cluster is among them.
        words: the command up to its results folder: `run sweep.yaml --out`, `resume` or `extend --trials N`.
        name: the sweep's name.
        out: the results folder that the machines share, or its address; None takes the cluster file's.
        new: the sweep and its file, if the folder does not hold it yet.

    Raises:
        ClusterError: results would not be shared, or the head cannot be reached.
        ConfigError: the cluster's file is not filled in.
    """
    from sweep.cluster.file import growth_overrides, shared_place
    from sweep.store.files import canonical_uri

    assert options.cluster is not None
    cluster = _ready(options.cluster)
    place = shared_place(cluster, name, canonical_uri(out) if out and ":/" in out else out)
    files = {path.name: path for path in Path().glob("*.py")}  # data sets and networks of the user's own
    overrides = list(options.override or ())
    if new is not None:
        spec, file = new
        files["sweep.yaml"] = find(file)
        overrides += growth_overrides(cluster, spec)
    workers = options.workers or cluster.workers
    options = replace(options, cluster=None, address="auto", workers=workers, override=overrides)
    status = _run_job(cluster.path, name, ["sweep", *words, place, *options.words()], files)
    if status == 0:
        say(f"here:   {command('sweep', 'fetch', place, '--cluster', cluster.path)}")
    return status


def _run_job(cluster: Path, name: str, words: Sequence[str], files: Mapping[str, Path]) -> int:
    """Send a command to a cluster's head, follow it, and return its exit status."""
    from sweep.cluster.jobs import send

    say(f"connecting to the head of {cluster}", err=True)
    job = send(cluster, name, words, files)
    say(f"job {job}: {command(*words)}", err=True)
    return _follow(cluster, job)


def _follow(cluster: Path, job: str) -> int:
    """Print what a job prints until it ends, and return its exit status; Ctrl-C exits with 130."""
    from sweep.cluster.jobs import follow

    try:
        return follow(cluster, job, partial(print, end="", flush=True))
    except KeyboardInterrupt:
        attach, stop = (command("sweep", verb, "--cluster", cluster, job) for verb in ("attach", "stop"))
        ways = f"to follow it again: {attach}; to stop it: {stop}"
        say(f"\nsweep: the job continues to run; {ways}", err=True)
        sys.exit(130)


def _ready(cluster: Path) -> "ClusterFile":
    """Return what a cluster's file says; ConfigError if something in it is left to do."""
    from sweep.cluster.file import read_cluster

    cluster_file = read_cluster(cluster)
    if cluster_file.left:
        raise ConfigError("\n".join(cluster_file.left))
    return cluster_file


def _existing_job(cluster: Path, job: str | None) -> str:
    """Return the job if the cluster has it, or the newest."""
    from sweep.cluster.jobs import jobs

    names = list(jobs(cluster))
    if not names:
        raise ConfigError(f"{cluster} has no job; start one with: sweep run FILE --cluster {cluster}")
    if job is not None and job not in names:
        raise ConfigError(f"{cluster} has no job {job!r}; {did_you_mean(job, names)}")
    return job or names[-1]
