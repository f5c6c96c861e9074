"""Results are brought down from an object store, or from a cluster's shared folder."""

import socket
import sys

import pytest

from sweep.cluster import fetch as module
from sweep.cluster.fetch import fetch
from sweep.errors import ClusterError, StoreError


@pytest.fixture
def bucket(monkeypatch):
    """Give a client of a made-up S3 with one bucket."""
    server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    made.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    made.stop()


@pytest.mark.filterwarnings("ignore")  # botocore's and werkzeug's own
def test_an_address_is_copied_and_only_what_may_differ_again(bucket, tmp_path):
    """A table file of the same size is as it was; the manifest and weights are written anew."""
    content = {
        "sweeps/x/sweep.json": b"{}",
        "sweeps/x/trials/a.parquet": b"1234",
        "sweeps/x/checkpoints/t0.safetensors": b"w1",
        "sweeps/x/.ray/state": b"no",
        "sweeps/y/sweep.json": b"another",
    }
    for key, body in content.items():
        bucket.put_object(Bucket="bucket", Key=key, Body=body)
    assert fetch("s3://bucket/sweeps/x", tmp_path, None) == 3
    assert (tmp_path / "checkpoints" / "t0.safetensors").read_bytes() == b"w1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "sweep.json", "trials"]
    (tmp_path / "trials" / "a.parquet").write_bytes(b"same")
    bucket.put_object(Bucket="bucket", Key="sweeps/x/checkpoints/t0.safetensors", Body=b"w2")
    bucket.put_object(Bucket="bucket", Key="sweeps/x/trials/b.parquet", Body=b"5678")
    assert fetch("s3://bucket/sweeps/x/", tmp_path, None) == 4
    assert (tmp_path / "checkpoints" / "t0.safetensors").read_bytes() == b"w2"
    assert (tmp_path / "trials" / "a.parquet").read_bytes() == b"same"
    with pytest.raises(StoreError, match=r"^s3://bucket/none cannot be read: "):
        fetch("s3://bucket/none", tmp_path / "none", None)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"^cannot write .*/file/"):
        fetch("s3://bucket/sweeps/x", tmp_path / "file", None)


@pytest.mark.filterwarnings("ignore")  # botocore's and werkzeug's own
def test_a_compaction_beside_it_loses_nothing(bucket, tmp_path, monkeypatch):
    """Files that go away between the listing and the copying are brought as what they became."""
    for key in ("sweep.json", "trials/a.parquet", "trials/b.parquet"):
        bucket.put_object(Bucket="bucket", Key=f"x/{key}", Body=b"1234")
    copied = module._copied
    hurry = ["a", "b"]

    def slow(source, name, size, target):
        while hurry and name != "sweep.json":
            bucket.put_object(Bucket="bucket", Key="x/trials/compact-1.parquet", Body=b"12345678")
            bucket.delete_object(Bucket="bucket", Key=f"x/trials/{hurry.pop()}.parquet")
        return copied(source, name, size, target)

    monkeypatch.setattr(module, "_copied", slow)
    assert fetch("s3://bucket/x", tmp_path, None) == 2
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["compact-1.parquet"]
    assert not hurry


COPY = """
import shutil, sys
assert sys.argv[1:3] == ["rsync-down", "c.yaml"], sys.argv
if "gone" in sys.argv[3]:
    print("no such folder", file=sys.stderr)
    sys.exit(23)
shutil.copytree(sys.argv[3], sys.argv[4], dirs_exist_ok=True)
"""


def test_a_shared_folder_comes_through_the_head(monkeypatch, tmp_path):
    """By `ray rsync-down`, here played by a copy; its last line is the reason of a failure."""
    monkeypatch.setattr(module, "ray_command", lambda *words: [sys.executable, "-c", COPY, *words])
    there = tmp_path / "shared"
    there.mkdir()
    (there / "a").write_text("")
    with pytest.raises(StoreError, match=r"is not a results folder: it holds no sweep\.json; 1 files"):
        fetch(str(there), tmp_path / "here", "c.yaml")
    (there / "sweep.json").write_text("{}")
    assert fetch(str(there), tmp_path / "here", "c.yaml") == 2
    with pytest.raises(ClusterError, match=r"^/gone cannot be fetched from c\.yaml: no such folder$"):
        fetch("/gone", tmp_path / "gone", "c.yaml")


def test_a_folder_needs_its_cluster(tmp_path):
    """Else it would be a folder of this machine."""
    with pytest.raises(ClusterError, match=r"^/mnt/x is a folder; to fetch it from"):
        fetch("/mnt/x", tmp_path, None)
