"""Looks at every machine of a Ray cluster by one small task each, before trials run there."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.cluster.doctor import FOLDER, NodeFacts, Search, described, findings, look
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import ClusterError
from sweep.store.files import LocalFiles, canonical_uri, files_at

ANSWER = 180.0
"""Seconds in which a machine must answer; loading the data set is among them."""
FIRST = 900.0
"""Seconds in which the first machine that can run a trial must join."""
REST = 120.0
"""Seconds for those that join without being asked for."""

SEE_GPUS = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}
"""Lets a task that takes no GPU see those that are there."""

Look = Callable[[Search], NodeFacts]


def prepare(
    spec: SweepSpec, root: str, workers: int, say: Callable[[str], None], look_at: Look = look
) -> None:
    """Wait until trials can run on the cluster, and examine all machines if there are several.

    Raises:
        ClusterError: no machine for a trial joins, or trials would fail: one sentence each.
    """
    await_workers(spec, workers, say)
    if len(_alive()) == 1:
        return
    say(f"examining {len(_alive())} machines")
    nodes, silent = survey(spec, root, look_at)
    wrong = findings(nodes, root, silent)
    if fatal := [found.text for found in wrong if found.fatal]:
        raise ClusterError("\n".join(fatal))
    for found in wrong:
        say(f"warning: {found.text}")


def examine(spec: SweepSpec | None, root: str | None, address: str, say: Callable[[str], None]) -> bool:
    """Say how this machine, or every machine of a cluster, is; return whether all is well."""
    silent: list[str] = []
    if address == "local":
        with _marked(spec, root) as search:
            nodes = [look(search)]
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=SEE_GPUS)
        try:
            nodes, silent = survey(spec, root, look)
        finally:
            ray.shutdown()
    wrong = findings(nodes, root, silent)
    for node in nodes:
        say(described(node))
    for found in wrong:
        say(f"{'wrong' if found.fatal else 'warning'}: {found.text}")
    if not wrong:
        say("all is well" + (f": {len(nodes)} machines" if len(nodes) > 1 else ""))
    return not wrong


def survey(spec: SweepSpec | None, root: str | None, look_at: Look) -> tuple[list[NodeFacts], list[str]]:
    """Return the facts of the cluster's machines, the driver's first, and those that did not answer."""
    facts: dict[str, NodeFacts] = {}
    silent = []
    with _marked(spec, root) as search:
        there = sorted(_alive(), key=lambda n: n["NodeID"] != ray.get_runtime_context().get_node_id())
        answers = {node["NodeID"]: _on(node, look_at, search) for node in there}
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER)
        for node in there:
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            try:
                found = ray.get(answers[node["NodeID"]], timeout=0)
                skew = _skew(node)
            except (ray.exceptions.RayError, TimeoutError) as error:
                silent.append(f"{name} ({_last_line(error)})")
                continue
            gpus = node["Resources"].get("GPU", 0.0)
            facts[node["NodeID"]] = replace(found, host=name, ray_gpus=gpus, skew=skew)
        if root is not None:
            seen = files_at(root).list(FOLDER)
            for key, found in facts.items():
                if found.wrote and found.wrote not in seen:
                    facts[key] = replace(found, results="the driver does not see what it writes there")
    if not facts:
        raise ClusterError(f"no machine of the cluster answers: {'; '.join(silent)}")
    return list(facts.values()), silent


@contextmanager
def _marked(spec: SweepSpec | None, root: str | None) -> Iterator[Search]:
    """Give what machines are asked, with a file in the results folder for them to find."""
    data = (spec.data.name, tuple(sorted(spec.data.options.items()))) if spec else None
    marker = f"{FOLDER}/{uuid4().hex}"
    if root is None:
        yield Search(root=None, marker=marker, data=data)
        return
    files = files_at(root)
    files.put(marker, lambda file: file.write(b"here"))
    try:
        yield Search(root=canonical_uri(root), marker=marker, data=data)
    finally:
        for name in files.list(FOLDER):
            files.delete(name)
        if isinstance(files, LocalFiles):
            with suppress(OSError):  # another doctor is at work
                (files.folder / FOLDER).rmdir()


def _on(node: dict[str, Any], function: Callable[..., Any], *arguments: object) -> Any:
    """Start a function on one machine, also on a head that has no CPU to give; return Ray's reference."""
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return task.remote(*arguments)


def _skew(node: dict[str, Any]) -> float:
    """Return by how much a machine's clock is ahead at least, in seconds."""
    before = time.time()
    theirs: float = ray.get(_on(node, lambda: time.time()), timeout=ANSWER)  # noqa: PLW0108 - Ray takes no built-in function
    return max(0.0, theirs - time.time()) or min(0.0, theirs - before)


def await_workers(spec: SweepSpec, workers: int, say: Callable[[str], None]) -> None:
    """Wait for a machine that can run a trial, which makes a cluster at rest grow, then for more workers.

    Raises:
        ClusterError: none has joined in time.
    """
    gpu = spec.resources.gpu_share(ray.cluster_resources().get("GPU", 0.0))
    needs = {"num_cpus": spec.resources.cpu, "num_gpus": gpu}
    first = ray.remote(lambda: None).options(**needs).remote()
    if not ray.wait([first], timeout=5)[0]:
        say("waiting for a machine that can run a trial")
        if not ray.wait([first], timeout=FIRST)[0]:
            words = f"{spec.resources.cpu:g} CPUs and {gpu:g} GPUs"
            raise ClusterError(
                f"no machine with {words} has joined within {FIRST / 60:.0f} minutes; see `ray status`, "
                "lower resources.cpu or resources.gpu, or correct the cluster's file"
            )
    until = time.monotonic() + REST
    while (joined := len(_alive()) - 1) < workers and time.monotonic() < until:
        time.sleep(1)
    if joined < workers:
        say(f"{joined} of {workers} workers have joined; resources.concurrent would count on the others")


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
