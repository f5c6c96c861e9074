"""A fake EC2, IAM and S3 whose instances are machines of the rack.

moto's server answers the API; a thread powers a machine on at the private address of every instance that is
launched, and off when it is terminated.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from cluster.rack import Rack
from metadata_service import Metadata, metadata_at
from moto.ec2.responses.instances import InstanceResponse
from moto.server import ThreadedMotoServer

PORT = 5000
METADATA_PORT = 5001
REGION = "us-west-2"


class Cloud:
    """The account, and the instances with their machines."""

    def __init__(self, rack: Rack, metadata: Metadata) -> None:
        """Make an account on the rack's own address: a key pair, a role for machines, a group, a bucket."""
        self._rack = rack
        self._metadata = metadata
        self._stop = threading.Event()
        self.ec2 = boto3.client("ec2")
        self.s3 = boto3.client("s3")
        self.image = self.ec2.describe_images()["Images"][0]["ImageId"]
        self.ec2.import_key_pair(KeyName="rack", PublicKeyMaterial=Path(f"{rack.key}.pub").read_bytes())
        made = self.ec2.create_security_group(GroupName="rack", Description="ssh from here, all inside")
        self.group = made["GroupId"]
        iam = boto3.client("iam")
        for name in ("mopoe-sweep", "ray-autoscaler-v1"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        self.s3.create_bucket(Bucket="results", CreateBucketConfiguration={"LocationConstraint": REGION})

    def instances(self, **wanted: str) -> list[dict[str, Any]]:
        """Return the instances that are not terminated and have these values."""
        found = [i for r in self.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        there = [i for i in found if i["State"]["Name"] in ("pending", "running")]
        return [i for i in there if all(i.get(name) == value for name, value in wanted.items())]

    def spot(self) -> list[dict[str, Any]]:
        """Return the spot instances."""
        return self.instances(InstanceLifecycle="spot")

    def warn(self, instance: dict[str, Any]) -> None:
        """Give an instance notice that it is taken away."""
        self._metadata.warned.add(instance["PrivateIpAddress"])

    def reclaim(self, instance: dict[str, Any]) -> None:
        """Take an instance away, as EC2 does when it needs the capacity."""
        self.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])

    def run(self) -> None:
        """Keep the machines as the instances are, until told to stop."""
        while not self._stop.wait(1):
            addresses = {i["PrivateIpAddress"] for i in self.instances()}
            powered = {a for a, machine in self._rack.machines.items() if machine.process}
            for address in addresses - powered:
                self._rack.on(address)
            for address in powered - addresses:
                self._rack.off(address)

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()


def environment(address: str) -> dict[str, str]:
    """Return the variables by which everybody finds the fake instead of AWS."""
    return {
        "AWS_ENDPOINT_URL": f"http://{address}:{PORT}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{address}:{METADATA_PORT}",
    }


@contextmanager
def cloud_on(rack: Rack) -> Iterator[Cloud]:
    """Give a cloud at the rack's own address; the environment must lead there."""
    asked = InstanceResponse._get_param

    def param(self: Any, name: str, *more: Any, **options: Any) -> Any:
        # EC2 launches up to MaxCount instances where it can; moto launches MinCount, and Ray asks for 1 to n.
        return asked(self, "MaxCount" if name == "MinCount" else name, *more, **options)

    InstanceResponse._get_param = param
    server = ThreadedMotoServer(ip_address=str(rack.gateway.ip), port=PORT, verbose=False)
    server.start()
    with metadata_at(str(rack.gateway.ip), METADATA_PORT) as metadata:
        cloud = Cloud(rack, metadata)
        hypervisor = threading.Thread(target=cloud.run)
        hypervisor.start()
        try:
            yield cloud
        finally:
            cloud.stop()
            hypervisor.join()
            server.stop()
            InstanceResponse._get_param = asked
