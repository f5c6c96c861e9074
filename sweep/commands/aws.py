"""`sweep cluster create` and `destroy`: what a cluster on AWS needs, made after a yes, and taken back."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError
from sweep.commands.terminal import command, say
from sweep.errors import ClusterError

app = typer.Typer(
    help="Make what a cluster on AWS needs and write its file, or take it back.", no_args_is_help=True
)
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@app.command()
def create(
    region: Annotated[str, typer.Option(help="AWS region.")] = "us-west-2",
    workers: Annotated[int, typer.Option(help="Most spot workers at once.", min=1, max=1000)] = 8,
    gpu: Annotated[str, typer.Option(help="The workers' GPU: a10g, l4 or h100.")] = "a10g",
    image: Annotated[
        str | None,
        typer.Option(
            help="Image with NVIDIA's driver and Docker (default: AWS's newest Deep Learning image)."
        ),
    ] = None,
    *,
    yes: Yes = False,
) -> None:
    """Print a complete file for `ray up`, after making bucket, security group and role; without cost.

    Called in the project's folder, whose cluster.yaml it fills in: sweep cluster create > my-cluster.yaml
    """
    from sweep.cluster.aws import Account

    try:
        shipped = Path("cluster.yaml").read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "there is no cluster.yaml here; call this in the project's folder, as `ray up` later"
        ) from error
    account = Account(region)
    plan = account.plan(gpu=gpu, workers=workers, image=image)
    plan.fill_in(shipped, "sg-0")  # before anything is made
    say(plan.describe(), err=True)
    _ask("make what is missing and write the file?", yes=yes)
    sys.stdout.write(plan.fill_in(shipped, account.make(plan)))
    say("next: ray up -y FILE ; sweep cluster destroy FILE takes all back", err=True)


@app.command()
def destroy(
    file: Annotated[Path, typer.Argument(help="A file that `sweep cluster create` wrote.", metavar="FILE")],
    *,
    with_results: Annotated[
        bool, typer.Option("--with-results", help="Also delete the bucket and all results in it.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete security group and role of a cluster that is down; the bucket only if asked twice."""
    from sweep.cluster.aws import NAME, Account, made_for

    name, region, bucket = made_for(file)
    account = Account(region)
    if running := account.running(name):
        first = command("ray", "down", "-y", file)
        raise ClusterError(f"{len(running)} machines of the cluster are there ({running[0]}); first: {first}")
    _ask(f"delete security group, profile and role {NAME} in {region}?", yes=yes)
    if with_results and not (
        sys.stdin.isatty() and typer.prompt(f"type {bucket} to delete its results, too", err=True) == bucket
    ):
        raise ConfigError(f"nothing is deleted: the name of bucket {bucket} was not typed at a terminal")
    for gone in account.take_back():
        say(f"deleted: {gone}")
    if with_results:
        say(f"deleted: bucket {bucket} with {account.delete_bucket(bucket)} objects")
    else:
        say(f"kept: bucket {bucket}")


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here; give --yes to go on without")
    typer.confirm(question, abort=True, err=True)
