"""A sweep as one Slurm job: the script that sbatch takes, and what a user does with the job afterwards."""

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mopoe.errors import ConfigError
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import ClusterError

WARNING_SECONDS = 120
"""How long before its time limit a job is warned, so that trials can be checkpointed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob:
    """What a job asks Slurm for, and what it runs."""

    file: Path
    """The sweep's file."""
    out: Path
    """The results folder, which all nodes share."""
    name: str
    """The sweep's name."""
    nodes: int
    """Number of nodes; Ray runs on all of them, and the sweep's driver on the first."""
    cpus: int
    """CPU cores of each node that the job takes."""
    gpus: int
    """GPUs of each node that the job takes."""
    time: str
    """The time limit, as sbatch takes it."""
    partition: str | None = None
    """The partition; None for Slurm's default."""
    account: str | None = None
    """The account; None for the user's default."""
    setup: Sequence[str] = ()
    """Lines of bash that run first, such as `module load cuda`."""
    options: Sequence[str] = ()
    """Further options of `sweep run`."""
    requeues: int = 20
    """How often the job puts itself back into the queue at its time limit."""

    @property
    def job_name(self) -> str:
        """The job's name, by whose end it is found again."""
        return f"{self.name}-{_mark(self.out)}"


def _mark(out: Path) -> str:
    """Return a short hash of a results folder."""
    return hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:8]


def check_job(job: SlurmJob, spec: SweepSpec) -> None:
    """Check that a node of the job has room for a trial, and what only bash would find.

    Raises:
        ConfigError: a trial needs more than a node has, or a value cannot stand in a script.
    """
    for name, needed, given in (("cpu", spec.resources.cpu, job.cpus), ("gpu", spec.resources.gpu, job.gpus)):
        if needed != "auto" and needed > given:
            raise ConfigError(
                f"resources.{name} is {needed:g} for each trial, but --{name}s-per-node is {given}; raise it"
            )
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", job.time):
        raise ConfigError(
            f"--time is {job.time!r}, but must be as Slurm takes it: minutes, HH:MM:SS or DAYS-HH"
        )
    for name, value in (("partition", job.partition), ("account", job.account), ("out", str(job.out))):
        if value is not None and not re.fullmatch(r"[\w./@+:,=-]+", value):
            raise ConfigError(
                f"--{name} is {value!r}, but a job script takes no blanks or special characters in it"
            )


def job_script(job: SlurmJob) -> str:
    """Return the job's script, which runs by plain sbatch."""
    asked = {
        "job-name": job.job_name,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": job.cpus,
        "gpus-per-node": job.gpus or None,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "signal": f"B:USR2@{WARNING_SECONDS}",
        "open-mode": "append",
        "output": f"{job.out}.slurm-%j.log",
    }
    own = {
        "file": str(job.file),
        "out": str(job.out),
        "bin": str(Path(sys.executable).parent),
        "gpus": str(job.gpus),
        "most_requeues": str(job.requeues),
    }
    lines = [
        "#!/bin/bash",
        f"# The sweep {job.name} as a Slurm job. `sweep slurm` wrote it; it runs by: sbatch THIS_FILE",
        *(f"#SBATCH --{name}={value}" for name, value in asked.items() if value is not None),
        "#SBATCH --requeue",
        *(part for line in job.setup for part in (line, _or_end(line))),
        *(f"{name}={shlex.quote(value)}" for name, value in own.items()),
        f"options=({shlex.join(job.options)})",
        "",
    ]
    return "\n".join(lines) + files("sweep.cluster").joinpath("slurm.sh").read_text(encoding="utf-8")


def _or_end(line: str) -> str:
    """Return the line of bash that ends the job if the one before it has failed."""
    said = f'echo "sweep: $(hostname) cannot run the set-up command" {shlex.quote(line)}'
    return f"(($? == 0)) || {{ {said} >&2; exit 2; }}"


def submit(script: str) -> str:
    """Submit a job and return its id.

    Raises:
        ClusterError: there is no Slurm here, or it refuses the job; nothing is submitted then.
    """
    return _slurm(["sbatch", "--parsable"], script).partition(";")[0]


def jobs_of(out: Path) -> list[str]:
    """Return the ids of the user's jobs that wait or run and write to a results folder.

    Raises:
        ClusterError: there is no Slurm here, or no such job.
    """
    listed = _slurm(["squeue", "--me", "--noheader", "--format=%i %j"]).splitlines()
    found = [line.split()[0] for line in listed if line.endswith(f"-{_mark(out)}")]
    if not found:
        raise ClusterError(f"no Slurm job of yours writes to {out}; `squeue --me` lists your jobs")
    return found


def cancel(job: str) -> None:
    """Cancel a job; its sweep keeps what is finished. ClusterError if Slurm refuses."""
    _slurm(["scancel", job])


def warn(job: str) -> None:
    """Send a job the signal that it gets before its time limit. ClusterError if Slurm refuses."""
    _slurm(["scancel", "--signal=USR2", "--batch", job])


def _slurm(words: Sequence[str], stdin: str = "") -> str:
    """Return what one of Slurm's commands prints."""
    if shutil.which(words[0]) is None:
        raise ClusterError(f"there is no {words[0]} on this machine; run this where Slurm's commands are")
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)  # noqa: S603 - Slurm's own
    if done.returncode:
        why = " ".join(done.stderr.split()).removeprefix(f"{words[0]}: error: ")
        raise ClusterError(f"Slurm refuses: {why or f'{words[0]} ended with status {done.returncode}'}")
    return done.stdout.strip()
