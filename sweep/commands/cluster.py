"""`sweep attach`, `stop`, `fetch` and `doctor`, and what `run` and `status` do on a cluster."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError, shown
from mopoe.wording import did_you_mean
from search_spaces import find
from sweep.commands.terminal import command

if TYPE_CHECKING:
    from sweep.cluster.file import ClusterFile
    from sweep.config.sweep_spec import SweepSpec

app = typer.Typer()

Cluster = Annotated[
    Path, typer.Option("--cluster", help="The cluster's file, as `ray up` takes it.", metavar="FILE")
]
MaybeCluster = Annotated[
    Path | None,
    typer.Option("--cluster", help="Do it on the cluster of this file for `ray up`.", metavar="FILE"),
]


@app.command()
def attach(
    cluster: Cluster,
    job: Annotated[str | None, typer.Argument(help="Job (default: the newest).", metavar="JOB")] = None,
) -> None:
    """Follow a sweep that runs on a cluster, from its first line on; Ctrl-C leaves it running."""
    raise typer.Exit(_follow(cluster, _known(cluster, job)))


def print_jobs(cluster: Path) -> None:
    """List the sweeps of a cluster since its head began, the oldest first."""
    from sweep.cluster.jobs import jobs

    for job in jobs(cluster):
        began = f"{job.began:%Y-%m-%d %H:%M:%S} UTC" if job.began else "not yet"
        typer.echo(f"{job.name:<40}{job.status:<11}{began:<25}{shown(job.command)}")


@app.command()
def stop(
    cluster: Cluster, job: Annotated[str, typer.Argument(help="The job to end.", metavar="JOB")]
) -> None:
    """End a sweep on a cluster; what was finished is kept, and the same `sweep run` goes on with it."""
    from sweep.cluster.jobs import stop as stop_job

    ended = stop_job(cluster, _known(cluster, job))
    typer.echo(f"{job} {'is ended' if ended else 'had ended already'}")


@app.command()
def fetch(
    folder: Annotated[str, typer.Argument(help="Results folder on the cluster, or s3://...", metavar="DIR")],
    to: Annotated[
        Path | None, typer.Argument(help="Where to (default: results/NAME).", metavar="[TO]")
    ] = None,
    cluster: MaybeCluster = None,
) -> None:
    """Bring a sweep's tables, pictures and weights down; what is here already is not copied again."""
    from sweep.cluster.fetch import fetch as fetch_results

    here = to or Path("results") / folder.rstrip("/").rpartition("/")[2]
    n = fetch_results(folder, here, cluster)
    typer.echo(f"{here} holds {n} files\nnext: {command('sweep', 'report', here)}")


@app.command()
def doctor(
    file: Annotated[
        str | None, typer.Argument(help="A sweep's YAML file, whose data set is looked for.", metavar="FILE")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Results folder or address that all machines must reach.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            help="'local' for this machine, 'auto' for the Ray cluster it is part of, or an address."
        ),
    ] = "local",
    cluster: MaybeCluster = None,
) -> None:
    """Examine this machine, or every machine of a cluster; exit with 2 if something is wrong."""
    if cluster is not None:
        place = out or _ready(cluster).results
        words = ["sweep", "doctor", *(["sweep.yaml"] if file else []), "--address", "auto"]
        words += ["--out", place] if place else []
        files = {"sweep.yaml": find(file)} if file else {}
        raise typer.Exit(_run_there(cluster, "doctor", words, files))
    from sweep.cluster.probe import examine
    from sweep.config.sweep_spec import load_spec

    spec = load_spec(file) if file else None
    if not examine(spec, out, address, typer.echo):
        raise typer.Exit(2)


def run_spec_there(
    cluster: Path, file: str, spec: "SweepSpec", out: str | None, words: Sequence[str]
) -> None:
    """Run a sweep on a cluster: `words` are further options of `sweep run`; exit with the job's status.

    Raises:
        ClusterError: results would not be shared, or the head cannot be reached.
        ConfigError: the cluster's file is not filled in.
    """
    from sweep.cluster.file import growth, shared_place

    known = _ready(cluster)
    place = shared_place(known, spec.name, out)
    command = ["sweep", "run", "sweep.yaml", "--address", "auto", "--out", place, *words]
    _sweep_there(cluster, place, spec.name, [*command, *growth(known, spec)], {"sweep.yaml": find(file)})


def go_on_there(cluster: Path, verb: str, folder: Path, words: Sequence[str]) -> None:
    """Resume or extend a sweep on a cluster, from a results folder that its machines share.

    Raises:
        ClusterError: the folder is not shared, or the head cannot be reached.
        ConfigError: the cluster's file is not filled in.
    """
    from sweep.cluster.file import shared_place
    from sweep.store.files import settled

    known = _ready(cluster)
    typed = str(folder)
    place = shared_place(known, "", settled(folder) if ":/" in typed else typed)
    command = ["sweep", verb, place, "--address", "auto", "--workers", str(known.workers), *words]
    _sweep_there(cluster, place, folder.name, command, {})


def _sweep_there(
    cluster: Path, place: str, name: str, words: Sequence[str], files: Mapping[str, Path]
) -> None:
    """Run a sweep's command on a cluster's head and exit with its status."""
    modules = {path.name: path for path in Path().glob("*.py")}  # data sets and networks of the user's own
    status = _run_there(cluster, name, words, {**modules, **files})
    if status == 0:
        typer.echo(shown(f"here:   {command('sweep', 'fetch', place, '--cluster', cluster)}"))
    raise typer.Exit(status)


def _run_there(cluster: Path, name: str, words: Sequence[str], files: Mapping[str, Path]) -> int:
    """Send a command to a cluster's head, follow it, and return its exit status."""
    from sweep.cluster.jobs import send

    typer.echo(f"connecting to the head of {cluster}", err=True)
    job = send(cluster, name, words, files)
    typer.echo(shown(f"job {job}: {command(*words)}"), err=True)
    return _follow(cluster, job)


def _ready(cluster: Path) -> "ClusterFile":
    """Return what a cluster's file says; ConfigError if something is left to do."""
    from sweep.cluster.file import read_cluster

    found = read_cluster(cluster)
    if found.left:
        raise ConfigError("\n".join(found.left))
    return found


def _known(cluster: Path, job: str | None) -> str:
    """Return the job if the cluster has it, or the newest."""
    from sweep.cluster.jobs import jobs

    names = [found.name for found in jobs(cluster)]
    if not names:
        raise ConfigError(f"{cluster} has no job; start one with: sweep run FILE --cluster {cluster}")
    if job is not None and job not in names:
        raise ConfigError(f"{cluster} has no job {job!r}; {did_you_mean(job, names)}")
    return job or names[-1]


def _follow(cluster: Path, job: str) -> int:
    """Print what a job prints until it ends, and return its exit status; Ctrl-C exits with 130."""
    from sweep.cluster.jobs import follow

    try:
        return follow(cluster, job, partial(typer.echo, nl=False))
    except KeyboardInterrupt:
        follow_it, end_it = (command("sweep", verb, "--cluster", cluster, job) for verb in ("attach", "stop"))
        ways = f"to follow it: {follow_it}; to end it: {end_it}"
        typer.echo(f"\nsweep: left; the job goes on; {ways}", err=True)
        sys.exit(130)
