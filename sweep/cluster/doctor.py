"""What is wrong with machines, from their facts: one sentence each, with its remedy. Pure."""

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from mopoe.data.registry import Option
from mopoe.errors import MopoeError
from sweep.store.files import Files, files_at

FOLDER = ".doctor"
"""The folder, below the results, of the files by which machines find out whether they share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a machine is asked to look for."""

    root: str | None
    """The results folder, or None."""
    marker: str
    """The name of a file in it that another machine has written."""
    data: tuple[str, tuple[tuple[str, Option], ...]] | None
    """The data set's name and options, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One machine of a cluster, or this one."""

    host: str
    """Its name."""
    versions: tuple[tuple[str, str], ...]
    """Of Python and of the packages that must agree, by name."""
    threads: int
    """CPU cores that this process may use."""
    gpus: int
    """GPUs that torch sees."""
    device: str
    """The first GPU's name, or why it does not work; empty without one."""
    works: bool
    """Whether a number could be put on the GPU; true without one."""
    free_disk: int
    """Bytes free where data sets are cached."""
    results: str | None = None
    """Why the results folder cannot be used from there; None if it can, or was not asked for."""
    wrote: str | None = None
    """The name of the file that it wrote into the results folder."""
    fingerprint: str | None = None
    """Of the data set there; None if it was not asked for or cannot be loaded."""
    data_error: str | None = None
    """Why the data set cannot be loaded there."""
    token: bool = False
    """Whether Ray asks for the token there."""
    ports: tuple[int, ...] = ()
    """Ports on which something listens for everybody."""
    skew: float = 0.0
    """Seconds by which its clock is ahead of the driver's, at least."""
    ray_gpus: float = 0.0
    """GPUs that Ray gives to trials there."""


def look(search: Search) -> NodeFacts:
    """Return the facts of the machine that this runs on."""
    import torch

    from mopoe.data.container import cache_dir

    gpus = torch.cuda.device_count()
    device, works = "", True
    if gpus:
        try:
            torch.zeros(1, device="cuda")
            device = torch.cuda.get_device_name()
        except RuntimeError as error:
            device, works = " ".join(str(error).split()), False
    wrote, results = _share(search)
    fingerprint, data_error = _load(search)
    there = next(p for p in (cache_dir(), *cache_dir().parents) if p.exists())
    return NodeFacts(
        host=socket.gethostname(),
        versions=(
            ("python", ".".join(map(str, sys.version_info[:3]))),
            *((name, version(name).partition("+")[0]) for name in ("ray", "torch", "mopoe-sweep")),
        ),
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=gpus,
        device=device,
        works=works,
        free_disk=shutil.disk_usage(there).free,
        results=results,
        wrote=wrote,
        fingerprint=fingerprint,
        data_error=data_error,
        token=os.environ.get("RAY_AUTH_MODE") == "token",
        ports=listening(*(_text(Path("/proc/net", table)) for table in ("tcp", "tcp6"))),
    )


def _share(search: Search) -> tuple[str | None, str | None]:
    """Return the file written into the results folder, or why the folder cannot be used."""
    if search.root is None:
        return None, None
    name = f"{FOLDER}/{uuid4().hex}"
    try:
        files = files_at(search.root)
        names = files.list(FOLDER)
        if search.marker not in names or not read(files, search.marker):
            return None, "what the driver has just written there is not to be seen"
        files.put(name, lambda file: file.write(b"seen"))
    except (MopoeError, OSError) as error:
        return None, " ".join(str(error).split())
    return name, None


def read(files: Files, name: str) -> bytes:
    """Return a file's content."""
    with files.open(name) as file:
        content: bytes = file.read()
    return content


def _load(search: Search) -> tuple[str | None, str | None]:
    """Return the data set's fingerprint, or why it cannot be loaded."""
    if search.data is None:
        return None, None
    from mopoe.data import load

    name, options = search.data
    try:
        return load(name, **dict(options)).fingerprint, None
    except MopoeError as error:
        return None, str(error)


def listening(*tables: str) -> tuple[int, ...]:
    r"""Return the ports on which something listens on all addresses, from the tables of /proc/net.

    >>> head = "sl local_address rem_address st"
    >>> listening(f"{head}\n 0: 00000000:2049 00000000:0000 0A\n 1: 0100007F:18EB 00000000:0000 0A")
    (8265,)
    """
    found = set()
    for line in (line for table in tables for line in table.splitlines()[1:]):
        address, _, port = line.split()[1].partition(":")
        if line.split()[3] == "0A" and not int(address, 16):
            found.add(int(port, 16))
    return tuple(sorted(found))


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""


SKEW = 5.0
"""Seconds by which clocks may differ: times in the tables come from all machines."""
DISK = 2 * 2**30
"""Bytes that should be free for data sets and spilled objects."""
DASHBOARD = 8265
"""The port of Ray's dashboard and jobs API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    text: str
    """What, where and the remedy."""
    fatal: bool
    """Whether trials would fail, or their numbers be wrong: no sweep is begun then."""


def findings(
    nodes: Sequence[NodeFacts], root: str | None = None, silent: Sequence[str] = ()
) -> list[Finding]:
    """Return what is wrong.

    Args:
        nodes: the facts of all machines; the driver's comes first.
        root: the results folder that they were asked for.
        silent: machines that did not answer.
    """
    first = nodes[0]
    fatal = [
        f"{host} does not answer; see `ray status`, and its logs in /tmp/ray/session_latest/logs"
        for host in silent
    ]
    other = []
    for node in nodes:
        fatal += _versions(first, node)
        if node.results:
            fatal.append(
                f"{node.host} cannot use the results folder {root} ({node.results}); choose a folder that "
                "all machines share, or s3://BUCKET/FOLDER that it may read, write and list"
            )
        if node.data_error:
            fatal.append(
                f"{node.host} has no data set: {node.data_error}; put it at the same path on all machines"
            )
        elif node.fingerprint != first.fingerprint and first.fingerprint:
            fatal.append(
                f"{node.host} has other data than {first.host} ({node.fingerprint}, {first.fingerprint}); "
                "copy the same files there and delete what is cached"
            )
        if not node.works:
            fatal.append(
                f"{node.host} has a GPU that torch cannot use ({node.device}); match driver and torch build"
            )
        elif node.ray_gpus > node.gpus:
            fatal.append(
                f"{node.host} offers {node.ray_gpus:g} GPUs to Ray, but torch sees {node.gpus}; install the "
                "driver and a CUDA build of torch, or start Ray there with --num-gpus=0"
            )
        other += _safety(node, several=len(nodes) > 1)
        if abs(node.skew) > SKEW:
            ahead = f"{abs(node.skew):.0f} s {'ahead' if node.skew > 0 else 'behind'}"
            other.append(f"the clock of {node.host} is {ahead}; set it by NTP (timedatectl set-ntp true)")
        if node.free_disk < DISK:
            free = f"{node.free_disk / 2**30:.1f} GiB"
            other.append(f"{node.host} has {free} free for data; clear some, or set MOPOE_CACHE")
    return [*(Finding(text=t, fatal=True) for t in fatal), *(Finding(text=t, fatal=False) for t in other)]


def _versions(first: NodeFacts, node: NodeFacts) -> list[str]:
    known = dict(first.versions)
    return [
        f"{node.host} has {name} {found}, but {first.host} has {known[name]}; install the same on all "
        "machines (set-up commands of the cluster's file, then `ray up` again)"
        for name, found in node.versions
        if found != known[name]
    ]


def _safety(node: NodeFacts, *, several: bool) -> list[str]:
    """Return what lets strangers in; a machine alone listens to itself."""
    if several and not node.token:
        risk = f"{node.host} asks for no token, so that whoever reaches it can run code there"
        return [f"{risk}; set RAY_AUTH_MODE=token before `ray start` on all machines"]
    if DASHBOARD in node.ports:
        risk = f"the dashboard of {node.host} listens on all its addresses"
        return [f"{risk}; start the head with --dashboard-host=127.0.0.1"]
    return []


def described(node: NodeFacts) -> str:
    """Return a machine as one line."""
    versions = ", ".join(f"{name} {found}" for name, found in node.versions)
    gpus = f"{node.gpus} x {node.device}" if node.gpus else "no GPU"
    data = f", data {node.fingerprint}" if node.fingerprint else ""
    return (
        f"{node.host}: {node.threads} cores, {gpus}, {node.free_disk / 2**30:.0f} GiB free, {versions}{data}"
    )
