"""Every machine of a Ray cluster is looked at (on one machine: each node has its own raylet)."""

import json
import os
import subprocess
import sys

import pytest

NODES = """
import json, sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from sweep.cluster.probe import prepare, survey
from sweep.errors import ClusterError
from sweep.config.sweep_spec import load_spec

file, root = sys.argv[1:]
small = {"object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
cluster.add_node(num_cpus=1, resources={"blind": 1}, **small)
cluster.add_node(num_cpus=1, resources={"old": 1}, **small)
ray.init(cluster.address, log_to_driver=False)


def look(search):
    # Nested in the program, so that workers get it by value.
    from dataclasses import replace

    import ray
    from sweep.cluster.doctor import look

    mine = next(n for n in ray.nodes() if n["NodeID"] == ray.get_runtime_context().get_node_id())
    if "blind" in mine["Resources"]:
        # As if this path were a disk of its own there.
        return look(replace(search, root=search.root + "-own"))
    if "old" in mine["Resources"]:
        raise ModuleNotFoundError("No module named 'sweep'")
    return look(search)


def refusal(look_at):
    try:
        prepare(load_spec(file), root, 2, said.append, look_at)
    except ClusterError as error:
        return str(error).splitlines()


said = []
nodes, silent = survey(None, root, look)
print(json.dumps({
    "results": [node.results for node in nodes],
    "skew": [node.skew for node in nodes],
    "silent": silent,
    "refusal": refusal(look),
    "sound": refusal(__import__("sweep.cluster.doctor").cluster.facts.look),
    "said": said,
    "left": [str(p) for p in Path(root).rglob("*")],
}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
def test_a_machine_that_cannot_see_the_results_or_does_not_answer_is_refused(sweep_file, tmp_path):
    """The head, without a CPU, answers too; nothing is left in the folder; sound machines may begin."""
    done = subprocess.run(
        [sys.executable, "-c", NODES, str(sweep_file), str(tmp_path / "r")],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    unseen = "what the driver has just written there is not to be seen"
    assert found["results"] == [None, unseen]
    assert found["skew"] == [0.0, 0.0]
    (silent,) = found["silent"]
    assert silent.endswith("(ModuleNotFoundError: No module named 'sweep')")
    first, second = found["refusal"]
    assert "does not answer; see `ray status`" in first
    assert (
        f"cannot use the results folder {tmp_path / 'r'} ({unseen}); choose a folder that all machines"
        in second
    )
    assert found["sound"] is None
    assert found["said"][0] == "examining 3 machines"
    assert any("asks for no token" in line for line in found["said"])
    assert found["left"] == []
