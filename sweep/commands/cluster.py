"""`sweep attach`, `status`, `stop`, `fetch` and `doctor`. Nothing heavy is imported before a command runs."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError

if TYPE_CHECKING:
    from sweep.cluster.file import ClusterFile
    from sweep.spec.sweep_spec import SweepSpec

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
    job: Annotated[str | None, typer.Argument(help="Job [default: the newest].", metavar="JOB")] = None,
) -> None:
    """Follow a sweep that runs on a cluster, from its first line on; Ctrl-C leaves it running."""
    from search_spaces import did_you_mean
    from sweep.cluster.jobs import jobs

    names = [found.name for found in jobs(cluster)]
    if job is None and not names:
        raise ConfigError(
            f"the cluster of {cluster} has no job; start one with: sweep run FILE --cluster {cluster}"
        )
    if job is not None and job not in names:
        raise ConfigError(f"the cluster of {cluster} has no job {job!r}; {did_you_mean(job, names)}")
    _follow(cluster, job or names[-1])


@app.command()
def status(cluster: Cluster) -> None:
    """List the sweeps of a cluster since its head began, the oldest first."""
    from sweep.cluster.jobs import jobs

    for job in jobs(cluster):
        began = f"{job.began:%Y-%m-%d %H:%M:%S} UTC" if job.began else "not yet"
        typer.echo(f"{job.name:<40}{job.status:<11}{began:<25}{job.command}")


@app.command()
def stop(
    cluster: Cluster, job: Annotated[str, typer.Argument(help="The job to end.", metavar="JOB")]
) -> None:
    """End a sweep on a cluster; what was finished is kept, and the same `sweep run` goes on with it."""
    from sweep.cluster.jobs import stop as stop_job

    typer.echo(f"{job} {'is ended' if stop_job(cluster, job) else 'was not running'}")


@app.command()
def fetch(
    folder: Annotated[str, typer.Argument(help="Results folder on the cluster, or s3://...", metavar="DIR")],
    to: Annotated[
        Path | None, typer.Argument(help="Where to [default: results/NAME].", metavar="[TO]")
    ] = None,
    cluster: MaybeCluster = None,
) -> None:
    """Bring a sweep's tables, pictures and weights down; what is here already is not copied again."""
    from sweep.cluster.fetch import fetch as fetch_results

    here = to or Path("results") / folder.rstrip("/").rpartition("/")[2]
    n = fetch_results(folder, here, cluster)
    typer.echo(f"{here} holds {n} files\nnext: sweep report {here}")


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
        checked = fit(cluster)
        words = ["sweep", "doctor", *(["sweep.yaml"] if file else []), "--address", "auto"]
        place = out or checked.results
        shipped = {"sweep.yaml": _found(file)} if file else {}
        run_there(cluster, "doctor", [*words, *(["--out", place] if place else [])], shipped)
    from sweep.cluster.probe import examine
    from sweep.spec.sweep_spec import load_spec

    spec = load_spec(file) if file else None
    if not examine(spec, out, address, typer.echo):
        raise typer.Exit(2)


def run_there(cluster: Path, name: str, words: Sequence[str], files: Mapping[str, Path]) -> None:
    """Send a command to a cluster's head, follow it, and exit with its status."""
    from sweep.cluster.jobs import send

    typer.echo(f"connecting to the head of {cluster}", err=True)
    job = send(cluster, name, words, files)
    typer.echo(f"job {job}: {shlex.join(words)}", err=True)
    _follow(cluster, job)


def fit(cluster: Path) -> "ClusterFile":
    """Return what a cluster's file says; ConfigError if something is left to fill in there."""
    from sweep.cluster.file import read_cluster

    found = read_cluster(cluster)
    if found.left:
        raise ConfigError("\n".join(found.left))
    return found


def run_spec_there(
    cluster: Path, file: str, spec: "SweepSpec", out: str | None, words: Sequence[str]
) -> None:
    """Run a sweep on a cluster: `words` are further options of `sweep run`; exit with the job's status.

    Raises:
        ConfigError: results would not be shared, or the cluster's file is not filled in.
    """
    from sweep.cluster.plan import growth, shared_place

    known = fit(cluster)
    place = shared_place(known, spec.name, out)
    modules = {path.name: path for path in Path().glob("*.py")}  # data sets and networks of the user's own
    more = ["--out", place, *words, *growth(known, spec)]
    run_there(
        cluster,
        spec.name,
        ["sweep", "run", "sweep.yaml", "--address", "auto", *more],
        {**modules, "sweep.yaml": _found(file)},
    )


def _found(file: str) -> Path:
    from search_spaces import find

    return find(file)


def _follow(cluster: Path, job: str) -> None:
    from sweep.cluster.jobs import follow

    def write(text: str) -> None:
        typer.echo(text, nl=False)

    try:
        status = follow(cluster, job, write)
    except KeyboardInterrupt:
        at = f"--cluster {cluster} {job}"
        ways = f"to follow it: sweep attach {at}; to end it: sweep stop {at}"
        typer.echo(f"\nsweep: left; the job goes on; {ways}", err=True)
        sys.exit(130)
    raise typer.Exit(status)
