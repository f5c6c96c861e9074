"""Provider `aws`, against a fake EC2, IAM and S3 on the rack's own bridge."""

from cluster.checks import all_trials_ended, nodes_from_inside, secrets_are_kept
from cluster.cloud import cloud_on, environment
from cluster.laptop import IMAGE, SEEN, SWEEP
from cluster.rack import SHARED, Rack, until

GATEWAY = "172.31.255.1"  # within moto's default network
RESULTS = "s3://results/sweeps/rack"


def test_a_sweep_outlives_a_reclaim(laptop, monkeypatch):
    """From no worker to two, one reclaimed and replaced, results on S3, and in the end no instance left."""
    for name, value in environment(GATEWAY).items():
        monkeypatch.setenv(name, value)
        laptop.environment[name] = value
    image = {**IMAGE, **environment(GATEWAY)}
    with Rack(SHARED.parent / "rack", f"{GATEWAY}/16", SEEN, image) as rack, cloud_on(rack) as cloud:
        laptop.say("a cloud")
        node = {"ImageId": cloud.image, "KeyName": "rack", "SecurityGroupIds": [cloud.group]}
        file = laptop.cluster_file(
            "cluster.yaml",
            max_workers=2,
            idle_timeout_minutes=0.5,
            auth={"ssh_user": "root", "ssh_private_key": str(rack.key)},
            available_node_types__head__node_config=node | {"InstanceType": "m6i.xlarge"},
            available_node_types__gpu_spot__resources={"CPU": 2},
            available_node_types__gpu_spot__max_workers=2,
        )
