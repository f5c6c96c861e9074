"""The folder of files that are built once, such as data sets and classifiers, and files that appear whole."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from mopoe.errors import DataError

_ELSEWHERE = "set MOPOE_CACHE to a writable folder"


def cache_dir() -> Path:
    """Return the folder for data sets and classifiers that are built once: $MOPOE_CACHE, or ~/.cache/mopoe.

    Raises:
        DataError: the variable is not set and there is no home folder.
    """
    try:
        return Path(os.environ.get("MOPOE_CACHE") or Path.home() / ".cache" / "mopoe")
    except RuntimeError as error:
        raise DataError(f"there is no home folder for the cache; {_ELSEWHERE}") from error


def cached_file(path: Path, build: Callable[[Path], None]) -> Path:
    """Return the path after building the file if it is missing; concurrent callers build it only once.

    The file appears atomically: `build` writes to a temporary name in the same folder.

    Raises:
        DataError: the folder is not writable.
    """
    with contextlib.ExitStack() as held:
        try:
            if path.exists():
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock")
            lock.touch()  # if it cannot be created, FileLock would wait for ever
            held.enter_context(FileLock(lock))
        except OSError as error:
            raise DataError(f"cannot write {path.parent}: {error.strerror}; {_ELSEWHERE}") from error
        if not path.exists():
            try:
                with whole_file(path) as temporary:
                    build(temporary)
            except SafetensorError as error:  # a full disk
                raise DataError(f"cannot write {path}: {error}; {_ELSEWHERE}") from error
    return path


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    os.umask(mask := os.umask(0o077))
    return mask


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file in the same folder that replaces the path at the end, or is deleted on an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp and safetensors ignore the umask, but others may share a cache or a results folder.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def short_hash(recipe: object) -> str:
    """Return 12 hexadecimal digits that identify the JSON of a recipe: the key of a file in the cache."""
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
