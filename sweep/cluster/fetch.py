"""Copies a sweep's results from shared storage to this machine."""

import subprocess
from pathlib import Path

from pyarrow import fs

from sweep.cluster.jobs import ray_command
from sweep.errors import ClusterError, StoreError
from sweep.store.files import LocalFiles, files_at, reason
from sweep.store.read import COMPACT, PATIENCE, reading


def fetch(folder: str, here: Path, cluster: Path | None) -> int:
    """Copy a results folder to `here` and return how many files are there afterwards.

    Args:
        folder: an address such as s3://BUCKET/FOLDER, or a folder that the cluster's machines share.
        here: the local folder; files that are already there are copied only if they may have changed.
        cluster: the cluster's file; required unless `folder` is an address.

    Raises:
        ClusterError: a folder without a cluster, or the cluster's head cannot be reached.
        StoreError: the address cannot be read, or holds no results.
    """
    files = files_at(folder)
    if not isinstance(files, LocalFiles):
        _copy(folder, here)
    elif cluster is None:
        raise ClusterError(f"{folder} is a folder; to fetch it from a cluster's head, give --cluster FILE")
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
        raise StoreError(f"{folder} is not a results folder: it holds no sweep.json; {n} files are in {here}")
    return n


def _copy(address: str, here: Path) -> None:
    """Copy files that are missing, differ in size or may be overwritten; temporary files are left out.

    A compaction may delete files between the listing and the copying, and a listing may miss the file that
    replaces them. The copy is complete if no file disappeared and the next listing has no new compacted file.
    """
    try:
        system, root = fs.FileSystem.from_uri(address)
        listed = _files(system, root)
        for _ in range(PATIENCE):
            gone = [info.path for info in listed if not _copied(info, system, here / _name(info, root))]
            before, listed = {info.path for info in listed}, _files(system, root)
            if not gone and not any(COMPACT in info.path and info.path not in before for info in listed):
                return
    except (OSError, ValueError) as error:
        raise StoreError(f"{address} cannot be read: {reason(error)}") from error
    raise StoreError(f"{address} keeps changing while it is copied; fetch it again later")


def _name(info: fs.FileInfo, root: str) -> Path:
    return Path(info.path).relative_to(root)


def _files(system: fs.FileSystem, root: str) -> list[fs.FileInfo]:
    infos = system.get_file_info(fs.FileSelector(root, recursive=True))
    return [i for i in infos if i.is_file and not any(part.startswith(".") for part in _name(i, root).parts)]


def _copied(info: fs.FileInfo, system: fs.FileSystem, there: Path) -> bool:
    """Copy a file unless its content is already there; return whether the file exists."""
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
