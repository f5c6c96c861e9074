"""Sweeps as jobs of a cluster: sent, followed, left and joined again."""

import asyncio
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.cluster.head import PATIENCE, connected
from sweep.errors import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

TRIES = 5
"""How often in a row a lost connection is made again."""
PAUSE = 3.0
"""Seconds between two of these tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a cluster."""

    name: str
    """Its name, which `sweep attach` takes."""
    status: str
    """pending, running, stopped, succeeded or failed."""
    began: datetime | None
    """When it began, in UTC."""
    command: str
    """What it runs on the head."""


def send(cluster: Path, name: str, words: Sequence[str], files: Mapping[str, Path]) -> str:
    """Start a command on a cluster's head and return the job's name.

    Args:
        cluster: the cluster's file.
        name: what the job's name begins with.
        words: the command.
        files: what the command finds in its working directory, by the name it has there.

    Raises:
        ClusterError: the head cannot be reached, or refuses.
    """
    job = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with tempfile.TemporaryDirectory() as folder:
        for there, here in files.items():
            shutil.copy(here, Path(folder, there))
        # Lines are to be seen when they are written.
        environment = {"working_dir": folder, "env_vars": {"PYTHONUNBUFFERED": "1"}}
        until = time.monotonic() + PATIENCE
        with connected(cluster) as client:
            while True:
                try:
                    return client.submit_job(
                        entrypoint=shlex.join(words), submission_id=job, runtime_env=environment
                    )
                except RuntimeError as error:
                    # A head that has just begun answers before it has an agent that runs jobs.
                    if "try again" not in str(error) or time.monotonic() > until:
                        raise
                time.sleep(PAUSE)


def follow(cluster: Path, job: str, write: Callable[[str], object]) -> int:
    """Write what a job prints until it ends, and return its exit status.

    A connection that breaks is made again; what was written before is not written twice.

    Raises:
        ClusterError: there is no such job, or the head cannot be reached any more.
    """
    seen, tries = 0, 0
    while True:
        before = seen
        try:
            with connected(cluster) as client:
                for text in _tail(client, job, seen):
                    seen += len(text)
                    write(text)
                found = client.get_job_info(job)
                if found.status.is_terminal():
                    code = found.driver_exit_code
                    return code if code is not None else int(found.status != "SUCCEEDED")
        except Exception as error:  # whatever the network raises
            tries = 0 if seen > before else tries + 1
            if tries >= TRIES:
                raise ClusterError(
                    f"the connection to {cluster} is lost ({' '.join(str(error).split())}); the job may go "
                    f"on: sweep attach --cluster {cluster} {job}"
                ) from error
        time.sleep(PAUSE)


def jobs(cluster: Path) -> list[Job]:
    """Return the jobs of a cluster since its head began, the oldest first."""
    with connected(cluster) as client:
        found = sorted(client.list_jobs(), key=lambda job: job.start_time or 0)
    return [
        Job(
            name=job.submission_id,
            status=str(job.status).lower(),
            began=datetime.fromtimestamp(job.start_time / 1000, UTC) if job.start_time else None,
            command=job.entrypoint,
        )
        for job in found
        if job.submission_id
    ]


def stop(cluster: Path, job: str) -> bool:
    """End a job; return whether it was running. What its trials have finished is kept."""
    with connected(cluster) as client:
        return bool(client.stop_job(job))


def _tail(client: "JobSubmissionClient", job: str, seen: int) -> Iterator[str]:
    """Give what a job prints after its first `seen` characters, until it ends."""
    chunks = client.tail_job_logs(job)

    async def following() -> str | None:
        return await anext(chunks, None)

    with asyncio.Runner() as runner:
        while (text := runner.run(following())) is not None:
            new, seen = text[seen:], max(0, seen - len(text))
            if new:
                yield new
