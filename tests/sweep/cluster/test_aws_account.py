"""What a cluster on AWS needs is planned, made once, enough and no more, and taken back; on moto's AWS.

moto checks a policy's actions and resources, but not what `iam:PassRole` hands on; it has no quotas.
"""

import json
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from mopoe.errors import ConfigError
from sweep.cluster import aws
from sweep.cluster.aws import IMAGE, NAME, WORKERS, Account, made_for
from sweep.cluster.file import placeholders, read_cluster
from sweep.errors import ClusterError

moto = pytest.importorskip("moto", reason="moto is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # botocore's own
ROOT = Path(__file__).parents[3]
SHIPPED = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
FIND_QUOTA = Account._quota
BUCKET = "mopoe-sweep-123456789012-us-west-2"


@pytest.fixture
def account(monkeypatch, tmp_path):
    """Give an empty account in us-west-2, asked from 198.51.100.7."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(aws, "urlopen", lambda *_, **__: closing(BytesIO(b"198.51.100.7\n")))
    monkeypatch.setattr(Account, "_quota", lambda *_: None)
    with moto.mock_aws():
        yield Account("us-west-2")


@pytest.fixture
def plan(account):
    """Give a plan for eight of the smallest GPU workers."""
    return account.plan(gpu="a10g", workers=8, image="ami-12c6146b")


def test_a_plan_finds_everything_and_makes_nothing(account, plan, monkeypatch):
    """Zones, account and address; the image by AWS's public parameter unless one is given."""
    assert plan.zones == ("us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d")
    assert (plan.account, plan.address, plan.bucket) == ("123456789012", "198.51.100.7", BUCKET)
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    assert boto3.client("iam", "us-west-2").list_roles()["Roles"] == []
    asked = []

    class Parameters:
        def get_parameter(self, **words):
            asked.append(words)
            return {"Parameter": {"Value": "ami-newest"}}

    made = account._client
    monkeypatch.setattr(account, "_client", lambda name: Parameters() if name == "ssm" else made(name))
    assert account.plan(gpu="l4", workers=1).image == "ami-newest"
    assert asked == [{"Name": IMAGE}]


def test_what_it_costs_at_most_is_said(plan):
    """Workers at their list price, the head, and nine disks."""
    dollars = 8 * (1.21 + 0.011) + 0.19 + 0.011
    assert dollars == pytest.approx(9.969)
    assert "at most 9.97 $ an hour" in plan.describe()
    assert "198.51.100.7 alone" in plan.describe()


@pytest.mark.parametrize(("quota", "warned"), [(0.0, True), (63.0, True), (64.0, False), (None, False)])
def test_too_small_a_quota_is_said_with_the_number_to_ask_for(plan, quota, warned):
    """Eight workers of eight vCPUs need 64."""
    said = replace(plan, quota=quota).describe()
    assert ("8 workers need 64 vCPUs" in said and "ask for 64" in said) == warned


def test_the_quota_is_found_by_its_name(account, monkeypatch):
    """Codes are of one partition of AWS; names are those of the console. A refusal only loses the warning."""
    pages = [
        {"Quotas": [{"QuotaName": "Running On-Demand G and VT instances", "Value": 768.0}]},
        {"Quotas": [{"QuotaName": "All G and VT Spot Instance Requests", "Value": 16.0}]},
    ]

    class Quotas:
        def get_paginator(self, _):
            return self

        def paginate(self, **words):
            assert words == {"ServiceCode": "ec2"}
            return pages

    monkeypatch.setattr(Account, "_quota", FIND_QUOTA)
    made = account._client
    monkeypatch.setattr(account, "_client", lambda name: Quotas() if name == "service-quotas" else made(name))
    assert account.plan(gpu="a10g", workers=1, image="ami-1").quota == 16.0
    assert account.plan(gpu="h100", workers=1, image="ami-1").quota is None


def test_all_is_made_once(account, plan):
    """A second time changes nothing, and an address that has changed is admitted, too."""
    group = account.make(plan)
    assert account.make(plan) == group
    assert account.make(replace(plan, address="203.0.113.9")) == group
    s3, iam, ec2 = boto3.client("s3"), boto3.client("iam", "us-west-2"), boto3.client("ec2", "us-west-2")
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == [BUCKET]
    closed = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert set(closed.values()) == {True}
    profile = iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [NAME]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == [NAME]
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    admitted = {
        (rule["IpProtocol"], rule.get("FromPort"), source.get("CidrIp") or source.get("GroupId"))
        for rule in found["IpPermissions"]
        for source in (*rule["IpRanges"], *rule["UserIdGroupPairs"])
    }
    assert admitted == {
        ("tcp", 22, "198.51.100.7/32"),
        ("tcp", 22, "203.0.113.9/32"),
        ("-1", None, group),
    }


def test_a_region_that_must_not_be_named(account):
    """us-east-1 is no location constraint."""
    east = Account("us-east-1")
    east.make(east.plan(gpu="a10g", workers=1, image="ami-1"))
    assert boto3.client("s3").get_bucket_location(Bucket=f"{NAME}-123456789012-us-east-1")


@pytest.mark.parametrize("gpu", WORKERS)
def test_the_file_is_complete(account, gpu):
    """Nothing is left to fill in, the comments stay, and Ray's own schema accepts it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    plan = account.plan(gpu=gpu, workers=3, image="ami-1")
    text = plan.fill_in(SHIPPED, "sg-7")
    assert placeholders(Path("c.yaml"), text) == []
    assert len(text.splitlines()) == len(SHIPPED.splitlines())
    data = yaml.safe_load(text)
    validate_config(prepare_config(data))
    assert data["metadata"]["results"] == f"s3://{BUCKET}/sweeps"
    assert data["max_workers"] == 3
    worker, head = (data["available_node_types"][name] for name in ("gpu_spot", "head"))
    assert worker["resources"] == {"CPU": WORKERS[gpu].cpus, "GPU": 1}
    assert worker["max_workers"] == 3
    assert worker["node_config"]["InstanceType"] == WORKERS[gpu].instance
    assert head["node_config"]["InstanceType"] == "m6i.xlarge"
    for node in (worker, head):
        assert node["node_config"]["SecurityGroupIds"] == ["sg-7"]
        assert node["node_config"]["ImageId"] == "ami-1"
        assert node["node_config"]["IamInstanceProfile"] == {"Name": NAME}
    assert data["provider"]["availability_zone"].split(",")[0] == "us-west-2a"


def test_a_file_that_was_changed_is_refused(plan):
    """Before anything is made."""
    with pytest.raises(ClusterError, match=r"has no 'sg-REPLACE' to fill in; take the file as it is shipped"):
        plan.fill_in(SHIPPED.replace("sg-REPLACE", "sg-1"), "sg-7")


def test_machines_may_do_what_they_need_and_no_more(account, plan):
    """By moto's IAM: they start machines and use their bucket; no other bucket, no user, no other role."""
    group = account.make(plan)
    boto3.client("s3").create_bucket(
        Bucket="somebody-elses", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    iam = boto3.client("iam", "us-west-2")
    policy = json.dumps(iam.get_role_policy(RoleName=NAME, PolicyName=NAME)["PolicyDocument"])
    assert json.loads(policy) == json.loads(plan.policy())
    iam.create_user(UserName="machine")
    iam.put_user_policy(UserName="machine", PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName="machine")["AccessKey"]
    keys = {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
        "region_name": "us-west-2",
    }
    s3, ec2, users = (boto3.client(name, **keys) for name in ("s3", "ec2", "iam"))

    @moto.core.set_initial_no_auth_action_count(0)
    def act():
        one = ec2.run_instances(ImageId=plan.image, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
        (machine,) = [i["InstanceId"] for i in one["Instances"]]
        ec2.create_tags(Resources=[machine], Tags=[{"Key": "a", "Value": "b"}])
        ec2.describe_instances()
        ec2.describe_instance_types()
        ec2.describe_images()
        ec2.stop_instances(InstanceIds=[machine])
        ec2.start_instances(InstanceIds=[machine])
        ec2.terminate_instances(InstanceIds=[machine])
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"1")
        s3.get_object(Bucket=BUCKET, Key="a")
        s3.list_objects_v2(Bucket=BUCKET)
        s3.delete_object(Bucket=BUCKET, Key="a")
        for refused in (
            lambda: s3.put_object(Bucket="somebody-elses", Key="a", Body=b"1"),
            lambda: s3.list_objects_v2(Bucket="somebody-elses"),
            lambda: s3.delete_bucket(Bucket=BUCKET),
            lambda: users.create_user(UserName="x"),
            lambda: users.put_role_policy(RoleName=NAME, PolicyName="p", PolicyDocument="{}"),
            lambda: ec2.delete_security_group(GroupId=group),
        ):
            with pytest.raises(Exception, match=r"AccessDenied|UnauthorizedOperation|not authorized"):
                refused()

    act()
    (passed,) = [s for s in json.loads(policy)["Statement"] if s["Action"] == "iam:PassRole"]
    assert passed["Resource"] == f"arn:aws:iam::123456789012:role/{NAME}"


def test_all_is_taken_back_but_the_bucket(account, plan):
    """What is gone is said once; the bucket goes with its objects only by itself."""
    account.make(plan)
    s3 = boto3.client("s3")
    for key in ("sweeps/a", "sweeps/b"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    assert [gone.partition(" sg-")[0] for gone in account.take_back()] == [
        "security group",
        "profile mopoe-sweep",
        "role mopoe-sweep",
    ]
    assert account.take_back() == []
    assert len(s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 2
    assert account.delete_bucket(BUCKET) == 2
    assert s3.list_buckets()["Buckets"] == []


def test_bad_input_is_one_sentence(account, tmp_path, monkeypatch):
    """An unknown GPU, a file of somebody else's, and what AWS says."""
    with pytest.raises(ConfigError, match="there is no worker with a GPU 'v100'; possible: a10g, l4, h100"):
        account.plan(gpu="v100", workers=1)
    (tmp_path / "c.yaml").write_text("provider: {type: local}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml is not a file that `sweep cluster create` has written"):
        made_for(tmp_path / "c.yaml")
    with pytest.raises(ClusterError, match=r"^AWS refuses: .*NoSuchBucket"):
        account.delete_bucket("none")
    monkeypatch.setattr(aws, "urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(ClusterError, match=r"this machine's address cannot be found by .*: no route"):
        account.plan(gpu="a10g", workers=1, image="ami-1")


def test_a_cluster_is_created_and_destroyed_by_commands(account, sweep, tmp_path, monkeypatch):
    """The file goes to the output, the rest to the error output; nothing happens without a yes."""
    monkeypatch.chdir(ROOT)
    words = ("cluster", "create", "--workers", "2", "--image", "ami-12c6146b")
    status, out, err = sweep(*words)
    assert (status, out) == (2, "")
    assert "nobody can be asked here; give --yes" in err
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    status, out, err = sweep(*words, "--yes")
    assert status == 0
    assert "at most 2 spot workers g5.2xlarge" in err
    file = tmp_path / "mine.yaml"
    file.write_text(out)
    assert read_cluster(file).results == f"s3://{BUCKET}/sweeps"
    assert made_for(file) == ("mopoe-sweep", "us-west-2", BUCKET)

    ec2 = boto3.client("ec2", "us-west-2")
    tags = [{"Key": "ray-cluster-name", "Value": "mopoe-sweep"}]
    spec = [{"ResourceType": "instance", "Tags": tags}]
    one = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=spec)
    status, _, err = sweep("cluster", "destroy", file, "--yes")
    assert status == 2
    assert f"first: ray down -y {file}" in err
    ec2.terminate_instances(InstanceIds=[i["InstanceId"] for i in one["Instances"]])
    status, out, err = sweep("cluster", "destroy", file, "--with-results", "--yes")
    assert (status, out) == (2, "")
    assert f"nothing is deleted: the name of bucket {BUCKET} was not typed" in err
    status, out, _ = sweep("cluster", "destroy", file, "--yes")
    assert status == 0
    assert "deleted: role mopoe-sweep\n" in out
    assert out.endswith(f"kept: bucket {BUCKET}\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: BUCKET)
    status, out, _ = sweep("cluster", "destroy", file, "--with-results", "--yes")
    assert (status, out) == (0, f"deleted: bucket {BUCKET} with 0 objects\n")


def test_outside_of_the_projects_folder_nothing_is_made(account, sweep, tmp_path, monkeypatch):
    """The file would not work there."""
    monkeypatch.chdir(tmp_path)
    status, _, err = sweep("cluster", "create", "--yes")
    assert status == 2
    assert "there is no cluster.yaml here; call this in the project's folder" in err
