"""The shipped cluster file."""

from pathlib import Path

import pytest
import yaml

FILE = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture
def cluster():
    """Give the file as plain data."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_rays_own_schema_accepts_it(cluster):
    """`ray up` would not refuse the file; a mistyped key would be refused."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(dict(cluster)))
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config({**cluster, "idle_minutes": 3}))


def test_the_head_runs_no_trial_and_workers_start_from_zero(cluster):
    """The head has no CPU to give; GPU workers are spot machines that come on demand."""
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0
    worker = types["gpu_spot"]
    assert worker["min_workers"] == 0
    assert worker["resources"]["GPU"] >= 1
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_nobody_gets_in_without_the_token(cluster):
    """Token authentication is on, the dashboard on loopback, the security group one's own."""
    text = " ".join(cluster["setup_commands"] + cluster["head_start_ray_commands"])
    assert "RAY_AUTH_MODE=token" in text
    assert "chmod 600 ~/.ray/auth_token" in text
    assert "--dashboard-host=127.0.0.1" in text
    for node in cluster["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]


def test_versions_come_from_the_constraints(cluster):
    """Machines install what was tested together."""
    install = [c for c in cluster["setup_commands"] if "pip install" in c]
    assert len(install) == 1
    assert "-c ~/mopoe-sweep/constraints.txt" in install[0]
