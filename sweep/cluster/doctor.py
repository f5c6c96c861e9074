"""What is wrong with machines, from their facts: one sentence each, with its remedy. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.cluster.facts import NodeFacts

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
