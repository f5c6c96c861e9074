"""Sweeps as jobs of a cluster: sent, followed, left and joined again."""

import asyncio
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from sweep.errors import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PATIENCE = 90.0
"""Seconds in which a tunnel must open."""


def ray_command(*words: str) -> list[str]:
    """Return a command of Ray's command line, that of this environment."""
    beside = Path(sys.executable).with_name("ray")
    return [str(beside) if beside.exists() else "ray", *words]


@contextmanager
def connected(cluster: Path) -> Iterator["JobSubmissionClient"]:
    """Give a client of the jobs API of a cluster's head; the tunnel to it closes in the end.

    Raises:
        ClusterError: the head cannot be reached, refuses the token or runs another Ray.
    """
    if find_spec("aiohttp") is None:
        raise ClusterError(
            "--cluster needs more packages; install them with: pip install 'mopoe-sweep[cluster]'"
        )
    logging.getLogger("ray").setLevel(logging.WARNING)
    with _token_sent():
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        with _tunnel(cluster) as address:
            try:
                client = JobSubmissionClient(address)
                client.list_jobs()  # asks for the token, too
                yield client
            except (RuntimeError, OSError, RayError) as error:
                raise ClusterError(
                    f"the head of {cluster} refuses: {' '.join(str(error).split())}"
                ) from error


@contextmanager
def _token_sent() -> Iterator[None]:
    """Let Ray send the token, for which having one is not enough; the environment is restored in the end.

    Ray reads the mode once, when a process first imports it.
    """
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "token"
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_MODE"]
        if before is not None:
            os.environ["RAY_AUTH_MODE"] = before


@contextmanager
def _tunnel(cluster: Path) -> Iterator[str]:
    """Give the local address of the head's dashboard while Ray's command line holds a tunnel open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(  # noqa: S603 - fixed words
            ray_command("dashboard", str(cluster), "--port", str(port)),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            # Ctrl-C here must not close it before we are done.
            start_new_session=True,
        )
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    lines = [line.strip() for line in said if line.strip()]
                    why = lines[-1] if lines else "no answer"
                    raise ClusterError(
                        f"{cluster} has no head that answers ({why}); start it: ray up -y {cluster}"
                    )
                time.sleep(0.5)
            yield address
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):  # noqa: S310 - an address of this machine
            return True
    except HTTPError:
        return True
    except (OSError, HTTPException):
        return False


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
