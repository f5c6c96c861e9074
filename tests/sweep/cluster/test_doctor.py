"""What is wrong with made-up machines, and with the nodes of a Ray cluster on this one."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from sweep.cluster.doctor import description, findings
from sweep.cluster.node_info import NodeInfo

HEAD = NodeInfo(
    host="head",
    versions=(("python", "3.11.7"), ("ray", "2.60.0"), ("torch", "2.13.0")),
    threads=4,
    gpus=0,
    device="",
    gpu_works=True,
    free_disk=50 * 2**30,
    fingerprint="abc",
    token=True,
)
WORKER = replace(HEAD, host="w1", gpus=1, ray_gpus=1.0, device="A10G")


def test_a_sound_cluster_has_no_findings():
    """A head without a GPU beside a worker with one is as it should be."""
    assert findings([HEAD, WORKER, replace(WORKER, host="w2", skew=4.0)], "s3://b/r") == ([], [])


@pytest.mark.parametrize(
    ("change", "fatal", "what", "remedy"),
    [
        (
            {"versions": (("python", "3.11.7"), ("ray", "2.59.1"), ("torch", "2.13.0"))},
            True,
            "w1 has ray 2.59.1, but head has 2.60.0",
            "install the same on all machines (set-up commands of the cluster's file, then `ray up` again)",
        ),
        (
            {"results_error": "no such folder"},
            True,
            "w1 cannot use the results folder /r (no such folder)",
            (
                "choose a folder that all machines share, or s3://BUCKET/FOLDER with permission to read, "
                "write and list"
            ),
        ),
        (
            {"fingerprint": None, "data_error": "there is no folder /d"},
            True,
            "w1 has no data set: there is no folder /d",
            "put it at the same path on all machines",
        ),
        (
            {"fingerprint": "xyz"},
            True,
            "w1 and head have different data (xyz, abc)",
            "copy the same files to both and delete the cached ones",
        ),
        (
            {"gpu_works": False, "device": "no kernel image"},
            True,
            "w1 has a GPU that torch cannot use (no kernel image)",
            "install a driver and a build of torch that match",
        ),
        (
            {"gpus": 0, "device": ""},
            True,
            "w1 offers 1 GPUs to Ray, but torch sees 0",
            "install the driver and a CUDA build of torch, or start Ray there with --num-gpus=0",
        ),
        (
            {"token": False},
            False,
            "w1 requires no token, so anyone who reaches it can run code there",
            "set RAY_AUTH_MODE=token before `ray start` on all machines",
        ),
        (
            {"ports": (22, 8265)},
            False,
            "the dashboard of w1 listens on all its addresses",
            "start the head with --dashboard-host=127.0.0.1",
        ),
        (
            {"skew": -61.4},
            False,
            "the clock of w1 is 61 s behind",
            "set it by NTP (timedatectl set-ntp true)",
        ),
        (
            {"free_disk": 2**30},
            False,
            "w1 has only 1.0 GiB free for data",
            "free some space, or set MOPOE_CACHE",
        ),
    ],
)
def test_each_fault_is_one_sentence_with_its_remedy(change, fatal, what, remedy):
    """One thing is wrong with one worker, and that is all that is found."""
    sentence = [f"{what}; {remedy}"]
    assert findings([HEAD, replace(WORKER, **change)], "/r") == ((sentence, []) if fatal else ([], sentence))


def test_a_machine_that_does_not_answer_is_fatal():
    """It may be full, gone, or without the project."""
    (error,), warnings = findings([HEAD], silent=["w9 (No module named 'sweep')"])
    assert warnings == []
    assert error.startswith("w9 (No module named 'sweep') does not answer; see `ray status`")


def test_one_machine_alone_needs_no_token():
    """Ray on a laptop listens to the laptop."""
    assert findings([replace(HEAD, token=False)]) == ([], [])


def test_a_machine_is_one_line():
    """Cores, GPUs, disk, versions and data."""
    assert description(WORKER) == (
        "w1: 4 cores, 1 x A10G, 50 GiB free, python 3.11.7, ray 2.60.0, torch 2.13.0, data abc"
    )


NODES = """
import json, sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from sweep.cluster.doctor import prepare, survey
from sweep.cluster.node_info import probe
from sweep.errors import ClusterError
from sweep.config.sweep_spec import load_spec

file, root = sys.argv[1:]
small = {"object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
cluster.add_node(num_cpus=1, resources={"blind": 1}, **small)
cluster.add_node(num_cpus=1, resources={"old": 1}, **small)
ray.init(cluster.address, log_to_driver=False)


def examined(query):
    # Nested in the program, so that workers get it by value.
    from dataclasses import replace

    import ray
    from sweep.cluster.node_info import probe

    mine = next(n for n in ray.nodes() if n["NodeID"] == ray.get_runtime_context().get_node_id())
    if "blind" in mine["Resources"]:
        # As if this path were a disk of its own there.
        return probe(replace(query, root=query.root + "-own"))
    if "old" in mine["Resources"]:
        raise ModuleNotFoundError("No module named 'sweep'")
    return probe(query)


def refusal(probe):
    try:
        prepare(load_spec(file), root, 2, said.append, probe)
    except ClusterError as error:
        return str(error).splitlines()


said = []
nodes, silent = survey(None, root, examined)
print(json.dumps({
    "results": [node.results_error for node in nodes],
    "skew": [node.skew for node in nodes],
    "silent": silent,
    "refusal": refusal(examined),
    "sound": refusal(probe),
    "said": said,
    "left": [str(p) for p in Path(root).rglob("*")],
}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
def test_a_machine_that_cannot_see_the_results_or_does_not_answer_is_refused(sweep_file, tmp_path):
    """The head, without a CPU, answers too; nothing is left in the folder; sound machines may begin."""
    done = subprocess.run(
        [sys.executable, "-c", NODES, str(sweep_file), str(tmp_path / "r")],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    unseen = "a file that the driver has just written there is missing"
    assert found["results"] == [None, unseen]
    assert found["skew"] == [0.0, 0.0]
    (silent,) = found["silent"]
    assert silent.endswith("(ModuleNotFoundError: No module named 'sweep')")
    first, second = found["refusal"]
    assert "does not answer; see `ray status`" in first
    assert (
        f"cannot use the results folder {tmp_path / 'r'} ({unseen}); choose a folder that all machines"
        in second
    )
    assert found["sound"] is None
    assert found["said"][0] == "examining 3 machines"
    assert any("requires no token" in line for line in found["said"])
    assert found["left"] == []
