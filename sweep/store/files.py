"""Files in a folder of a file system or of an object store, behind put, open, list and delete.

A file exists completely or not at all. Names are relative to the folder and separated by slashes.
"""

import hashlib
import io
import os
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from mopoe.errors import masked
from sweep.errors import StoreError

_CHECKSUM = re.compile(r"-x([0-9a-f]{8})\.parquet$")
_UNFINISHED = re.compile(r"\..+\.[0-9a-z_]{8}|\..+\.part|\.tmp\w+")
"""Names of files that are being written: ours, those of a fetch, and safetensors' own."""
# A Path has lost one of an address's slashes.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")


class Files:
    """The files below a folder of an object store, through `pyarrow.fs`; StoreError if the store refuses."""

    interval = 90.0
    """Seconds between a trial's writes: in an object store each file is a request, which takes its time."""

    def __init__(self, system: fs.FileSystem, path: str, address: str) -> None:
        """Take the file system, the folder in it, and the folder's address."""
        self._system = system
        self._path = path
        self.address = address

    def __str__(self) -> str:
        """Return the folder for messages: its path, or its address without secrets."""
        return masked(self.address)

    def put(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Store what `write` writes; readers see the old file or the complete new one.

        Arrow retries every 0.2 s for 6 s if the store fails or drops the connection.
        """
        buffer = io.BytesIO()
        write(buffer)
        # Closing a stream uploads what was written so far, even after an error: so write nothing before the
        # content is complete.
        with _refusal(f"write {self}/{name}"), self._system.open_output_stream(self._at(name)) as stream:
            stream.write(buffer.getvalue())

    def put_checked(self, name: str, content: bytes) -> None:
        """Store a content and check that the store returns it.

        Raises:
            StoreError: the store returns other bytes; the file is deleted then.
        """
        self.put(name, lambda file: file.write(content))
        with self.open(name) as file:
            if file.read() == content:
                return
        self.delete(name)
        raise StoreError(
            f"{self} returns other bytes than were sent: its server stores the checksums of current "
            "clients as content; set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and "
            "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required"
        )

    def put_table(self, name: str, table: pa.Table) -> None:
        """Store a table as one zstd-compressed Parquet file, with the checksum of its content in the name.

        Its pages have checksums as well, which other programs verify.
        """
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        content = buffer.getvalue()
        self.put(f"{name}-x{zlib.crc32(content):08x}.parquet", lambda file: file.write(content))

    def content(self, name: str) -> pa.Buffer:
        """Return the content of a table's file; FileNotFoundError if there is none.

        Raises:
            StoreError: the content does not match the checksum in the name.
        """
        with self.open(name) as file, _refusal(f"read {self}/{name}", absent=True):
            content = file.read_buffer()
        checksum = _CHECKSUM.search(name)
        if checksum and zlib.crc32(content) != int(checksum[1], 16):
            raise StoreError(f"{self}/{name} cannot be read: its content has changed since it was written")
        return content

    def open(self, name: str) -> pa.NativeFile:
        """Return a file open for random reads; FileNotFoundError if there is none."""
        with _refusal(f"read {self}/{name}", absent=True):
            return self._system.open_input_file(self._at(name))

    def list(self, folder: str = "") -> dict[str, int]:
        """Return size in bytes by name of a folder's files; unfinished ones (dot-names) are omitted."""
        infos: list[fs.FileInfo] = []
        # Arrow raises all the same if another process makes the folder between its two queries.
        with suppress(FileNotFoundError), _refusal(f"list {self}/{folder}", absent=True):
            infos = self._system.get_file_info(fs.FileSelector(self._at(folder), allow_not_found=True))
        sizes = {i.base_name: i.size for i in infos if i.is_file and not i.base_name.startswith(".")}
        return {f"{folder}/{name}" if folder else name: sizes[name] for name in sorted(sizes)}

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""
        with suppress(FileNotFoundError), _refusal(f"delete {self}/{name}", absent=True):
            self._system.delete_file(self._at(name))

    def drop(self, folder: str) -> None:
        """Delete a folder and everything in it, if it is there."""
        with suppress(FileNotFoundError), _refusal(f"delete {self}/{folder}", absent=True):
            self._system.delete_dir(self._at(folder))

    def empty(self) -> bool:
        """Return whether the folder does not exist or holds nothing but its lease."""
        with _refusal(f"list {self}"):
            infos = self._system.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return all(i.base_name.startswith(".lease") for i in infos)

    @property
    def place(self) -> tuple[fs.FileSystem, str]:
        """Return the file system and the folder in it, for other libraries."""
        return self._system, self._path

    @property
    def local_dir(self) -> Path:
        """Return a folder on this machine for copies of files that libraries need as paths."""
        name = hashlib.sha256(f"{os.getuid()} {self}".encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"mopoe-sweep-{name}"
        with _refusal(f"use {folder}"):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                raise StoreError(f"{folder} belongs to another user; set TMPDIR to a folder of your own")
        return folder

    @contextmanager
    def on_disk(self, name: str) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yield the path of a local copy of a file, and a function that uploads it if it has changed.

        There is no file at the path if the store has none. The copy is deleted on exit.
        """
        self._at(name)
        path, sent = self.local_dir / name, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # left by a process that was killed, perhaps of another sweep
        with suppress(FileNotFoundError), self.open(name) as file:
            path.write_bytes(file.read())
            sent = path.stat().st_mtime_ns

        def send() -> None:
            nonlocal sent
            if path.exists() and (changed := path.stat().st_mtime_ns) != sent:
                self.put(name, lambda to: to.write(path.read_bytes()))
                sent = changed

        try:
            yield path, send
        finally:
            path.unlink(missing_ok=True)

    def scan(self, names: Sequence[str], schema: pa.Schema) -> pl.LazyFrame:
        """Return the rows of Parquet files of one schema; FileNotFoundError, now or later, if one is gone."""
        import pyarrow.dataset as ds  # brings pandas; of a folder on disk polars reads the files itself

        paths = [self._at(name) for name in names]
        return pl.scan_pyarrow_dataset(
            ds.dataset(paths, filesystem=self._system, format="parquet", schema=schema)
        )

    def _at(self, name: str) -> str:
        # Names come from tables and manifests, which others may have written.
        if name.startswith("/") or ".." in name.split("/"):
            raise StoreError(f"{name!r} is outside {self}, so it is not accessed")
        return f"{self._path}/{name}" if name else self._path


class LocalFiles(Files):
    """The files below a folder of this machine's file systems, which may be shared with others."""

    interval = 10.0

    def __init__(self, folder: Path) -> None:
        """Take the folder, which the first file creates."""
        # A table's content is mapped, not copied; files are replaced whole, so that a map stays valid.
        super().__init__(fs.LocalFileSystem(use_mmap=True), str(folder), str(folder))
        self.folder = folder

    def put(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write a temporary file, sync it to disk and rename it, so that a power cut does no harm."""
        path = Path(self._at(name))
        temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        with _refusal(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)  # makes the rename durable
            finally:
                os.close(handle)

    @property
    def local_dir(self) -> Path:
        """Return the folder itself."""
        return self.folder

    @contextmanager
    def on_disk(self, name: str) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yield the file's own path, and a function that does nothing."""
        yield Path(self._at(name)), lambda: None

    def leftovers(self, folders: Sequence[str], seconds: float = 0.0) -> list[Path]:
        """Return the files of interrupted writes in this folder and some below it.

        Args:
            folders: the folders below.
            seconds: how long a file must not have been modified.
        """
        now = time.time()
        hidden = [p for name in ("", *folders) for p in Path(self._at(name)).glob(".*") if p.is_file()]
        return [p for p in hidden if _UNFINISHED.fullmatch(p.name) and now - p.stat().st_mtime >= seconds]

    def scan(self, names: Sequence[str], schema: pa.Schema) -> pl.LazyFrame:  # noqa: ARG002 - Polars reads it
        """Return the rows of Parquet files of one schema; FileNotFoundError, later, if one is gone."""
        return pl.scan_parquet([self.folder / name for name in names], glob=False)


def files_at(root: str | Path | Files) -> Files:
    """Return the files of a folder, or of an address such as s3://BUCKET/FOLDER.

    Raises:
        StoreError: the address is of no known kind.
    """
    if isinstance(root, Files):
        return root
    match = _ADDRESS.fullmatch(str(root))
    if match is None or match[1] == "file":
        return LocalFiles(Path(canonical_uri(root) if match else root))
    address = uri = canonical_uri(root)
    if match[1] == "s3":  # small files in one request; else they take three
        uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
    try:
        system, path = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise StoreError(
            f"{masked(address)} cannot be opened: {error}; possible: a folder, s3://, gs://"
        ) from error
    return Files(system, path.rstrip("/"), address)


def canonical_uri(root: str | Path) -> str:
    """Return a folder's absolute path, or an address with both slashes: it means the same in every process.

    >>> canonical_uri(Path("s3://bucket/x")), canonical_uri("file:///data/x")
    ('s3://bucket/x', '/data/x')
    """
    match = _ADDRESS.fullmatch(str(root))
    if match and match[1] != "file":
        return f"{match[1]}://{match[2]}"
    return str(Path("/" + match[2] if match else root).absolute())


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all; StoreError if the file system refuses."""
    files_at(path.parent).put(path.name, write)


@contextmanager
def _refusal(what: str, *, absent: bool = False) -> Iterator[None]:
    """Turn an error of the file system into a StoreError; with `absent`, FileNotFoundError is kept."""
    try:
        yield
    except OSError as error:
        if absent and gone(error):
            raise FileNotFoundError(reason(error)) from error
        raise StoreError(f"cannot {what}: {reason(error)}") from error


def gone(error: BaseException) -> bool:
    """Return whether an error says that a file does not exist; S3 says so if it is deleted after opening.

    Where fewer bytes were asked for than S3's answer has, Arrow has no room for it and says something else.
    """
    told = "NO_SUCH_KEY|RESOURCE_NOT_FOUND|Failed to flush response stream"
    return isinstance(error, FileNotFoundError) or bool(re.search(told, str(error)))


def reason(error: Exception) -> str:
    """Return an error's message without the request, which Arrow repeats.

    >>> reason(OSError("When listing objects: AWS Error ACCESS_DENIED during ListObjectsV2 operation: "))
    'AWS Error ACCESS_DENIED during ListObjectsV2 operation'
    """
    text = getattr(error, "strerror", None) or str(error)
    return text[max(0, text.find("AWS Error")) :].strip(": ")
