"""Sweeps that are killed, warned or told to end: the store is whole, and the next run goes on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from mopoe.checkpoint import check
from sweep.config.sweep_spec import load_spec
from sweep.running.driver import run_sweep
from sweep.store.read import open_store
from sweep.verify import problems

pytestmark = pytest.mark.ray
MAIN = [sys.executable, "-c", "from sweep.cli import main; main()"]
ONE = "resources.concurrent=1"
"""Where it plays no part how many trials run at once: each worker imports torch first, for seconds."""


def check_killed_and_resumed(sweep, root, file, moments, trials, *overrides):
    """Run a sweep, kill its driver at these moments, and go on to the end; return what had ended by then.

    A moment is whether to wait for one more trial to complete, and then how many seconds more.
    """
    options = [word for o in (f"trials={trials}", "fixed.epochs=4", *overrides) for word in ("-o", o)]
    arguments = ["run", str(file), "--out", str(root), *options]
    ended = {}
    for progress, seconds in moments:
        before = len(list(root.glob("trials/[!.]*-completed-*")))
        driver = subprocess.Popen(
            [*MAIN, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (root / "sweep.json").exists():
            time.sleep(0.1)
        while progress and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            if len(list(root.glob("trials/[!.]*-completed-*"))) > before:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(seconds)
        driver.kill()
        driver.wait()
        arguments = ["resume", str(root)]
        now = {row["trial_id"]: row for row in open_store(root).trials().collect().iter_rows(named=True)}
        # What had ended is there still, unchanged: its time of end as well.
        assert ended.items() <= now.items()
        ended = {name: row for name, row in now.items() if row["status"] != "running"}
    status, out, _ = sweep("resume", root)
    assert status == 0
    there = f"all {trials}" if len(ended) == trials else f"{len(ended)} of {trials}"
    assert not ended or f"{root} holds {there} trials already" in out
    store = open_store(root)
    found = store.trials().collect()
    assert sorted(found["trial_id"]) == [f"t{i:04}" for i in range(trials)]
    assert set(found["status"]) == {"completed"}
    assert ended.items() <= {row["trial_id"]: row for row in found.iter_rows(named=True)}.items()
    epochs = store.epochs().collect()
    assert epochs.height == epochs.unique(["trial_id", "epoch"]).height == 4 * trials
    assert len(list((root / "trials").glob("[!.]*-completed-*"))) == trials
    assert found["config_id"].n_unique() == trials
    return ended


def test_a_killed_sweep_goes_on(sweep, tmp_path, quick_file, shared_ray):
    """SIGKILL in mid sweep loses no finished trial; the next run ends with the full number, none twice."""
    ended = check_killed_and_resumed(sweep, tmp_path / "r", quick_file, [(True, 0.0)], 5, ONE)
    assert 0 < len(ended) < 5


@pytest.mark.slow
def test_a_sweep_killed_twenty_times_goes_on(sweep, tmp_path, sweep_file, own_ray):
    """At random moments, from the start of Ray on: nothing is lost, run twice or written twice."""
    rng = random.Random(0)
    moments = [(rng.random() < 0.7, rng.uniform(0, 10)) for _ in range(20)]
    assert len(check_killed_and_resumed(sweep, tmp_path / "r", sweep_file, moments, trials=40)) >= 10


def check_weights_are_of_the_last_epoch(root, trial):
    """Check that a trial goes on behind the last epoch that is in the tables."""
    epochs = open_store(root).epochs().filter(trial_id=trial).collect()["epoch"]
    assert check(root / "checkpoints" / f"{trial}.safetensors").epoch == max(epochs)


def test_the_warning_before_a_time_limit(quick_file, tmp_path, shared_ray):
    """After SIGUSR2 every trial that runs writes a checkpoint; then the sweep ends as by Ctrl-C."""
    spec, warned = load_spec(quick_file, ["trials=200", ONE, "fixed.epochs=100000"]), []

    def warn(now):
        if not warned and now().running:
            warned.append(True)
            os.kill(os.getpid(), signal.SIGUSR2)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path / "r", on_step=warn)
    (trial,) = open_store(tmp_path / "r").latest_trials().collect().to_dicts()
    assert (trial["status"], trial["error"]) == ("running", None)
    check_weights_are_of_the_last_epoch(tmp_path / "r", trial["trial_id"])


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGUSR2, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 130, marks=pytest.mark.slow),
    ],
    ids=["term", "usr2", "int", "hup"],
)
def test_a_signal_ends_cleanly_and_says_how_to_go_on(sweep, tmp_path, quick_file, number, status):
    """As Ctrl-C does, with the command to repeat; the store is whole, and `status` knows at once."""
    root = tmp_path / "r"
    options = ["-o", "trials=200", "-o", ONE, "-o", "fixed.epochs=100000"]
    command = [*MAIN, "run", str(quick_file), "--out", str(root), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(root.glob("trials/*.parquet")):
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert f"To continue: sweep resume {root}" in err
    assert "Traceback" not in err
    assert "SIGTERM" not in err  # Ray's C++ stack names it
    trials = open_store(root).latest_trials().collect()
    assert trials.filter(status="failed").height == 0
    (running,) = trials.filter(status="running")["trial_id"]
    if number == signal.SIGUSR2:
        check_weights_are_of_the_last_epoch(root, running)
    assert sweep("status", root)[1].startswith("tiny: interrupted with ")
    assert not (root / ".lease.json").exists()
    # Ray ends workers in mid write, of which verify says what is left.
    found = [text for text in problems(open_store(root)) if "left over from an interrupted" not in text]
    assert found == []
