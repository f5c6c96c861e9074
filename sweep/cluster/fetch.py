"""Brings a sweep's results from shared storage to this machine."""

import subprocess
from pathlib import Path

from pyarrow import fs

from sweep.cluster.head import ray_command
from sweep.errors import ClusterError, StoreError
from sweep.store.files import LocalFiles, files_at


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
    """Copy what differs in size or may be written anew under its name; temporary files are left out."""
    try:
        system, root = fs.FileSystem.from_uri(address)
        found = system.get_file_info(fs.FileSelector(root, recursive=True))
    except (OSError, ValueError) as error:
        raise StoreError(f"{address} cannot be read: {error}") from error
    local = fs.LocalFileSystem()
    for info in found:
        name = Path(info.path).relative_to(root)
        there = here / name
        if not info.is_file or any(part.startswith(".") for part in name.parts):
            continue
        if name.suffix == ".parquet" and there.exists() and there.stat().st_size == info.size:
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        partial = there.with_name(f".{there.name}.part")
        fs.copy_files(info.path, str(partial), source_filesystem=system, destination_filesystem=local)
        partial.replace(there)
