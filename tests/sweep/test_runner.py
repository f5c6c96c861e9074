"""Whole sweeps on a local Ray: what ends in the store, whatever happens on the way."""

import json
import signal
import subprocess
import sys
import time

import moocore
import polars as pl
import pytest

from sweep.outcome import Standing
from sweep.runner import ended_trials, past_trials, run_sweep, slots
from sweep.spec import load_spec
from sweep.store.read import open_store

pytestmark = pytest.mark.ray


def run(path, root, *overrides):
    """Run a sweep; return what it said and how it stood."""
    said, standings = [], []
    run_sweep(load_spec(path, overrides), root, say=said.append, on_change=standings.append)
    return said, standings


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_sweep):
    """Run a sweep in which some trials diverge: one of two learning rates is absurd."""
    folder = tmp_path_factory.mktemp("runner")
    path = folder / "tiny.yaml"
    text = tiny_sweep.replace(", lr: 0.001", "").replace("trials: 3", "trials: 5")
    path.write_text(
        text.replace("search_space:", "search_space:\n  lr: {type: choice, values: [0.001, 1.0e+30]}")
    )
    root = folder / "results"
    said, standings = run(path, root)
    return path, root, said, standings


def test_every_trial_ends_with_numbers_or_a_reason(finished):
    """Trials that diverge are recorded as failed with step and epoch; the others complete; none is lost."""
    _, root, _, _ = finished
    trials = open_store(root).latest_trials().collect().sort("trial_id")
    assert trials["trial_id"].to_list() == [f"t{i:04}" for i in range(5)]
    for row in trials.iter_rows(named=True):
        absurd = row["p_lr"] > 1
        assert row["status"] == ("failed" if absurd else "completed"), row
        assert (row["error"] or "").startswith("the loss is not finite at step " if absurd else "")
        assert (row["o_log_likelihood"] is None) == absurd
        assert sum(row[f"p_subset_weights_{k}"] for k in range(1, 6)) == pytest.approx(1)
    assert {"completed", "failed"} == set(trials["status"])


def test_completed_trials_have_all_subsets(finished):
    """Each completed trial has metrics of 31 subsets and the prior, 155 pairs and an epoch row per epoch."""
    _, root, _, _ = finished
    store = open_store(root)
    done = store.latest_trials().filter(pl.col("status") == "completed").collect()["trial_id"]
    for trial in done:
        mine = pl.col("trial_id") == trial
        assert set(store.subset_metrics().filter(mine).collect()["subset_mask"]) == set(range(32))
        assert store.pair_coherence().filter(mine).collect().height == 155
        assert sorted(store.epochs().filter(mine).collect()["epoch"]) == [1, 2]


def test_the_last_standing_is_that_of_the_tables(finished):
    """Counts, front and hypervolume in the live line equal moocore's from the Parquet files."""
    _, root, _, standings = finished
    last: Standing = standings[-1]
    done = open_store(root).latest_trials().filter(pl.col("status") == "completed").collect()
    values = done.select("o_conditional_coherence", "o_log_likelihood").to_numpy()
    front = moocore.is_nondominated(values, maximise=[True, True], keep_weakly=True)
    assert (last.done, last.failed, last.running) == (done.height, 5 - done.height, 0)
    assert last.front_size == front.sum()
    assert last.hypervolume == pytest.approx(moocore.hypervolume(values, ref=[0.0, -20000.0], maximise=True))
    assert last.epochs_left == 0


def test_weights_are_kept_for_the_front_only(finished):
    """One checkpoint for each trial on the front, and nothing of Ray's is left in the folder."""
    _, root, _, standings = finished
    kept = sorted(path.stem for path in (root / "checkpoints").iterdir())
    assert len(kept) == standings[-1].front_size
    assert not (root / ".ray").exists()


def test_running_again_runs_only_what_is_missing(finished):
    """The same file again does nothing; with more trials only the new ones run, under new names."""
    path, root, _, _ = finished
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.parquet")}
    said, standings = run(path, root)
    assert said[-1] == f"{root} holds all 5 trials already"
    assert standings == []
    said, standings = run(path, root, "trials=6")
    assert f"{root} holds 5 of 6 trials already" in said
    trials = open_store(root).trials().collect()
    assert sorted(trials["trial_id"]) == [f"t{i:04}" for i in range(6)]
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_killed_sweep_goes_on(tmp_path, sweep_file):
    """SIGKILL in mid sweep loses no finished trial; the next run ends with the full number, none twice."""
    root = tmp_path / "r"
    command = [sys.executable, "-c", "from sweep.cli import main; main()"]
    arguments = ["run", str(sweep_file), "--out", str(root), "-o", "fixed.epochs=6"]
    first = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(root.glob("trials/*-completed-*.parquet")):
        time.sleep(0.1)
    first.kill()
    first.wait()
    done = open_store(root).latest_trials().filter(pl.col("status") == "completed").collect()
    assert 1 <= done.height < 3
    said, _ = run(sweep_file, root, "fixed.epochs=6")
    assert f"{root} holds {done.height} of 3 trials already" in said
    trials = open_store(root).trials().collect().sort("trial_id")
    assert trials["trial_id"].to_list() == ["t0000", "t0001", "t0002"]
    assert trials["status"].to_list() == ["completed"] * 3
    again = trials.filter(pl.col("trial_id").is_in(done["trial_id"].to_list()))
    assert again["ended_at"].to_list() == done.sort("trial_id")["ended_at"].to_list()


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path, sweep_file):
    """Status 130 and the command to repeat; the store is readable and finished trials are in it."""
    root = tmp_path / "r"
    command = [sys.executable, "-c", "from sweep.cli import main; main()"]
    arguments = ["run", str(sweep_file), "--out", str(root), "-o", "trials=50"]
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(root.glob("trials/*-completed-*.parquet")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"To go on: sweep run {sweep_file} --out {root} -o trials=50" in err
    assert "Traceback" not in err
    trials = open_store(root).latest_trials().collect()
    assert 1 <= trials.filter(status="completed").height < 50
    assert trials.filter(status="failed").height == 0


def test_past_trials_carry_what_the_study_needs(finished):
    """Suggestions come back as asked; failed trials have no values."""
    _, root, _, _ = finished
    store = open_store(root)
    spec = load_spec(finished[0])
    past = past_trials(store, spec.objectives)
    rows = {r["trial_id"]: r for r in store.latest_trials().collect().iter_rows(named=True)}
    assert [p.trial_id for p in past] == sorted(rows)
    for trial in past:
        row = rows[trial.trial_id]
        assert trial.finished
        assert dict(trial.suggestion) == json.loads(row["suggestion_json"])
        if row["status"] == "completed":
            assert trial.values == (row["o_conditional_coherence"], row["o_log_likelihood"])
        else:
            assert trial.values is None
    ended = {e.trial_id: e.status for e in ended_trials(past, spec.objectives)}
    assert ended == {trial_id: row["status"] for trial_id, row in rows.items()}


@pytest.mark.parametrize(
    ("resources", "cpu", "gpu", "expected"),
    [
        ({"CPU": 2.0}, 1, 0, 2),
        ({"CPU": 2.0}, 0.5, 0, 4),
        ({"CPU": 16.0, "GPU": 2.0}, 1, 0.25, 8),
        ({"CPU": 1.0}, 4, 0, 1),
        ({"CPU": 4.0}, 1, 1, 1),
    ],
)
def test_slots(resources, cpu, gpu, expected):
    """As many trials as the scarcest resource allows, and one even if none fits yet."""
    assert slots(resources, cpu, gpu) == expected
