"""`sweep add` and `sweep stop DIR --trial T`: what they say and write."""

import os
import socket

import pytest

from sweep.store.files import files_at
from sweep.store.lease import driving
from sweep.store.requests import waiting


@pytest.fixture
def root(tmp_path, make_planned, make_planned_record):
    """Give the folder of a sweep with a trial that runs."""
    spec, writer = make_planned(tmp_path / "r")
    writer.write_trial(make_planned_record(spec, 0))
    return tmp_path / "r"


def test_who_carries_it_out_is_told(sweep, root):
    """The driver, or how one begins; `sweep status` counts what waits."""
    weights = "subset_weights [0.2, 0.2, 0.2, 0.2, 0.2]"
    nobody = "no driver runs this sweep now; the next one will begin it as soon as a place is free"
    told = f"queued: beta 2.0, {weights}\n{nobody}: sweep resume {root}\n"
    assert sweep("add", root, "--set", "beta=2") == (0, told, "")
    assert "trials       6: " in sweep("status", root)[1]
    with driving(files_at(root)):
        driver = f"process {os.getpid()} on {socket.gethostname()}, which runs this sweep, will"
        ending = f"{driver} end t0000 at its next evaluation or checkpoint\n"
        assert sweep("stop", root, "--trial", "t0000") == (0, ending, "")
    assert [request.kind for request in waiting(files_at(root)).values()] == ["add", "stop"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["add", "nowhere", "--set", "beta=2"], "there is no results folder "),
        (["stop", "nowhere", "--trial", "t0000"], "there is no results folder "),
        (["add", "{root}", "--set", "bta=2"], "bta is not searched by this sweep"),
        (
            ["stop", "{root}", "--trial", "t0"],
            "there is no trial 't0'; possible: t0000",
        ),
        (["stop", "x", "--trial", "t0", "--cluster", "c.yaml"], "--trial takes a results folder, and no"),
    ],
)
def test_what_cannot_be_is_a_sentence(sweep, root, tmp_path, monkeypatch, words, why):
    """And the exit status is 2."""
    monkeypatch.chdir(tmp_path)
    status, out, err = sweep(*(word.format(root=root) for word in words))
    assert (status, out) == (2, "")
    assert err.startswith(f"sweep: {why}")
    assert waiting(files_at(root)) == {}
