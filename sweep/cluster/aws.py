"""What a cluster on AWS needs beside machines: planned, made, written into its file, and taken back.

Prices are AWS's list prices in us-west-2 as of 2026, in dollars; a spot machine costs less, never more.
"""

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from mopoe.errors import ConfigError
from search_spaces import load_yaml
from sweep.cluster.file import placeholders
from sweep.errors import ClusterError

NAME = "mopoe-sweep"
"""The name of group, role and profile."""
IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
"""The public parameter that holds the id of the newest image with NVIDIA's driver and Docker."""
_ADDRESS = "https://checkip.amazonaws.com"
"""Answers with the address that it is asked from."""
_HEAD_DOLLARS = 0.19
"""Dollars an hour for the head, an m6i.xlarge."""
_DISK_DOLLARS = 0.011
"""Dollars an hour for a machine's disk of 100 GB."""
_HEAD_ACTIONS = [
    *("RunInstances", "TerminateInstances", "StartInstances", "StopInstances", "CreateTags"),
    *("DescribeInstances", "DescribeInstanceTypes", "DescribeImages"),
]
"""What Ray's head does with machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A kind of worker machine."""

    instance: str
    """Its instance type, with one GPU."""
    cpus: int
    """Its vCPUs."""
    dollars: float
    """Its price for an hour on demand."""
    family: str
    """How the name of its quota for spot machines begins."""


WORKERS = {
    "a10g": Worker(instance="g5.2xlarge", cpus=8, dollars=1.21, family="All G "),
    "l4": Worker(instance="g6.2xlarge", cpus=8, dollars=0.98, family="All G "),
    "h100": Worker(instance="p5.4xlarge", cpus=16, dollars=6.88, family="All P5 "),
}
"""The kinds of worker by their GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made, and what the cluster's file will say."""

    region: str
    """The region."""
    zones: tuple[str, ...]
    """Its availability zones."""
    account: str
    """The account's number."""
    address: str
    """The IPv4 address from which ssh is admitted."""
    image: str
    """The machines' image."""
    worker: Worker
    """The kind of worker."""
    workers: int
    """Most workers at once."""
    quota: float | None
    """vCPUs of such spot machines that the account may have at once; None if AWS does not tell."""

    @property
    def bucket(self) -> str:
        """The bucket of the results."""
        return f"{NAME}-{self.account}-{self.region}"

    def describe(self) -> str:
        """Say what is made, and what the cluster costs at most."""
        hourly = self.workers * (self.worker.dollars + _DISK_DOLLARS) + _HEAD_DOLLARS + _DISK_DOLLARS
        lines = [
            f"account {self.account}, {self.region}; made if missing, all without cost:",
            f"  bucket          {self.bucket} (private; only what it holds costs)",
            f"  security group  {NAME}: ssh from {self.address} alone, all from itself",
            f"  role, profile   {NAME}: starts and ends machines, hands on this role alone, uses this bucket",
            f"in the file: image {self.image}, at most {self.workers} spot workers {self.worker.instance}",
            f"a running cluster costs at most {hourly:.2f} $ an hour (list prices of us-west-2 on demand)",
        ]
        wanted = self.workers * self.worker.cpus
        if self.quota is not None and self.quota < wanted:
            lines.append(
                f"warning: {self.workers} workers need {wanted} vCPUs, but the account's quota "
                f"'{self.worker.family}... Spot Instance Requests' is {self.quota:g}; ask for {wanted} under "
                "Service Quotas, Amazon EC2"
            )
        return "\n".join(lines)

    def fill_in(self, text: str, group: str) -> str:
        """Return the shipped cluster file with this plan's values in place of its placeholders.

        Raises:
            ClusterError: it is not the shipped file, or not as it was.
        """
        shipped = WORKERS["a10g"]
        for old, new in {
            "s3://REPLACE/sweeps": f"s3://{self.bucket}/sweeps",
            "us-west-2a,us-west-2b,us-west-2c": ",".join(self.zones),
            "region: us-west-2": f"region: {self.region}",
            "ami-REPLACE": self.image,
            "sg-REPLACE": group,
            "{ Name: REPLACE }": f"{{ Name: {NAME} }}",
            "max_workers: 8": f"max_workers: {self.workers}",
            f"CPU: {shipped.cpus}, GPU": f"CPU: {self.worker.cpus}, GPU",
            f"InstanceType: {shipped.instance}": f"InstanceType: {self.worker.instance}",
        }.items():
            if old not in text:
                raise ClusterError(f"cluster.yaml has no {old!r} to fill in; take the file as it is shipped")
            text = text.replace(old, new)
        if left := placeholders(Path("cluster.yaml"), text):
            raise ClusterError(left[0])
        return text

    def policy(self) -> str:
        """Return what the machines may do, as an IAM policy."""
        bucket = f"arn:aws:s3:::{self.bucket}"
        role = f"arn:aws:iam::{self.account}:role/{NAME}"
        objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        statements: list[dict[str, object]] = [
            {"Action": [f"ec2:{action}" for action in _HEAD_ACTIONS], "Resource": "*"},
            {"Action": "iam:PassRole", "Resource": role},
            {"Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": bucket},
            {"Action": objects, "Resource": f"{bucket}/*"},
        ]
        return json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"} | s for s in statements]}
        )


class Account:
    """The AWS account whose credentials boto3 finds; every method raises ClusterError if AWS refuses."""

    def __init__(self, region: str) -> None:
        """Connect to a region.

        Raises:
            ClusterError: boto3 is missing.
        """
        try:
            import boto3
        except ImportError as error:
            install = "pip install 'mopoe-sweep[cluster]'"
            raise ClusterError(f"AWS needs a further package; install it with: {install}") from error
        self.region = region
        self._client = functools.cache(functools.partial(boto3.client, region_name=region))

    def plan(self, *, gpu: str, workers: int, image: str | None = None) -> Plan:
        """Find out what a cluster needs; make nothing."""
        if gpu not in WORKERS:
            raise ConfigError(f"there is no worker with a GPU {gpu!r}; possible: {', '.join(WORKERS)}")
        worker = WORKERS[gpu]
        with _refusals():
            zones = self._client("ec2").describe_availability_zones(
                Filters=[
                    {"Name": "state", "Values": ["available"]},
                    {"Name": "zone-type", "Values": ["availability-zone"]},
                ]
            )["AvailabilityZones"]
            return Plan(
                region=self.region,
                zones=tuple(zone["ZoneName"] for zone in zones),
                account=self._client("sts").get_caller_identity()["Account"],
                address=_own_address(),
                image=image or self._client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"],
                worker=worker,
                workers=workers,
                quota=self._quota(worker.family),
            )

    def make(self, plan: Plan) -> str:
        """Make what a plan says and is missing; return the id of the security group."""
        with _refusals():
            self._make_bucket(plan.bucket)
            self._make_role(plan)
            return self._make_group(plan.address)

    def running(self, cluster_name: str) -> list[str]:
        """Return the ids of a cluster's machines that are not terminated."""
        with _refusals():
            pages = self._client("ec2").get_paginator("describe_instances")
            found = pages.paginate(
                Filters=[
                    {"Name": "tag:ray-cluster-name", "Values": [cluster_name]},
                    {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
                ]
            )
            return [i["InstanceId"] for page in found for r in page["Reservations"] for i in r["Instances"]]

    def take_back(self) -> list[str]:
        """Delete group, profile and role where they exist; return what was deleted."""
        iam, ec2, gone = self._client("iam"), self._client("ec2"), []
        names = {"RoleName": NAME, "InstanceProfileName": NAME}
        with _refusals():
            for group in self._groups():
                ec2.delete_security_group(GroupId=group)
                gone.append(f"security group {group}")
            with _unless("NoSuchEntity"):
                iam.remove_role_from_instance_profile(**names)
            with _unless("NoSuchEntity"):
                iam.delete_instance_profile(InstanceProfileName=NAME)
                gone.append(f"profile {NAME}")
            with _unless("NoSuchEntity"):
                iam.delete_role_policy(RoleName=NAME, PolicyName=NAME)
            with _unless("NoSuchEntity"):
                iam.delete_role(RoleName=NAME)
                gone.append(f"role {NAME}")
        return gone

    def delete_bucket(self, bucket: str) -> int:
        """Delete a bucket with all that it holds; return the number of objects."""
        s3, n = self._client("s3"), 0
        with _refusals():
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                keys = [{"Key": found["Key"]} for found in page.get("Contents", [])]
                n += len(keys)
                if keys:
                    s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
            s3.delete_bucket(Bucket=bucket)
        return n

    def _quota(self, family: str) -> float | None:
        with contextlib.suppress(ClusterError), _refusals():
            pages = self._client("service-quotas").get_paginator("list_service_quotas")
            for page in pages.paginate(ServiceCode="ec2"):
                for quota in page["Quotas"]:
                    name = quota["QuotaName"]
                    if name.startswith(family) and name.endswith("Spot Instance Requests"):
                        return float(quota["Value"])
        return None

    def _make_bucket(self, bucket: str) -> None:
        s3 = self._client("s3")
        # The oldest region must not be named.
        place = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        with _unless("BucketAlreadyOwnedByYou"):
            s3.create_bucket(Bucket=bucket, **({} if self.region == "us-east-1" else place))
        closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(closed, True))

    def _make_role(self, plan: Plan) -> None:
        iam = self._client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        with _unless("EntityAlreadyExists"):
            iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=document)
        iam.put_role_policy(RoleName=NAME, PolicyName=NAME, PolicyDocument=plan.policy())
        with _unless("EntityAlreadyExists"):
            iam.create_instance_profile(InstanceProfileName=NAME)
        with _unless("LimitExceeded"):  # it has its role already
            iam.add_role_to_instance_profile(InstanceProfileName=NAME, RoleName=NAME)
        # An account's first spot machine needs the role of EC2's own spot service.
        with _unless("InvalidInput", "EntityAlreadyExists"):
            iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")

    def _make_group(self, address: str) -> str:
        ec2 = self._client("ec2")
        there, what = self._groups(), "ssh from one address, all from inside"
        group = there[0] if there else ec2.create_security_group(GroupName=NAME, Description=what)["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": f"{address}/32"}]}
        for rule in (ssh, {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}):
            with _unless("InvalidPermission.Duplicate"):
                ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        return str(group)

    def _groups(self) -> list[str]:
        """Return the ids of the groups of our name, of which a region's default network has one at most."""
        ec2 = self._client("ec2")
        default = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not default:
            raise ClusterError(
                f"{self.region} has no default network (VPC); make one, or take another region"
            )
        named = [
            {"Name": "group-name", "Values": [NAME]},
            {"Name": "vpc-id", "Values": [default[0]["VpcId"]]},
        ]
        return [g["GroupId"] for g in ec2.describe_security_groups(Filters=named)["SecurityGroups"]]


def made_for(path: Path) -> tuple[str, str, str]:
    """Return the cluster's name, region and bucket from a file that `fill_in` has made.

    Raises:
        ConfigError: the file is none for AWS.
    """
    data = load_yaml(path).data
    provider, results = data.get("provider") or {}, (data.get("metadata") or {}).get("results") or ""
    bucket = results.removeprefix("s3://").partition("/")[0]
    if provider.get("type") != "aws" or not bucket.startswith(f"{NAME}-"):
        raise ConfigError(f"{path} is not a file that `sweep cluster create` has written")
    return str(data.get("cluster_name")), str(provider.get("region")), bucket


def _own_address() -> str:
    try:
        with urlopen(_ADDRESS, timeout=10) as answer:
            return str(answer.read().decode().strip())
    except OSError as error:
        raise ClusterError(f"this machine's address cannot be found by {_ADDRESS}: {error}") from error


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Raise what AWS or boto3 says as an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ClusterError(f"AWS refuses: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def _unless(*codes: str) -> Iterator[None]:
    """Pass over errors of these codes."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in codes:
            raise
