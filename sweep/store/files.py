"""A file that is either there in full or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.errors import StoreError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary dot-name beside `path`, sync it to disk and rename it to `path`.

    Missing folders are made. A reader sees the old file or the whole new one, even after a power cut.

    Raises:
        StoreError: the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as one zstd-compressed Parquet file, atomically.

    Raises:
        StoreError: the file system refuses.
    """
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
