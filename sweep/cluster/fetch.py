"""Brings a sweep's results from shared storage to this machine."""

import subprocess
from pathlib import Path

from pyarrow import fs

from sweep.cluster.jobs import ray_command
from sweep.errors import ClusterError, StoreError
from sweep.store.files import LocalFiles, files_at, reason
from sweep.store.layout import COMPACT
from sweep.store.read import PATIENCE, reading


def fetch(folder: str, here: Path, cluster: Path | None) -> int:
    """Copy a results folder to `here` and return how many files are there then.

    Args:
        folder: an address such as s3://BUCKET/FOLDER, or a folder that the cluster's machines share.
        here: the local folder; of what is there already only what may have changed is copied again.
        cluster: the cluster's file; needed for a folder.

    Raises:
        ClusterError: a folder, but no cluster; or its head cannot be reached.
        StoreError: the address cannot be read, or holds no results.
    """
    files = files_at(folder)
    if not isinstance(files, LocalFiles):
        _copy(folder, here)
    elif cluster is None:
        raise ClusterError(f"{folder} is a folder; give --cluster FILE to fetch it from that cluster's head")
    else:
        here.mkdir(parents=True, exist_ok=True)
        words = ray_command("rsync-down", str(cluster), f"{folder.rstrip('/')}/", f"{here}/")
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise ClusterError(
                f"{folder} cannot be fetched from {cluster}: {lines[-1] if lines else 'no answer'}"
            )
    n = sum(path.is_file() for path in here.rglob("*"))
    if not (here / "sweep.json").exists():
        raise StoreError(f"{folder} holds no sweep.json: it is no results folder; {n} files are in {here}")
    return n


def _copy(address: str, here: Path) -> None:
    """Copy what differs in size or may be written anew under its name; temporary files are left out.

    A compaction deletes files between the listing and the copying, and may hide its own from a listing: the
    copy is whole if nothing went away and the next listing shows no compacted file that this one did not.
    """
    try:
        system, root = fs.FileSystem.from_uri(address)
        found = _files(system, root)
        for _ in range(PATIENCE):
            gone = [info.path for info in found if not _copied(info, system, here / _name(info, root))]
            before, found = {info.path for info in found}, _files(system, root)
            if not gone and not any(COMPACT in info.path and info.path not in before for info in found):
                return
    except (OSError, ValueError) as error:
        raise StoreError(f"{address} cannot be read: {reason(error)}") from error
    raise StoreError(f"{address} changes again and again while it is copied; fetch it again")


def _name(info: fs.FileInfo, root: str) -> Path:
    return Path(info.path).relative_to(root)


def _files(system: fs.FileSystem, root: str) -> list[fs.FileInfo]:
    found = system.get_file_info(fs.FileSelector(root, recursive=True))
    return [i for i in found if i.is_file and not any(part.startswith(".") for part in _name(i, root).parts)]


def _copied(info: fs.FileInfo, system: fs.FileSystem, there: Path) -> bool:
    """Copy a file unless its content is there; return whether there was one to copy."""
    if there.suffix == ".parquet" and there.exists() and there.stat().st_size == info.size:
        return True
    there.parent.mkdir(parents=True, exist_ok=True)
    partial = there.with_name(f".{there.name}.part")
    try:
        with reading(f"{info.path} cannot be copied to {there}"):
            fs.copy_files(
                info.path, str(partial), source_filesystem=system, destination_filesystem=fs.LocalFileSystem()
            )
        partial.replace(there)
    except FileNotFoundError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True
