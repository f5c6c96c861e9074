"""The way to a cluster's head from here: Ray's own command line, and its jobs API through an ssh tunnel."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
