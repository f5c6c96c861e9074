"""Copies a sweep's results from shared storage to this machine."""

import subprocess
from pathlib import Path

from pyarrow import fs

from sweep.cluster.connection import ray_command
from sweep.errors import ClusterError, StoreError
from sweep.store.files import Files, LocalFiles, files_at, reason
from sweep.store.layout import COMPACT
from sweep.store.read import PATIENCE, reading


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
        _copy(files, LocalFiles(here))
    elif cluster is None:
        raise ClusterError(f"{folder} is a folder; to fetch it from a cluster's head, give --cluster FILE")
    else:
        here.mkdir(parents=True, exist_ok=True)
        words = ray_command("rsync-down", str(cluster), f"{folder.rstrip('/')}/", f"{here}/")
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if done.returncode:
            why = ((done.stderr or done.stdout).strip() or "no answer").splitlines()[-1]
            raise ClusterError(f"{folder} cannot be fetched from {cluster}: {why}")
    n = sum(path.is_file() for path in here.rglob("*"))
    if not (here / "sweep.json").exists():
        raise StoreError(f"{folder} is not a results folder: it holds no sweep.json; {n} files are in {here}")
    return n


def _copy(source: Files, target: LocalFiles) -> None:
    """Copy files that are missing, differ in size or may be overwritten; unfinished files are left out.

    A compaction may delete files between the listing and the copying, and a listing may miss the file that
    replaces them. The copy is complete if no file disappeared and the next listing has no new compacted file.
    """
    listed = _sizes(source)
    for _ in range(PATIENCE):
        gone = [name for name, size in listed.items() if not _copied(source, name, size, target)]
        before, listed = listed, _sizes(source)
        if not gone and not any(COMPACT in name and name not in before for name in listed):
            return
    raise StoreError(f"{source} keeps changing while it is copied; fetch it again later")


def _sizes(files: Files) -> dict[str, int]:
    """Return the sizes of all finished files by name."""
    system, root = files.place
    try:
        infos = system.get_file_info(fs.FileSelector(root, recursive=True))
    except (OSError, ValueError) as error:
        raise StoreError(f"{files} cannot be read: {reason(error)}") from error
    sizes = {info.path.removeprefix(f"{root}/"): info.size for info in infos if info.is_file}
    return {name: size for name, size in sizes.items() if "/." not in f"/{name}"}


def _copied(source: Files, name: str, size: int, target: LocalFiles) -> bool:
    """Copy a file unless its content is already there; return whether the file exists."""
    path = target.folder / name
    if path.suffix == ".parquet" and path.exists() and path.stat().st_size == size:
        return True
    try:
        with source.open(name) as file, reading(f"{source}/{name} cannot be read"):
            content = file.read_buffer()
    except FileNotFoundError:
        return False
    target.put(name, lambda file: file.write(content))
    return True
