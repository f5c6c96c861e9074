"""What the doctor finds, from made-up facts."""

from dataclasses import replace

import pytest

from sweep.cluster.doctor import NodeFacts, described, findings

HEAD = NodeFacts(
    host="head",
    versions=(("python", "3.11.7"), ("ray", "2.60.0"), ("torch", "2.13.0")),
    threads=4,
    gpus=0,
    device="",
    works=True,
    free_disk=50 * 2**30,
    fingerprint="abc",
    token=True,
)
WORKER = replace(HEAD, host="w1", gpus=1, ray_gpus=1.0, device="A10G")


def test_a_sound_cluster_has_no_findings():
    """A head without a GPU beside a worker with one is as it should be."""
    assert findings([HEAD, WORKER, replace(WORKER, host="w2", skew=4.0)], "s3://b/r") == []


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
            {"results": "no such folder"},
            True,
            "w1 cannot use the results folder /r (no such folder)",
            "choose a folder that all machines share, or s3://BUCKET/FOLDER that it may read, write and list",
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
            "w1 has other data than head (xyz, abc)",
            "copy the same files there and delete what is cached",
        ),
        (
            {"works": False, "device": "no kernel image"},
            True,
            "w1 has a GPU that torch cannot use (no kernel image)",
            "match driver and torch build",
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
            "w1 asks for no token, so that whoever reaches it can run code there",
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
            "w1 has 1.0 GiB free for data",
            "clear some, or set MOPOE_CACHE",
        ),
    ],
)
def test_each_fault_is_one_sentence_with_its_remedy(change, fatal, what, remedy):
    """One thing is wrong with one worker, and that is all that is found."""
    (found,) = findings([HEAD, replace(WORKER, **change)], "/r")
    assert (found.text, found.fatal) == (f"{what}; {remedy}", fatal)


def test_a_machine_that_does_not_answer_is_fatal():
    """It may be full, gone, or without the project."""
    (found,) = findings([HEAD], silent=["w9 (No module named 'sweep')"])
    assert found.fatal
    assert found.text.startswith("w9 (No module named 'sweep') does not answer; see `ray status`")


def test_one_machine_alone_needs_no_token():
    """Ray on a laptop listens to the laptop."""
    assert findings([replace(HEAD, token=False)]) == []


def test_a_machine_is_one_line():
    """Cores, GPUs, disk, versions and data."""
    assert described(WORKER) == (
        "w1: 4 cores, 1 x A10G, 50 GiB free, python 3.11.7, ray 2.60.0, torch 2.13.0, data abc"
    )
