"""Where files live: a folder of a file system or of an object store, behind put, open, list and delete.

A file is either there in full or not at all. Names are relative to the folder, with slashes between parts.
"""

import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from sweep.errors import StoreError

# A Path has lost one of an address's slashes.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")


class Files:
    """The files below a folder of an object store, through `pyarrow.fs`; StoreError if the store refuses."""

    def __init__(self, system: fs.FileSystem, path: str, shown: str) -> None:
        """Take the file system, the folder in it, and how messages name the folder."""
        self._system = system
        self._path = path
        self._shown = shown

    def __str__(self) -> str:
        """Return the folder as messages name it."""
        return self._shown

    def put(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Store what `write` writes; readers see the old file or the whole new one."""
        buffer = io.BytesIO()
        write(buffer)
        # Closing a stream uploads what it has got, also after an error: so the content is whole before.
        with _refusal(f"write {self}/{name}"), self._system.open_output_stream(self._at(name)) as stream:
            stream.write(buffer.getbuffer())

    def put_table(self, name: str, table: pa.Table) -> None:
        """Store a table as one zstd-compressed Parquet file."""
        self.put(name, lambda file: pq.write_table(table, file, compression="zstd"))

    def open(self, name: str) -> pa.NativeFile:
        """Return a file to read at any place; FileNotFoundError if there is none."""
        return self._system.open_input_file(self._at(name))

    def list(self, folder: str = "") -> dict[str, int]:
        """Return size in bytes by name of a folder's files; unfinished ones, of dot-names, are left out."""
        with _refusal(f"list {self}/{folder}"):
            found = self._system.get_file_info(fs.FileSelector(self._at(folder), allow_not_found=True))
        names = {i.base_name: i.size for i in found if i.is_file and not i.base_name.startswith(".")}
        return {f"{folder}/{name}" if folder else name: names[name] for name in sorted(names)}

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""
        with _refusal(f"delete {self}/{name}", absent_ok=True):
            self._system.delete_file(self._at(name))

    def exists(self) -> bool:
        """Return whether the folder is there; one of an object store is, once it holds a file."""
        return bool(self._system.get_file_info(self._path).type == fs.FileType.Directory)

    def scan(self, names: Sequence[str], schema: pa.Schema) -> pl.LazyFrame:
        """Return the rows of Parquet files of one schema; FileNotFoundError, now or later, if one is gone."""
        paths = [self._at(name) for name in names]
        found = ds.dataset(paths, filesystem=self._system, format="parquet", schema=schema)
        return pl.scan_pyarrow_dataset(found)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path


class LocalFiles(Files):
    """The files below a folder of this machine's file systems, shared ones included."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is made with the first file."""
        super().__init__(fs.LocalFileSystem(), str(folder), str(folder))
        self.folder = folder

    def put(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write to a temporary dot-name, sync it to disk and rename it, so that a power cut does no harm."""
        path = self.folder / name
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
                os.fsync(handle)  # the rename itself is durable then
            finally:
                os.close(handle)

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
        return LocalFiles(Path("/" + match[2] if match else root))
    shown = f"{match[1]}://{match[2].partition('?')[0]}"
    try:
        system, path = fs.FileSystem.from_uri(f"{match[1]}://{match[2]}")
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise StoreError(f"{shown} cannot be opened: {error}; possible: a folder, s3://, gs://") from error
    return Files(system, path.rstrip("/"), shown)


def local_folder(root: str | Path) -> Path:
    """Return the absolute path of a folder in which trials keep checkpoints.

    Raises:
        StoreError: it is an address of an object store.
    """
    match = _ADDRESS.fullmatch(str(root))
    if match and match[1] != "file":
        store = f"{match[1]}://{match[2].partition('?')[0]}"
        raise StoreError(
            f"{store} is an object store, but trials need a folder of a file system for their checkpoints: "
            f"run with a folder as --out, then `sweep merge FOLDER --out {store}`"
        )
    return Path("/" + match[2] if match else root).absolute()


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Put what `write` writes at `path`, in full or not at all; StoreError if the file system refuses."""
    files_at(path.parent).put(path.name, write)


@contextmanager
def _refusal(what: str, *, absent_ok: bool = False) -> Iterator[None]:
    """Turn an error of the file system into a sentence."""
    try:
        yield
    except OSError as error:
        if not (absent_ok and isinstance(error, FileNotFoundError)):
            raise StoreError(f"cannot {what}: {error.strerror or error}") from error
