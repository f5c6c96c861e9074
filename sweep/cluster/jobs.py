"""Sweeps as jobs on a cluster's head: sent, followed, listed and stopped over a tunnel."""

import asyncio
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from sweep.cluster.connection import ray_command
from sweep.errors import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

PATIENCE = 90.0
"""Seconds within which a tunnel must open, and a head that has just started must accept a job."""


@contextmanager
def connected(cluster: Path) -> Iterator["JobSubmissionClient"]:
    """Give a client of the jobs API of a cluster's head, through a tunnel that is closed in the end.

    Raises:
        ClusterError: the head cannot be reached, refuses the token or runs another Ray.
    """
    if find_spec("aiohttp") is None:
        raise ClusterError(
            "--cluster needs further packages; install them with: pip install 'mopoe-sweep[cluster]'"
        )
    logging.getLogger("ray").setLevel(logging.WARNING)
    with _token_sent():
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        with _tunnel(cluster) as address:
            try:
                client = JobSubmissionClient(address)
                client.list_jobs()  # also checks the token
                yield client
            except (RuntimeError, OSError, RayError) as error:
                raise ClusterError(
                    f"the head of {cluster} refuses: {' '.join(str(error).split())}"
                ) from error


@contextmanager
def _token_sent() -> Iterator[None]:
    """Let Ray send the token, which it only does in this mode; the environment is restored in the end.

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
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(  # noqa: S603 - fixed words
            ray_command("dashboard", str(cluster), "--port", str(port)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must not close the tunnel before we are done.
            start_new_session=True,
        )
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > until:
                    output.seek(0)
                    lines = [line.strip() for line in output if line.strip()]
                    why = lines[-1] if lines else "no answer"
                    raise ClusterError(
                        f"the head of {cluster} does not answer ({why}); start it with: ray up -y {cluster}"
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
"""How many times in a row a lost connection is tried again."""
PAUSE = 3.0
"""Seconds between two tries."""


def send(cluster: Path, name: str, words: Sequence[str], files: Mapping[str, Path]) -> str:
    """Start a command on a cluster's head and return the job's name.

    Args:
        cluster: the cluster's file.
        name: the first part of the job's name; the time is the second.
        words: the command.
        files: the files in the command's working directory, by their names there.

    Raises:
        ClusterError: the head cannot be reached, or refuses.
    """
    job = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with tempfile.TemporaryDirectory() as folder:
        for there, here in files.items():
            shutil.copy(here, Path(folder, there))
        # Otherwise output would be seen in blocks, long after it was written.
        environment = {"working_dir": folder, "env_vars": {"PYTHONUNBUFFERED": "1"}}
        until = time.monotonic() + PATIENCE
        with connected(cluster) as client:
            while True:
                try:
                    return client.submit_job(
                        entrypoint=shlex.join(words), submission_id=job, runtime_env=environment
                    )
                except RuntimeError as error:
                    # A head that has just started answers before its agent can run jobs.
                    if "try again" not in str(error) or time.monotonic() > until:
                        raise
                time.sleep(PAUSE)


def follow(cluster: Path, job: str, write: Callable[[str], object]) -> int:
    """Write what a job prints until it ends, and return its exit status.

    After a lost connection it reconnects, and writes nothing twice.

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
                info = client.get_job_info(job)
                if info.status.is_terminal():
                    code = info.driver_exit_code
                    return code if code is not None else int(info.status != "SUCCEEDED")
        except Exception as error:  # networks raise errors of many kinds
            tries = 0 if seen > before else tries + 1
            if tries >= TRIES:
                raise ClusterError(
                    f"the connection to {cluster} is lost ({' '.join(str(error).split())}); if the job still "
                    f"runs, follow it with: sweep attach --cluster {cluster} {job}"
                ) from error
        time.sleep(PAUSE)


def jobs(cluster: Path) -> "dict[str, JobDetails]":
    """Return the jobs of a cluster since its head started by the name that `send` gave, the oldest first."""
    with connected(cluster) as client:
        listed = sorted(client.list_jobs(), key=lambda job: job.start_time or 0)
    return {job.submission_id: job for job in listed if job.submission_id}


def stop(cluster: Path, job: str) -> bool:
    """Stop a job and return whether it was running."""
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
