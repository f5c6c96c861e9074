"""What a sweep needs to know from a cluster's file for `ray up`, and what is left to fill in there."""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mopoe.errors import ConfigError
from search_spaces import load_yaml
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import ClusterError

TOKEN = Path("~/.ray/auth_token")
"""Where Ray looks for the token that gives access to a cluster."""
MAKE_TOKEN = f"(umask 077 && ray get-auth-token --generate > /dev/null) && chmod 600 {TOKEN}"
"""The command that makes a token that only its owner can read."""
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_PLACEHOLDER = re.compile(r"[^\s\"'\[\],{}]*REPLACE[^\s\"'\[\],{}]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """What a cluster's file says."""

    path: Path
    """The file."""
    results: str | None
    """The folder or address below which sweeps keep their results: `metadata.results`."""
    workers: int
    """Machines that join before a trial waits for them."""
    cpus: float
    """CPU cores of all workers at the cluster's full size; 0 if the file does not say."""
    gpus: float
    """GPUs of all workers at the cluster's full size."""
    left: tuple[str, ...]
    """What is left to do before `ray up`, one sentence each."""


def read_cluster(path: Path, token: Path = TOKEN) -> ClusterFile:
    """Return what a cluster's file says.

    Raises:
        ConfigError: the file cannot be read or is not a mapping.
    """
    data = load_yaml(path).data
    text = path.read_text(encoding="utf-8")
    types = data.get("available_node_types") or {}
    workers = [node or {} for name, node in types.items() if name != data.get("head_node_type")]
    total = data.get("max_workers") or 0
    most = [node.get("max_workers", total) or 0 for node in workers]
    # `max_workers` of the cluster limits all types together.
    share = min(1.0, (total or sum(most)) / max(1, sum(most)))
    if not isinstance(metadata := data.get("metadata") or {}, Mapping):
        raise ConfigError(f"{path}: metadata is {metadata!r}, but must be a mapping with the key results")
    sizes = [node.get("resources") or {} for node in workers]
    joining = len((data.get("provider") or {}).get("worker_ips") or ())
    return ClusterFile(
        path=path,
        results=metadata.get("results"),
        workers=joining + sum(node.get("min_workers", 0) for node in workers),
        cpus=share * sum(n * size.get("CPU", 0) for n, size in zip(most, sizes, strict=True)),
        gpus=share * sum(n * size.get("GPU", 0) for n, size in zip(most, sizes, strict=True)),
        left=(*placeholders(path, text), *_unsafe(path, text, token.expanduser())),
    )


def placeholders(path: Path, text: str) -> list[str]:
    r"""Return the placeholders that are not filled in yet, one sentence each with its line.

    >>> placeholders(Path("c.yaml"), "region: us-west-2\nImageId: ami-REPLACE # an image")
    ['c.yaml:2: ami-REPLACE is not filled in; the comment beside it says how']
    """
    return [
        f"{path}:{number}: {blank} is not filled in; the comment beside it says how"
        for number, line in enumerate(text.splitlines(), 1)
        for blank in _PLACEHOLDER.findall(_COMMENT.sub("", line))
    ]


def _unsafe(path: Path, text: str, token: Path) -> list[str]:
    """Return what would give strangers access, one sentence each."""
    risks = []
    if not any("RAY_AUTH_MODE=token" in _COMMENT.sub("", line) for line in text.splitlines()):
        risks.append(
            f"{path} does not set RAY_AUTH_MODE=token: anyone who reaches the cluster could run code there"
        )
    if not token.exists():
        risks.append(f"there is no token in {token}; make one with: {MAKE_TOKEN}")
    elif stat.S_IMODE(token.stat().st_mode) & 0o077:
        risks.append(f"{token} can be read by others on this machine; fix it with: chmod 600 {token}")
    return risks


def shared_place(cluster: ClusterFile, name: str, out: str | None) -> str:
    """Return the folder or address where all machines find the results of a sweep of this name.

    Raises:
        ClusterError: neither the file nor `out` gives one, or it is a relative path.
    """
    # An address may end in options, as in s3://bucket/folder?region=us-west-2.
    base, mark, options = (cluster.results or "").partition("?")
    place = out or (f"{base.rstrip('/')}/{name}{mark}{options}" if base else None)
    possible = "s3://BUCKET/FOLDER, or the full path of a folder that all machines share"
    if place is None:
        raise ClusterError(f"{cluster.path} has no key metadata.results; add it or give --out: {possible}")
    if "://" not in place and not place.startswith("/"):
        raise ClusterError(f"results cannot go to {place!r}, seen by one machine only; possible: {possible}")
    return place


def growth_overrides(cluster: ClusterFile, spec: SweepSpec) -> list[str]:
    """Return overrides that let a sweep count on machines that have not joined yet."""
    overrides = []
    wanted = spec.resources
    if cluster.gpus and wanted.gpu == "auto":
        overrides.append("resources.gpu=1")
    if cluster.cpus and wanted.concurrent is None:
        overrides.append(f"resources.concurrent={wanted.slots(cluster.cpus, cluster.gpus)}")
    return overrides
