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
    lose, *words = sys.argv[1:]
    command = [sys.executable, "-c", "from sweep.cli import main; main()", "run", *words]
    sweep = subprocess.Popen([*command, "--address", cluster.address, "--workers", "2"])
    if lose:
        while not list(pathlib.Path(lose).glob("checkpoints/t*")) and sweep.poll() is None:
            time.sleep(0.2)
        cluster.remove_node(lost, allow_graceful=False)
        print("a node is lost", flush=True)
    status = sweep.wait()
finally:
    cluster.shutdown()
sys.exit(status)
"""


def run_on_cluster(*words, lose=""):
    """Run a sweep on a head and two workers; return its output. `lose`: its folder, if a worker is to die."""
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(lose), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        # The nodes are on this machine's loopback alone; tokens are for real clusters.
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ray
def test_a_sweep_joins_a_cluster_by_its_address(sweep_file, tmp_path):
    """The head has no CPU, so every trial runs on one of two workers; all complete."""
    root = tmp_path / "r"
    said = run_on_cluster(sweep_file, "--out", root)
    assert "joining the Ray cluster at" in said
    assert "examining 3 machines" in said
    assert open_store(root).latest_trials().collect()["status"].to_list() == ["completed"] * 3


@pytest.mark.ray
def test_a_node_is_lost_in_mid_sweep(sweep_file, tmp_path):
    """Its trial goes on elsewhere; every trial completes, none is there twice, and the store is sound."""
    root = tmp_path / "r"
    said = run_on_cluster(sweep_file, "--out", root, "-o", "fixed.epochs=8", lose=root)
    assert "a node is lost" in said
    store = open_store(root)
    assert store.latest_trials().collect()["status"].to_list() == ["completed"] * 3
    assert store.trials().collect().height == 3
    assert not list(problems(store))
