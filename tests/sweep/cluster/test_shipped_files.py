"""The cluster files that are shipped: Ray's own schema, AWS as moto plays it, safety, versions."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from sweep.cluster.file import placeholders, read_cluster

ROOT = Path(__file__).parents[3]
FILES = ("cluster.yaml", "cluster-local.yaml")
PINS = dict(
    re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.fixture
def cluster():
    """Give the file for AWS as plain data."""
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


@pytest.fixture(params=FILES)
def either(request):
    """Give each file as plain data."""
    return yaml.safe_load((ROOT / request.param).read_text(encoding="utf-8"))


def check(config):
    """Hold a file against Ray's schema, as `ray up` does first."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def test_rays_own_schema_accepts_both(either):
    """`ray up` would not refuse the file."""
    check(either)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("idle_minutes",), 3, "idle_minutes"),
        (("max_workers",), "many", "many"),
        (("provider",), {"region": "x"}, "type"),
        (("auth", "user"), "x", "user"),
        (("head_node_type",), "hed", "must be one of `available_node_types`"),
        (("available_node_types", "gpu_spot", "max_worker"), 3, "max_worker"),
        (("available_node_types", "gpu_spot", "min_workers"), 9, "min_workers"),
    ],
)
def test_the_schema_refuses_a_mistake(cluster, path, value, says):
    """So that accepting the shipped file means something."""
    place = cluster
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(Exception, match=says):
        check(cluster)


@pytest.mark.parametrize("name", FILES)
def test_what_is_to_be_filled_in_is_found_and_explained(name):
    """Every blank stands on a line with a comment; once all are filled in, nothing is left."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [int(sentence.split(":")[1]) for sentence in placeholders(Path(name), text)]
    assert len(lines) >= 4
    assert all(" # " in text.splitlines()[line - 1] for line in lines)
    filled = "\n".join(line.partition("#")[0].replace("REPLACE", "x") for line in text.splitlines())
    assert placeholders(Path(name), filled) == []
    assert not re.search("REPLACE", yaml.safe_dump(yaml.safe_load(filled)))


def test_sweeps_know_where_results_go_and_what_to_count_on(cluster):
    """Eight workers of eight cores and a GPU on AWS; results on S3."""
    found = read_cluster(ROOT / "cluster.yaml")
    assert (found.cpus, found.gpus, found.workers) == (64, 8, 0)
    assert found.results.startswith("s3://")
    local = read_cluster(ROOT / "cluster-local.yaml")
    assert (local.cpus, local.workers) == (0, 1)
    assert local.results.startswith("/mnt/")


def test_nobody_gets_in_without_the_token(either):
    """Token authentication is on, the token its owner's alone, the dashboard on loopback."""
    text = " ".join(either["setup_commands"] + either["head_start_ray_commands"])
    assert "RAY_AUTH_MODE=token" in text
    assert "chmod 600 ~/.ray/auth_token" in text
    assert "--dashboard-host=127.0.0.1" in text


def test_own_machines_run_the_older_autoscaler_and_no_trial_on_the_head():
    """The newer one leaves out the last worker; Ray ignores `resources` there, so options say it."""
    local = yaml.safe_load((ROOT / "cluster-local.yaml").read_text(encoding="utf-8"))
    start = local["head_start_ray_commands"][-1]
    assert "RAY_enable_autoscaler_v2=0 ray start --head" in start
    assert "--num-cpus=0 --num-gpus=0" in start


def test_versions_come_from_the_constraints(either):
    """One install of what was tested together; the extra's packages are among it."""
    (install,) = [c for c in either["setup_commands"] if "pip install" in c]
    assert "-c ~/mopoe-sweep/constraints.txt" in install
    assert "~/mopoe-sweep'[cluster]'" in install
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'cluster = ["ray[default]>=2.50", "boto3>=1.35"]' in project
    assert {"ray", "boto3", "aiohttp", "grpcio", "virtualenv"} <= PINS.keys()


def test_containers_hold_the_ray_and_the_python_tested_together(cluster):
    """Ray's own images, of the pinned version; CI runs Python 3.11."""
    docker = cluster["docker"]
    assert docker["head_image"] == f"rayproject/ray:{PINS['ray']}-py311"
    assert docker["worker_image"] == f"{docker['head_image']}-gpu"


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """Give a made-up AWS account with a role, and Ray's bootstrap of a file there."""
    moto = pytest.importorskip("moto", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps the key pair in ~/.ssh
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache
    from ray.autoscaler._private.commands import _bootstrap_config

    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    monkeypatch.chdir(tmp_path)
    with moto.mock_aws():
        client_cache.cache_clear()
        resource_cache.cache_clear()
        iam, ec2 = boto3.client("iam"), boto3.client("ec2")
        for role in ("ray-autoscaler-v1", "mopoe-sweep"):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=role)
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        group = ec2.create_security_group(GroupName="sweep", Description="own")["GroupId"]
        image = ec2.describe_images()["Images"][0]["ImageId"]

        def bootstrap():
            text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
            text = text.replace("sg-REPLACE", group).replace("ami-REPLACE", image)
            text = text.replace("Name: REPLACE", "Name: mopoe-sweep").replace("REPLACE", "bucket")
            (tmp_path / "cluster.yaml").write_text(text)
            assert placeholders(Path("cluster.yaml"), text) == []
            return _bootstrap_config(yaml.safe_load(text), no_config_cache=True), ec2, group

        yield bootstrap
    client_cache.cache_clear()
    resource_cache.cache_clear()


@pytest.mark.filterwarnings("ignore")  # botocore's own
def test_aws_gets_what_the_file_says(aws):
    """Own security group and no other, roles for both, spot workers from zero, a head without CPU or spot."""
    config, ec2, group = aws()
    head, worker = (config["available_node_types"][name] for name in ("head", "gpu_spot"))
    for node in (head, worker):
        assert node["node_config"]["SecurityGroupIds"] == [group]
        assert node["node_config"]["IamInstanceProfile"] == {"Name": "mopoe-sweep"}
        assert node["node_config"]["SubnetIds"]
    assert {g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"]} <= {"default", "sweep"}
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["node_config"]["InstanceType"] == "m6i.xlarge"
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (worker["min_workers"], worker["max_workers"]) == (0, 8)
    assert (worker["resources"]["CPU"], worker["resources"]["GPU"]) == (8, 1)
    assert config["provider"]["cache_stopped_nodes"] is False
    (key,) = ec2.describe_key_pairs()["KeyPairs"]
    assert worker["node_config"]["KeyName"] == key["KeyName"]
