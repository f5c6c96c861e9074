"""Examines every machine by one small Ray task each, before trials run there, and says what is wrong."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.cluster.connection import connect
from sweep.cluster.node_info import FOLDER, NodeInfo, NodeQuery, probe
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import ClusterError
from sweep.store.files import LocalFiles, canonical_uri, files_at

ANSWER_SECONDS = 180.0
"""Within this time a machine must answer; it includes loading the data set."""
FIRST_SECONDS = 900.0
"""Within this time the first machine that can run a trial must join."""
OTHERS_SECONDS = 120.0
"""How long to wait for the other workers."""
SKEW = 5.0
"""Seconds by which clocks may differ: times in the tables come from all machines."""
DISK = 2 * 2**30
"""Bytes that should be free for data sets and spilled objects."""
DASHBOARD = 8265
"""The port of Ray's dashboard and jobs API."""

SEE_GPUS = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}
"""Lets a task that reserves no GPU see those of its machine."""

Probe = Callable[[NodeQuery], NodeInfo]


def findings(
    nodes: Sequence[NodeInfo], root: str | None = None, silent: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Return errors, which would make trials fail or their numbers wrong, and warnings; each with a remedy.

    Args:
        nodes: what all machines reported; the driver's comes first.
        root: the results folder that they were asked to use.
        silent: machines that did not answer.
    """
    first = nodes[0]
    errors = [
        f"{host} does not answer; see `ray status`, and its logs in /tmp/ray/session_latest/logs"
        for host in silent
    ]
    warnings = []
    for node in nodes:
        errors += _versions(first, node)
        if node.results_error:
            errors.append(
                f"{node.host} cannot use the results folder {root} ({node.results_error}); choose a folder "
                "that all machines share, or s3://BUCKET/FOLDER with permission to read, write and list"
            )
        if node.data_error:
            errors.append(
                f"{node.host} has no data set: {node.data_error}; put it at the same path on all machines"
            )
        elif node.fingerprint != first.fingerprint and first.fingerprint:
            errors.append(
                f"{node.host} and {first.host} have different data ({node.fingerprint}, "
                f"{first.fingerprint}); copy the same files to both and delete the cached ones"
            )
        if not node.gpu_works:
            errors.append(
                f"{node.host} has a GPU that torch cannot use ({node.device}); install a driver and a build "
                "of torch that match"
            )
        elif node.ray_gpus > node.gpus:
            errors.append(
                f"{node.host} offers {node.ray_gpus:g} GPUs to Ray, but torch sees {node.gpus}; install the "
                "driver and a CUDA build of torch, or start Ray there with --num-gpus=0"
            )
        warnings += _security(node, several=len(nodes) > 1)
        if abs(node.skew) > SKEW:
            ahead = f"{abs(node.skew):.0f} s {'ahead' if node.skew > 0 else 'behind'}"
            warnings.append(f"the clock of {node.host} is {ahead}; set it by NTP (timedatectl set-ntp true)")
        if node.free_disk < DISK:
            free = f"{node.free_disk / 2**30:.1f} GiB"
            warnings.append(f"{node.host} has only {free} free for data; free some space, or set MOPOE_CACHE")
    return errors, warnings


def _versions(first: NodeInfo, node: NodeInfo) -> list[str]:
    expected = dict(first.versions)
    return [
        f"{node.host} has {name} {version}, but {first.host} has {expected[name]}; install the same on all "
        "machines (set-up commands of the cluster's file, then `ray up` again)"
        for name, version in node.versions
        if version != expected[name]
    ]


def _security(node: NodeInfo, *, several: bool) -> list[str]:
    """Return what gives strangers access; a single machine listens only to itself."""
    if several and not node.token:
        risk = f"{node.host} requires no token, so anyone who reaches it can run code there"
        return [f"{risk}; set RAY_AUTH_MODE=token before `ray start` on all machines"]
    if DASHBOARD in node.ports:
        risk = f"the dashboard of {node.host} listens on all its addresses"
        return [f"{risk}; start the head with --dashboard-host=127.0.0.1"]
    return []


def description(node: NodeInfo) -> str:
    """Return a machine as one line."""
    versions = ", ".join(f"{name} {version}" for name, version in node.versions)
    gpus = f"{node.gpus} x {node.device}" if node.gpus else "no GPU"
    data = f", data {node.fingerprint}" if node.fingerprint else ""
    return (
        f"{node.host}: {node.threads} cores, {gpus}, {node.free_disk / 2**30:.0f} GiB free, {versions}{data}"
    )


def prepare(
    spec: SweepSpec, root: str, workers: int, say: Callable[[str], None], probe: Probe = probe
) -> None:
    """Wait until trials can run on the cluster, and examine all machines if there are several.

    Args:
        spec: the sweep.
        root: its results folder.
        workers: how many machines beside the head to wait for.
        say: called with each thing to tell the user.
        probe: what runs on each machine.

    Raises:
        ClusterError: no machine for a trial joins, or trials would fail: one sentence each.
    """
    await_workers(spec, workers, say)
    if len(_alive()) == 1:
        return
    say(f"examining {len(_alive())} machines")
    nodes, silent = survey(spec, root, probe)
    errors, warnings = findings(nodes, root, silent)
    if errors:
        raise ClusterError("\n".join(errors))
    for warning in warnings:
        say(f"warning: {warning}")


def examine(spec: SweepSpec | None, root: str | None, address: str, say: Callable[[str], None]) -> bool:
    """Describe this machine, or every machine of a cluster, and what is wrong; return whether nothing is."""
    silent: list[str] = []
    if address == "local":
        with _marked(spec, root) as query:
            nodes = [probe(query)]
    else:
        connect(address, runtime_env=SEE_GPUS)
        try:
            nodes, silent = survey(spec, root, probe)
        finally:
            ray.shutdown()
    errors, warnings = findings(nodes, root, silent)
    sound = not (errors or warnings)
    for text in (
        *map(description, nodes),
        *(f"error: {e}" for e in errors),
        *(f"warning: {w}" for w in warnings),
    ):
        say(text)
    if sound:
        say("no problem found" + (f" on {len(nodes)} machines" if len(nodes) > 1 else ""))
    return sound


def survey(spec: SweepSpec | None, root: str | None, probe: Probe) -> tuple[list[NodeInfo], list[str]]:
    """Return what the cluster's machines report, the driver's first, and which did not answer."""
    infos: dict[str, NodeInfo] = {}
    silent = []
    with _marked(spec, root) as query:
        nodes = sorted(_alive(), key=lambda n: n["NodeID"] != ray.get_runtime_context().get_node_id())
        answers = {node["NodeID"]: _start_on(node, probe, query) for node in nodes}
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS)
        for node in nodes:
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            try:
                info = ray.get(answers[node["NodeID"]], timeout=0)
                skew = _skew(node)
            except (ray.exceptions.RayError, TimeoutError) as error:
                why = (str(error).strip() or type(error).__name__).splitlines()[-1]
                silent.append(f"{name} ({why})")
                continue
            gpus = node["Resources"].get("GPU", 0.0)
            infos[node["NodeID"]] = replace(info, host=name, ray_gpus=gpus, skew=skew)
        if root is not None:
            seen = files_at(root).list(FOLDER)
            for key, info in infos.items():
                if info.written and info.written not in seen:
                    infos[key] = replace(info, results_error="the driver does not see what it writes there")
    if not infos:
        raise ClusterError(f"no machine of the cluster answers: {'; '.join(silent)}")
    return list(infos.values()), silent


@contextmanager
def _marked(spec: SweepSpec | None, root: str | None) -> Iterator[NodeQuery]:
    """Give the query for all machines, with a file in the results folder for them to find."""
    data = (spec.data.name, tuple(sorted(spec.data.options.items()))) if spec else None
    marker = f"{FOLDER}/{uuid4().hex}"
    if root is None:
        yield NodeQuery(root=None, marker=marker, data=data)
        return
    files = files_at(root)
    files.put(marker, lambda file: file.write(b"marker"))
    try:
        yield NodeQuery(root=canonical_uri(root), marker=marker, data=data)
    finally:
        for name in files.list(FOLDER):
            files.delete(name)
        if isinstance(files, LocalFiles):
            with suppress(OSError):  # another doctor is using the folder
                (files.folder / FOLDER).rmdir()


def _start_on(node: dict[str, Any], function: Callable[..., Any], *arguments: object) -> Any:
    """Start a function on one machine, even on a head that offers no CPU; return Ray's reference."""
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    return task.remote(*arguments)


def _skew(node: dict[str, Any]) -> float:
    """Return by how many seconds a machine's clock is at least ahead; 0 if it may be right."""
    before = time.time()
    theirs: float = ray.get(_start_on(node, lambda: time.time()), timeout=ANSWER_SECONDS)  # noqa: PLW0108 - Ray takes no built-in function
    return max(0.0, theirs - time.time()) or min(0.0, theirs - before)


def await_workers(spec: SweepSpec, workers: int, say: Callable[[str], None]) -> None:
    """Wait for a machine that can run a trial, which makes an idle cluster grow, then for more workers.

    Raises:
        ClusterError: none has joined in time.
    """
    gpu = spec.resources.gpu_share(ray.cluster_resources().get("GPU", 0.0))
    needs = {"num_cpus": spec.resources.cpu, "num_gpus": gpu}
    first = ray.remote(lambda: None).options(**needs).remote()
    if not ray.wait([first], timeout=5)[0]:
        say("waiting for a machine that can run a trial")
        if not ray.wait([first], timeout=FIRST_SECONDS)[0]:
            wanted = f"{spec.resources.cpu:g} CPUs and {gpu:g} GPUs"
            raise ClusterError(
                f"no machine with {wanted} has joined within {FIRST_SECONDS / 60:.0f} minutes; see `ray "
                "status`, lower resources.cpu or resources.gpu, or correct the cluster's file"
            )
    until = time.monotonic() + OTHERS_SECONDS
    while (joined := len(_alive()) - 1) < workers and time.monotonic() < until:
        time.sleep(1)
    if joined < workers:
        say(
            f"only {joined} of {workers} workers have joined; set resources.concurrent to use the others "
            "when they join"
        )


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
