"""The lease of a results folder: one driver per folder, whatever its path, user or machine.

The driver renews its lease. Another driver is refused until the lease expires; the lease of a process that is
known to have ended, or of an earlier run of the same scheduler's job, is taken over at once.
"""

import contextlib
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from sweep.errors import StoreError
from sweep.store.files import Files, LocalFiles

LEASE = ".lease.json"
RENEWED, EXPIRES = 20.0, 90.0
"""Seconds between two renewals, and from the last renewal until the lease expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The content of the lease's file."""

    token: str
    """Identifies the driver."""
    host: str
    """The machine it runs on."""
    pid: int
    """Its process there."""
    job: str | None = None
    """The scheduler's job that it runs in."""
    restarts: int = 0
    """How often that job was requeued before."""
    began: str
    """When it began, ISO 8601 in UTC."""
    renewed: str
    """When it was last renewed, ISO 8601 in UTC."""

    @classmethod
    def of_this_process(cls) -> Self:
        """Return a new lease of this process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        job = os.environ.get("SLURM_JOB_ID")
        restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        own = {"host": socket.gethostname(), "pid": os.getpid(), "job": job, "restarts": restarts}
        return cls(token=uuid4().hex, began=now, renewed=now, **own)  # type: ignore[arg-type] # by name

    def holds(self, now: datetime, other: "Lease") -> bool:
        """Return whether the lease is valid now against another driver, that of `other`."""
        if self.host == other.host and not _alive(self.pid):
            return False
        if self.job and self.job == other.job and self.restarts < other.restarts:
            return False
        return now - datetime.fromisoformat(self.renewed).astimezone() < timedelta(seconds=EXPIRES)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def holder(files: Files) -> Lease | None:
    """Return the valid lease of a results folder, or None.

    Raises:
        StoreError: the lease cannot be read.
    """
    lease, _ = _place(files).read()
    return lease if lease and lease.holds(datetime.now(UTC), Lease.of_this_process()) else None


@contextlib.contextmanager
def driving(files: Files) -> Iterator[None]:
    """Hold the lease of a results folder.

    A driver whose lease another has taken over stops as after Ctrl-C.

    Raises:
        StoreError: another driver holds the lease; or the store returns other bytes than were sent.
    """
    place, mine = _place(files), Lease.of_this_process()
    with _guard(files):
        place.take(mine)
    over = threading.Event()

    def renew() -> None:
        lease = mine
        while not over.wait(RENEWED):
            # A store that does not respond for a while is no reason to stop.
            with contextlib.suppress(StoreError), _guard(files):
                current, version = place.read()
                if current and current.token != mine.token:
                    _interrupt()
                    return
                lease = replace(lease, renewed=datetime.now(UTC).isoformat(timespec="seconds"))
                place.write(lease, version)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(StoreError), _guard(files):
            current, _ = place.read()
            if current and current.token == mine.token:
                files.delete(LEASE)


def _interrupt() -> None:
    """Interrupt the main thread even while it waits; a shell's background process ignores SIGINT."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM if ignored else signal.SIGINT)


@contextlib.contextmanager
def _guard(files: Files) -> Iterator[None]:
    """Let one process of this machine at a time read and take the lease."""
    if not isinstance(files, LocalFiles):
        yield
        return
    path = files.folder / ".lease.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(NotImplementedError):  # a shared file system without locks
            lock.acquire(timeout=10)
        yield
    except Timeout as error:
        raise StoreError(f"{files}: another process is taking its lease; try again") from error
    except OSError as error:
        raise StoreError(f"cannot lock {files}: {error.strerror}") from error
    finally:
        lock.release()


class _Place:
    """The lease's file, which is read and written under `_guard`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def read(self) -> tuple[Lease | None, str | None]:
        """Return the lease and the version of its file; None if there is none."""
        content, version = self._content()
        if content is None:
            return None, version
        try:
            lease = TypeAdapter(Lease).validate_json(content)
            for time in (lease.began, lease.renewed):
                datetime.fromisoformat(time)
        except ValueError as error:
            raise StoreError(
                f"{self._files}/{LEASE} is damaged; delete it if no driver runs this sweep"
            ) from error
        return lease, version

    def take(self, mine: Lease) -> None:
        """Write a new lease unless another is valid, and check that it was written."""
        other, version = self.read()
        if other and other.holds(datetime.now(UTC), mine):
            raise StoreError(
                f"{self._files}: process {other.pid} on {other.host} has been running this sweep since "
                f"{other.began}; `sweep watch` shows its progress. If it is gone, delete "
                f"{self._files}/{LEASE}, or wait {EXPIRES:.0f} s"
            )
        self.write(mine, version)
        there, _ = self.read()
        if there is None or there.token != mine.token:
            raise StoreError(
                f"{self._files}: another driver has just taken over this sweep; `sweep watch` shows its "
                "progress"
            )

    def write(self, lease: Lease, _version: str | None) -> None:
        """Replace the lease."""
        self._files.put_checked(LEASE, json.dumps(asdict(lease)).encode())

    def _content(self) -> tuple[bytes | None, str | None]:
        try:
            with self._files.open(LEASE) as file:
                return file.read(), None
        except FileNotFoundError:
            return None, None


class _S3Place(_Place):
    """The lease through boto3, which writes it only if it has not changed since it was read."""

    def __init__(self, files: Files, client: Any, at: Mapping[str, str]) -> None:
        super().__init__(files)
        self._client, self._at = client, at

    def write(self, lease: Lease, version: str | None) -> None:
        """Replace a version of the lease; if another driver has written it meanwhile, that one stays."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(Body=json.dumps(asdict(lease)).encode(), **self._at, **condition)
        except Exception as error:
            if "PreconditionFailed" not in str(error) and "ConditionalRequestConflict" not in str(error):
                raise StoreError(f"cannot write {self._files}/{LEASE}: {error}") from error

    def _content(self) -> tuple[bytes | None, str | None]:
        try:
            response = self._client.get_object(**self._at)
            return response["Body"].read(), response["ETag"]
        except self._client.exceptions.NoSuchKey:
            return None, None
        except Exception as error:
            raise StoreError(f"cannot read {self._files}/{LEASE}: {error}") from error


def _place(files: Files) -> _Place:
    """Return the lease's place: that of boto3 if the folder is on S3 and boto3 is installed."""
    match = re.fullmatch(r"s3://(?:([^:/@]+):([^@]+)@)?([^/?]+)/?([^?]*)\??(.*)", files.address)
    if match is None:
        return _Place(files)
    try:
        import boto3
    except ImportError:
        return _Place(files)
    from urllib.parse import parse_qs, unquote

    user, secret, bucket, folder, query = match.groups()
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    keys = {"aws_access_key_id": unquote(user), "aws_secret_access_key": unquote(secret)} if user else {}
    if "endpoint_override" in options:
        keys["endpoint_url"] = f"{options.get('scheme', 'https')}://{options['endpoint_override']}"
    client = boto3.client("s3", region_name=options.get("region"), **keys)
    key = f"{folder.strip('/')}/{LEASE}".lstrip("/")
    return _S3Place(files, client, {"Bucket": bucket, "Key": key})
