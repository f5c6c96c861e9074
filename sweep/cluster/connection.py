"""Connects this process to Ray, with a token if the cluster wants one, and Ray's own lines in a file.

Ray reads `RAY_AUTH_MODE` when it is first imported, so that this module imports it late.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mopoe.errors import shown
from sweep.errors import ClusterError

MODE = "RAY_AUTH_MODE"
_TRY_SECONDS = 10.0
"""Seconds within which the head's port must answer, where Ray itself would go on trying for minutes."""
_ASK_SECONDS = 60.0
"""Seconds for `ray status`, which takes about one."""


def ray_command(*words: str) -> list[str]:
    """Return a command of Ray's command line, if possible that of this environment."""
    ray = Path(sys.executable).with_name("ray")
    return [str(ray) if ray.exists() else "ray", *words]


def choose_auth_mode(address: str) -> None:
    """Set `RAY_AUTH_MODE` if a cluster wants a token; to call before Ray is imported.

    `ray start` turns tokens on wherever it finds one, but a driver with an address of its own sends none
    unless the mode says so.

    Raises:
        ClusterError: the mode is "token", but the cluster has no tokens. Ray would connect, and start no
            worker, since this driver would turn it away.
    """
    mode = os.environ.get(MODE)
    if address == "local" or mode not in (None, "token") or not _has_token() or _no_answer(address):
        return
    if not _answers_without_token(address):
        os.environ[MODE] = "token"
    elif mode == "token":
        raise ClusterError(
            f"the Ray cluster at {address!r} was started without a token, but {MODE}=token is set here; "
            f"unset it, or start the cluster with {MODE}=token"
        )


def _answers_without_token(address: str) -> bool:
    words = ray_command("status", *([] if address == "auto" else [f"--address={address}"]))
    environment = {**os.environ, MODE: "disabled"}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(  # noqa: S603 - Ray's own command line
            words, env=environment, capture_output=True, timeout=_ASK_SECONDS, check=False
        )
        return asked.returncode == 0
    return False


def connect(address: str, **options: Any) -> None:
    """Connect this process to the Ray at an address, or start one here if it is "local".

    What Ray and its libraries print meanwhile goes to a file, which the error names; it is removed if all
    goes well.

    Args:
        address: "local", "auto" or HOST:PORT.
        options: further arguments of `ray.init`.

    Raises:
        ClusterError: Ray did not start, nothing answers at the address, or the cluster refuses this driver.
    """
    import ray

    silence = _no_answer(address)
    if silence is not None:
        raise ClusterError(shown(f"no Ray cluster answered at {address!r} ({silence})")) from silence
    with _error_output_in_file() as log:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except KeyboardInterrupt:
            log.unlink()
            raise
        except Exception as error:
            ray.shutdown()
            what = _failure(address, os.environ.get(MODE), token=_has_token())
            more = f"; Ray's own words are in {log}" if log.stat().st_size else ""
            raise ClusterError(shown(f"{what} ({str(error).strip().partition(chr(10))[0]}){more}")) from error
    log.unlink()


def _failure(address: str, mode: str | None, *, token: bool) -> str:
    """Say why Ray did not connect, and what to do.

    Args:
        address: "local", "auto" or the address of something that answers.
        mode: this process's `RAY_AUTH_MODE`.
        token: whether this machine has a token.
    """
    if address == "local":
        return "Ray did not start"
    if address == "auto":
        return "no Ray cluster answered at 'auto'"
    refused = f"the Ray cluster at {address!r} refuses this driver"
    if not token:
        return f"{refused}, which has no token: copy ~/.ray/auth_token of the head's owner to this machine"
    if mode == "token":
        return f"{refused} and its token: copy the head's ~/.ray/auth_token to this machine"
    return f"{refused}, which sends no token: set {MODE}=token before Ray is imported"


def _has_token() -> bool:
    """Return whether Ray would find a token, in the places of its documentation."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    file = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return (Path(file) if file else Path.home() / ".ray" / "auth_token").is_file()


def _no_answer(address: str) -> OSError | None:
    """Return why nothing listens at HOST:PORT; None if something does, or if the address is another."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TRY_SECONDS).close()
        except OSError as error:
            return error
    return None


@contextlib.contextmanager
def _error_output_in_file() -> Iterator[Path]:
    """Send the process's error output to a file, that of C++ libraries, too; give the file."""
    number, name = tempfile.mkstemp(prefix="sweep-ray-", suffix=".log")
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(number, 2)
    try:
        yield Path(name)
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(number)
