"""The same sweep on a Ray cluster of several nodes (on one machine: each node has its own raylet)."""

import os
import subprocess
import sys

import pytest

from sweep.store.read import open_store
from sweep.verify import problems

CLUSTER = """
import pathlib, subprocess, sys, time
from ray.cluster_utils import Cluster

small = {"object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
lost = cluster.add_node(num_cpus=1, **small)
cluster.add_node(num_cpus=1, **small)
try:
    root = pathlib.Path(sys.argv[1])
    command = [sys.executable, "-c", "from sweep.cli import main; main()", "run", *sys.argv[2:]]
    sweep = subprocess.Popen([*command, "--address", cluster.address, "--workers", "2", "--out", str(root)])

    def in_training():
        ended = {path.name.partition("-")[0] for path in root.glob("trials/*-completed-*")}
        return {path.stem for path in root.glob("checkpoints/t*")} - ended

    while len(in_training()) < 2 and sweep.poll() is None:
        time.sleep(0.1)
    cluster.remove_node(lost, allow_graceful=False)
    if sweep.poll() is None:
        print("a node is lost", flush=True)
    status = sweep.wait()
finally:
    cluster.shutdown()
sys.exit(status)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory, quick_sweep):
    """Run a sweep on a head and two workers, one of which dies while both train; return output and store."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "quick.yaml").write_text(quick_sweep)
    # An evaluation in every epoch keeps the checkpoint as young.
    more = ["-o", "fixed.epochs=20", "-o", "evaluation.every=1"]
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(folder / "r"), str(folder / "quick.yaml"), *more],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        # The nodes are on this machine's loopback alone; tokens are for real clusters.
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, open_store(folder / "r")


@pytest.mark.ray
def test_a_sweep_joins_a_cluster_by_its_address(ended):
    """The head has no CPU, so every trial runs on one of two workers; all complete."""
    said, store = ended
    assert "joining the Ray cluster at" in said
    assert "examining 3 machines" in said
    assert store.latest_trials().collect()["status"].to_list() == ["completed"] * 3


@pytest.mark.ray
def test_a_node_is_lost_in_mid_sweep(ended):
    """Its trial goes on elsewhere; every trial completes, none is there twice, and the store is sound.

    A file that its worker was writing may be left half-written, which verify says.
    """
    said, store = ended
    assert "a node is lost" in said
    assert store.latest_trials().collect()["status"].to_list() == ["completed"] * 3
    assert store.trials().collect().height == 3
    assert [text for text in problems(store) if "is left over from an interrupted write" not in text] == []
