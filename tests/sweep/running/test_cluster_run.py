"""The same sweep on a Ray cluster of several nodes (on one machine: each node has its own raylet)."""

import os
import subprocess
import sys

import pytest

from sweep.store.read import open_store

CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster

small = {"object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
for _ in range(2):
    cluster.add_node(num_cpus=1, **small)
try:
    command = [sys.executable, "-c", "from sweep.cli import main; main()", "run", *sys.argv[1:]]
    status = subprocess.run([*command, "--address", cluster.address]).returncode
finally:
    cluster.shutdown()
sys.exit(status)
"""


@pytest.mark.ray
def test_a_sweep_joins_a_cluster_by_its_address(sweep_file, tmp_path):
    """The head has no CPU, so every trial runs on one of two workers; all complete."""
    root = tmp_path / "r"
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(sweep_file), "--out", str(root)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        # The nodes are on this machine's loopback alone; tokens are for real clusters.
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    assert "joining the Ray cluster at" in done.stdout
    assert open_store(root).latest_trials().collect()["status"].to_list() == ["completed"] * 3
