"""A sweep under a real Slurm: over nodes, through time limits and losses, beside another job; then gone."""

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from slurm.lab import left

from sweep.store.read import open_store

SWEEP = str(Path(sys.executable).with_name("sweep"))


def submit(slurm, file, out, *more, cpus=1):
    """Submit a sweep as a job over both nodes and return its id."""
    size = ("--nodes", 2, "--cpus-per-node", cpus, "--time", "00:10:00")
    said = slurm.run(SWEEP, "slurm", file, "--out", out, *size, "--submit", *more)[1]
    return re.match(r"job (\d+)", said)[1]


def begun(out, n=1):
    """Return whether so many trials have reported an epoch."""
    return len({path.name.split("-")[0] for path in out.glob("epochs/*")}) >= n


def trains(log):
    """Return whether a job's log tells of trials that run."""
    return re.search(r"[12] running", log) is not None


def ended(slurm, job, out, seconds=240):
    """Wait for the end of a job that succeeds, and check its results and that nothing is left of it."""
    slurm.until(
        lambda: slurm.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), seconds, "end of the job"
    )
    log = Path(f"{out}.slurm-{job}.log").read_text()
    assert slurm.state(job) == "COMPLETED", log
    trials = open_store(out).latest_trials().collect()
    assert trials["status"].to_list() == ["completed"] * 2, log
    assert slurm.run(SWEEP, "verify", out)[0] == 0
    slurm.until(lambda: not left(job), 30, "clean nodes")
    return trials, log


def rehearsed(slurm, job, sweep_file, out):
    """Send a running job the signal of its time limit, and wait until it stops running."""
    said = slurm.run(SWEEP, "slurm", sweep_file, "--out", out, "--rehearse")[1]
    assert f"job {job} was sent USR2" in said
    slurm.until(lambda: slurm.state(job) != "RUNNING", 60, "stop before the limit")


def test_a_time_limit_requeues_the_job_which_goes_on_as_often_as_it_may(slurm, sweep_file, tmp_path):
    """The signal makes running trials checkpoint; the same job runs again and continues them, then no more.

    What then is submitted again and cancelled goes on, too, when it is submitted once more.
    """
    out, long = tmp_path / "out", ("-o", "fixed.epochs=80")
    job = submit(slurm, sweep_file, out, "--requeues", 1, *long)
    log = Path(f"{out}.slurm-{job}.log")
    slurm.until(lambda: begun(out, 2), 120, "trials")
    rehearsed(slurm, job, sweep_file, out)
    assert list(out.glob("checkpoints/*"))
    slurm.until(lambda: slurm.state(job) != "COMPLETING", 60, "end of the first run")
    assert "requeued (1 of at most 1 times)" in log.read_text()
    # Slurm waits two minutes before it starts a requeued job.
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.until(lambda: trains(log.read_text().partition("requeued (1")[2]), 120, "trials that go on")
    rehearsed(slurm, job, sweep_file, out)
    slurm.until(lambda: slurm.state(job) == "FAILED", 60, "end")
    assert "not requeued: it was already, 1 times" in log.read_text()
    slurm.until(lambda: not left(job), 30, "clean nodes")

    job = submit(slurm, sweep_file, out, *long)
    log = Path(f"{out}.slurm-{job}.log")
    slurm.until(lambda: log.exists() and trains(log.read_text()), 120, "trials")
    slurm.run("scancel", job)
    slurm.until(lambda: slurm.state(job) == "CANCELLED", 60, "end")
    slurm.until(lambda: not left(job), 60, "clean nodes")
    # Slurm kills what does not end in time, in the middle of a checkpoint, say.
    fine = ("is left over from an interrupted write", "is sound")
    found = slurm.run(SWEEP, "verify", out, check=False)[1].splitlines()
    assert [line for line in found if not any(text in line for text in fine)] == []

    trials, _ = ended(slurm, submit(slurm, sweep_file, out, *long), out)
    epochs = open_store(out).epochs().select("trial_id", "epoch").collect()
    assert epochs.unique().height == epochs.height == 2 * 80
    assert trials["attempt"].to_list() == [0, 0]


def test_two_jobs_of_one_user_share_nodes_and_nothing_stays(slurm, sweep_file, tmp_path):
    """Each has a Ray over both nodes, whose end does not touch the other; a stranger gets nowhere."""
    outs = [tmp_path / "one", tmp_path / "two"]
    jobs = [
        submit(slurm, sweep_file, out, *more)
        for out, more in zip(outs, ((), ("-o", "trials=1")), strict=True)
    ]
    slurm.until(lambda: all(begun(out) for out in outs), 180, "trials of both")
    port = 20000 + int(jobs[0]) % 12000
    knock = f"import ray; ray.init(address='{socket.gethostname()}:{port}')"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"HOME": str(tmp_path)}
    with suppress(subprocess.TimeoutExpired):  # Ray goes on knocking for minutes
        words = [sys.executable, "-c", knock]
        stranger = subprocess.run(words, env=environment, capture_output=True, check=False, timeout=20)
        assert stranger.returncode != 0
    trials, log = ended(slurm, jobs[0], outs[0])
    assert trials["attempt"].to_list() == [0, 0]
    assert "examining 2 machines" in log
    slurm.until(lambda: slurm.state(jobs[1]) == "COMPLETED", 120, "end of the other")
    assert open_store(outs[1]).latest_trials().collect()["status"].to_list() == ["completed"]


def test_a_job_whose_sweep_fails_is_not_requeued(slurm, sweep_file, tmp_path):
    """A results folder of another sweep ends the job with the driver's sentence."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "sweep.json").write_text("{}")
    job = submit(slurm, sweep_file, out)
    slurm.until(lambda: slurm.state(job) == "FAILED", 120, "end")
    log = Path(f"{out}.slurm-{job}.log").read_text()
    assert "sweep: " in log
    assert "requeued" not in log
    slurm.until(lambda: not left(job), 30, "clean nodes")


def test_what_slurm_refuses_is_said_and_nothing_is_submitted(slurm, sweep_file, tmp_path):
    """A partition that does not exist: Slurm's own reason, and status 2."""
    words = (SWEEP, "slurm", sweep_file, "--out", tmp_path / "out", "--partition", "none", "--submit")
    status, said = slurm.run(*words, check=False)
    assert status == 2
    assert "Slurm refuses" in said
    assert "partition" in said
    assert slurm.run("squeue", "-h")[1] == ""


def test_a_lost_node_costs_no_trial(slurm, sweep_file, tmp_path):
    """Its trials go on where there is room, or, if Slurm requeues the job meanwhile, when it runs again."""
    out = tmp_path / "out"
    job = submit(slurm, sweep_file, out)
    slurm.until(lambda: begun(out, 2), 120, "trials")
    slurm.kill_node("n2")
    slurm.until(lambda: slurm.state(job) != "RUNNING", 120, "end or loss")
    slurm.run("slurmd", "-f", os.environ["SLURM_CONF"], "-N", "n2")
    slurm.until(lambda: slurm.state(job) != "COMPLETING", 90, "end of the first run")
    if slurm.state(job) == "PENDING":
        slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    ended(slurm, job, out)
