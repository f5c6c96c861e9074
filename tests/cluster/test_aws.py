"""Provider `aws`, against a fake EC2, IAM and S3 on the rack's own bridge."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import polars as pl
import yaml
from cluster.checks import all_trials_completed, completed, nodes_from_inside, secrets_are_kept
from cluster.cloud import cloud_on, environment
from cluster.laptop import IMAGE, ROOT, SEEN, SWEEP
from cluster.rack import SHARED, Rack, until

from mopoe.checkpoint import read_progress
from sweep.store.files import files_at
from sweep.store.read import open_store

EPOCHS = yaml.safe_load((ROOT / SWEEP).read_text(encoding="utf-8"))["fixed"]["epochs"]
GATEWAY = "172.31.255.1"  # within moto's default network
RESULTS = "s3://results/sweeps"


def saved_early(results):
    """Return a trial with a checkpoint before its end, and its epoch: on S3 only a notice makes one."""
    files = files_at(results)
    for name in files.list("checkpoints"):
        with files.on_disk(name) as (path, _):
            if path.exists() and (epoch := read_progress(path).epoch) < EPOCHS:
                return Path(name).stem, epoch
    return None


def went_on(results, trial, saved, lost):
    """Check that a trial ended on another machine than that, and trained no epoch again that was saved."""
    last = open_store(results).latest_trials().filter(trial_id=trial).collect()
    assert last["host"].item() != lost
    files = pl.read_parquet(results / "epochs" / "*.parquet").filter(pl.col("trial_id") == trial)
    assert sorted(files.filter(pl.col("epoch") <= saved)["epoch"]) == list(range(1, saved + 1))


def test_a_sweep_outlives_a_reclaim(laptop, monkeypatch):
    """From no worker to two, one reclaimed and replaced, results on S3, and in the end no instance left."""
    for name, value in environment(GATEWAY).items():
        monkeypatch.setenv(name, value)
        laptop.environment[name] = value
    variables = IMAGE | environment(GATEWAY)
    with Rack(SHARED.parent / "rack", f"{GATEWAY}/16", SEEN, variables) as rack, cloud_on(rack) as cloud:
        laptop.say("a cloud")
        image = {"ImageId": cloud.image, "KeyName": "rack"}
        node = image | {"SecurityGroupIds": [cloud.group], "IamInstanceProfile": {"Name": "mopoe-sweep"}}
        file = laptop.cluster_file(
            "cluster.yaml",
            metadata__results=RESULTS,
            max_workers=2,
            idle_timeout_minutes=0.25,
            provider__use_internal_ips=True,
            auth__ssh_user="root",
            auth__ssh_private_key=str(rack.key),
            available_node_types__head__node_config=node,
            available_node_types__gpu_spot__resources={"CPU": 2, "GPU": 0},
            available_node_types__gpu_spot__node_config=node,
        )
        laptop.run("ray", "up", "-y", file)
        (head,) = cloud.instances()
        address = head["PrivateIpAddress"]
        nodes_from_inside(rack, address, 1)
        following = laptop.begin("sweep", "run", SWEEP, "--cluster", file)
        until("two spot workers", lambda: len(cloud.spot()) == 2)
        laptop.say("two spot workers, asked for by trials that wait")
        nodes_from_inside(rack, address, 3)
        lost = cloud.spot()[0]
        cloud.warn(lost)
        host = rack.ssh(lost["PrivateIpAddress"], "hostname").strip()
        trial, saved = until("an early checkpoint", lambda: saved_early(f"{RESULTS}/rack"))
        # At once, while almost all is still to be done: a sweep that nears its end asks for no replacement.
        cloud.reclaim(lost)
        laptop.say("one given notice, its trial saved, reclaimed in mid sweep")
        until("a replacement", lambda: len(cloud.spot()) == 2)
        assert completed(f"{RESULTS}/rack") < 6
        laptop.say("a replacement")
        nodes_from_inside(rack, address, 3)
        addresses = [i["PrivateIpAddress"] for i in cloud.instances()]
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(secrets_are_kept, rack), addresses))
        laptop.say("the token private and ports as known")
        assert {i["SecurityGroups"][0]["GroupId"] for i in cloud.instances()} == {cloud.group}
        following.end()
        laptop.say("the sweep has ended")
        fetched = laptop.home / "fetched"
        laptop.run("sweep", "fetch", f"{RESULTS}/rack", fetched)
        for results in (f"{RESULTS}/rack", fetched):
            assert "is sound" in laptop.run("sweep", "verify", results)
            all_trials_completed(results, 6)
        went_on(fetched, trial, saved, host)
        until("idle workers to be given back", lambda: not cloud.spot())
        laptop.say("idle workers given back")
        laptop.run("ray", "down", "-y", file)
        assert cloud.instances() == []
