"""What a machine reports about itself: versions, GPUs, disk, the results folder, the data set, open ports."""

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from mopoe.data.registry import Option
from mopoe.errors import MopoeError
from sweep.store.files import files_at

FOLDER = ".doctor"
"""The folder, below the results, of the files by which machines find out whether they share it."""
_CONNECTIONS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeQuery:
    """What a machine is asked to check."""

    root: str | None
    """The results folder, or None."""
    marker: str
    """The name of a file in it that the driver has written."""
    data: tuple[str, tuple[tuple[str, Option], ...]] | None
    """The data set's name and options, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """One machine of a cluster, or this one."""

    host: str
    """Its name."""
    versions: tuple[tuple[str, str], ...]
    """Versions of Python and of the packages that must agree, by name."""
    threads: int
    """CPU cores that this process may use."""
    gpus: int
    """GPUs that torch sees."""
    device: str
    """The first GPU's name, or why it does not work; empty without one."""
    gpu_works: bool
    """Whether torch could put a number on the GPU; true without one."""
    free_disk: int
    """Free bytes where data sets are cached."""
    results_error: str | None = None
    """Why this machine cannot use the results folder; None if it can, or was not asked."""
    written: str | None = None
    """The name of the file that it wrote into the results folder."""
    fingerprint: str | None = None
    """The data set's fingerprint there; None if it was not asked for or cannot be loaded."""
    data_error: str | None = None
    """Why the data set cannot be loaded there."""
    token: bool = False
    """Whether Ray requires the token there."""
    ports: tuple[int, ...] = ()
    """Ports on which something listens on all addresses."""
    skew: float = 0.0
    """Seconds by which its clock is at least ahead of the driver's; negative if it is behind."""
    ray_gpus: float = 0.0
    """GPUs that Ray gives to trials there."""


def probe(query: NodeQuery) -> NodeInfo:
    """Return what the machine that this runs on reports about itself."""
    import torch

    from mopoe.cache import cache_dir

    gpus = torch.cuda.device_count()
    device, gpu_works = "", True
    if gpus:
        try:
            torch.zeros(1, device="cuda")
            device = torch.cuda.get_device_name()
        except RuntimeError as error:
            device, gpu_works = " ".join(str(error).split()), False
    written, results_error = _try_results(query)
    fingerprint, data_error = _try_data(query)
    cache = next(path for path in (cache_dir(), *cache_dir().parents) if path.exists())
    return NodeInfo(
        host=socket.gethostname(),
        versions=(
            ("python", ".".join(map(str, sys.version_info[:3]))),
            *((name, version(name).partition("+")[0]) for name in ("ray", "torch", "mopoe-sweep")),
        ),
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=gpus,
        device=device,
        gpu_works=gpu_works,
        free_disk=shutil.disk_usage(cache).free,
        results_error=results_error,
        written=written,
        fingerprint=fingerprint,
        data_error=data_error,
        token=os.environ.get("RAY_AUTH_MODE") == "token",
        ports=open_ports(*(table.read_text(encoding="ascii") for table in _CONNECTIONS if table.exists())),
    )


def _try_results(query: NodeQuery) -> tuple[str | None, str | None]:
    """Return the name of a file written into the results folder, or why the folder cannot be used."""
    if query.root is None:
        return None, None
    name = f"{FOLDER}/{uuid4().hex}"
    try:
        files = files_at(query.root)
        if query.marker not in files.list(FOLDER):
            return None, "a file that the driver has just written there is missing"
        with files.open(query.marker) as file:
            file.read()
        files.put(name, lambda file: file.write(b"written"))
    except (MopoeError, OSError) as error:
        return None, " ".join(str(error).split())
    return name, None


def _try_data(query: NodeQuery) -> tuple[str | None, str | None]:
    """Return the data set's fingerprint, or why the data set cannot be loaded."""
    if query.data is None:
        return None, None
    from mopoe.data import load_data

    name, options = query.data
    try:
        return load_data(name, **dict(options)).fingerprint, None
    except MopoeError as error:
        return None, str(error)


def open_ports(*tables: str) -> tuple[int, ...]:
    r"""Return the ports on which something listens on all addresses, from the tables of /proc/net.

    >>> head = "sl local_address rem_address st"
    >>> open_ports(f"{head}\n 0: 00000000:2049 00000000:0000 0A\n 1: 0100007F:18EB 00000000:0000 0A")
    (8265,)
    """
    ports = set()
    for line in (line for table in tables for line in table.splitlines()[1:]):
        address, _, port = line.split()[1].partition(":")
        if line.split()[3] == "0A" and not int(address, 16):
            ports.add(int(port, 16))
    return tuple(sorted(ports))
