"""`sweep slurm`: a sweep as a Slurm job, as a script or submitted."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from search_spaces import find
from sweep.commands.options import File, Overrides, option_words
from sweep.commands.terminal import command, say
from sweep.errors import ClusterError


def slurm(
    file: File,
    out: Annotated[Path, typer.Option(help="Results folder, which all nodes share.")],
    time: Annotated[str, typer.Option(help="Time limit of one job, as in 12:00:00.")] = "12:00:00",
    nodes: Annotated[int, typer.Option(help="Number of nodes.", min=1)] = 1,
    cpus_per_node: Annotated[int, typer.Option(help="CPU cores of each node.", min=1)] = 8,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of each node.", min=0)] = 0,
    partition: Annotated[str | None, typer.Option(help="Partition (default: Slurm's).")] = None,
    account: Annotated[str | None, typer.Option(help="Account (default: yours).")] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(metavar="LINE", help="A line that runs first, as in 'module load cuda' (repeatable)."),
    ] = None,
    requeues: Annotated[
        int, typer.Option(help="How often the job goes on in a new one at its time limit.", min=0)
    ] = 20,
    override: Overrides = None,
    *,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the job instead of printing it.")] = False,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="Send the sweep's running job the signal of the time limit."),
    ] = False,
) -> None:
    """Write a sweep as a Slurm job script, which checkpoints and requeues itself at its time limit."""
    from sweep.cluster.slurm import SlurmJob, check_job, job_script, jobs_of, warn
    from sweep.cluster.slurm import submit as submit_job
    from sweep.config.sweep_spec import load_spec

    spec = load_spec(file, override or ())
    job = SlurmJob(
        file=find(file).resolve(),
        out=out.absolute(),
        name=spec.name,
        nodes=nodes,
        cpus=cpus_per_node,
        gpus=gpus_per_node,
        time=time,
        partition=partition,
        account=account,
        setup=tuple(setup or ()),
        options=tuple(option_words({"override": override})),
        requeues=requeues,
    )
    check_job(job, spec)
    if rehearse:
        for each in jobs_of(job.out):
            warn(each)
            say(f"job {each} was sent USR2; it checkpoints, requeues itself and goes on")
    elif submit:
        made = [folder for folder in job.out.parents if not folder.exists()]
        job.out.parent.mkdir(parents=True, exist_ok=True)  # before the job begins, which writes its log there
        try:
            number = submit_job(job_script(job))
        except ClusterError:
            for folder in made:
                folder.rmdir()
            raise
        say(f"job {number}\nnext: {command('sweep', 'watch', job.out)}\nlog:  {job.out}.slurm-{number}.log")
    else:
        sys.stdout.write(job_script(job))
