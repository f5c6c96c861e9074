"""A sweep whose results folder is a bucket: tables, weights and Ray's own files all go there."""

import shutil
import subprocess
import sys
import time

import pytest

from mopoe.checkpoint import read_progress
from sweep.store.files import files_at
from sweep.store.read import open_store
from sweep.verify import problems

pytestmark = [pytest.mark.ray, pytest.mark.slow]
COMMAND = [sys.executable, "-c", "from sweep.cli import main; main()"]


def test_sweep_killed_and_resumed_in_a_bucket(s3, sweep_file, tmp_path):
    """Killed after a trial, and resumed on a machine that has none of the files: whole, sound, reported."""
    files = files_at(s3)
    more = ["-o", "trials=3", "-o", "keep=all", "-o", "fixed.epochs=4"]
    driver = subprocess.Popen(
        [*COMMAND, "run", str(sweep_file), "--out", s3, *more],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and len(files.list("checkpoints")) < 2:
        assert driver.poll() is None
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    shutil.rmtree(files.local_dir, ignore_errors=True)
    before = {r["trial_id"]: r for r in open_store(s3).trials().collect().iter_rows(named=True)}
    assert {row["status"] for row in before.values()} >= {"running"}
    with files.on_disk(next(iter(files.list("checkpoints")))) as (path, _):
        assert read_progress(path).epoch >= 1

    done = subprocess.run([*COMMAND, "resume", s3], capture_output=True, text=True, check=True)
    assert f"tables: {s3}\nnext:   sweep report {s3}\n" in done.stdout
    store = open_store(s3)
    trials = store.latest_trials().collect()
    assert trials.select("trial_id", "status").rows() == [(f"t{i:04}", "completed") for i in range(3)]
    ended = {name: row for name, row in before.items() if row["status"] == "completed"}
    assert ended.items() <= {row["trial_id"]: row for row in trials.iter_rows(named=True)}.items()
    assert store.epochs().collect().height == 3 * 4
    assert list(problems(store)) == []
    assert list(files.list("checkpoints")) == [f"checkpoints/t{i:04}.safetensors" for i in range(3)]
    assert files.list(".ray") == {}

    for arguments in (["verify", s3], ["report", s3, "--out", str(tmp_path / "r")]):
        subprocess.run([*COMMAND, *arguments], capture_output=True, check=True)
    assert (tmp_path / "r" / "report.html").exists()
