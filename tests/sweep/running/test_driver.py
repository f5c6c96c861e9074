"""Whole sweeps on a local Ray: what ends in the store, whatever happens on the way."""

import json
import os
import shutil
import signal
from dataclasses import fields
from datetime import timedelta

import moocore
import optuna
import polars as pl
import polars.selectors as cs
import pytest
import torch

from mopoe.config import TrialConfig
from mopoe.errors import MopoeError
from sweep.cli import app
from sweep.config.sweep_spec import load_spec
from sweep.errors import StoreError
from sweep.manifest import stored_spec
from sweep.running.dashboards import open_storage
from sweep.running.driver import run_sweep
from sweep.running.local import run_single
from sweep.search.asking import ask_for_config
from sweep.search.past import trial_records
from sweep.search.standing import SweepStatus
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial
from sweep.store.files import files_at
from sweep.store.lease import driving
from sweep.store.read import open_store
from sweep.store.records import TrialRecord
from sweep.store.write import StoreWriter
from sweep.verify import problems

pytestmark = pytest.mark.ray
ONE = "resources.concurrent=1"
"""Where it plays no part how many trials run at once: each worker imports torch first, for seconds."""


def run(path, root, *overrides, **options):
    """Run a sweep; return what it said and how it stood."""
    said, statuses = [], []
    spec = load_spec(path, overrides)
    run_sweep(spec, root, say=said.append, on_step=lambda now: statuses.append(now().status), **options)
    return said, statuses


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick_sweep, sharing_ray):
    """Run a sweep in which some trials diverge: one of two learning rates is absurd."""
    folder = tmp_path_factory.mktemp("runner")
    path = folder / "tiny.yaml"
    text = quick_sweep.replace(", lr: 0.001", "").replace("trials: 3", "trials: 5")
    path.write_text(
        text.replace("search_space:", "search_space:\n  lr: {type: choice, values: [0.001, 10.0]}")
    )
    root = folder / "results"
    with sharing_ray():
        said, statuses = run(path, root, optuna_storage=str(folder / "study.log"))
    return path, root, said, statuses


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path, quick_sweep, monkeypatch, shared_ray):
    """The driver ends with what the store refused, also where Tune meets the error."""
    path, root, write = tmp_path / "tiny.yaml", tmp_path / "results", StoreWriter.write_trial
    path.write_text(quick_sweep)

    def full(self, record):
        if record.trial_id == "t0002":
            raise StoreError("cannot write t0002: No space left on device")
        write(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write_trial", full)
        with pytest.raises(StoreError, match=r"^cannot write t0002: No space"):
            run(path, root, ONE)
    assert list(problems(open_store(root))) == []
    run(path, root, ONE)
    assert open_store(root).latest_trials().collect()["status"].to_list() == ["completed"] * 3
    assert list(problems(open_store(root))) == []


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


def test_a_single_trial_has_the_bits_of_the_sweeps(finished, tmp_path):
    """`sweep trial` with a config of the sweep: every number that the worker wrote but the times."""
    path, root, _, _ = finished
    row = open_store(root).latest_trials().filter(status="completed").collect().to_dicts()[0]
    spec, config = load_spec(path), TrialConfig.from_dict(json.loads(row["config_json"]))
    torch.set_num_threads(2)
    alone = run_single(spec, config, tmp_path / "r", resume=False, device="cpu", on_report=lambda _: None)
    assert alone.objectives["log_likelihood"] == row["o_log_likelihood"]

    def numbers(folder, name, table):
        rows = open_store(folder).table(table).filter(trial_id=name).collect()
        return rows.drop("trial_id", cs.contains("seconds")).sort(pl.all()).rows()

    for table in ("epochs", "subset_metrics", "pair_coherence", "samples"):
        assert numbers(tmp_path / "r", alone.trial_id, table) == numbers(root, row["trial_id"], table)


def test_a_config_that_is_added_is_trained_once(finished, tmp_path, shared_ray):
    """The next run of a complete sweep trains it; the store is sound, and nothing is left for another run."""
    path, done, _, _ = finished
    root = shutil.copytree(done, tmp_path / "results")
    ask_for_config(open_store(root), ["lr=0.001", "beta=2"])
    _, statuses = run(path, root, ONE)
    assert (statuses[-1].total, statuses[-1].ended) == (6, 6)
    row = open_store(root).latest_trials().filter(trial_id="t0005").collect().row(0, named=True)
    assert (row["status"], row["p_beta"], row["p_lr"]) == ("completed", 2.0, 0.001)
    assert open_store(root).events().select("trial_id", "kind").collect().rows() == [("t0005", "add")]
    assert list(problems(open_store(root))) == []
    said, _ = run(path, root, ONE)
    assert "holds all 6 trials already" in said[-1]


def test_failed_trials_are_tried_again_if_asked(finished, tmp_path, shared_ray):
    """Each gets a further attempt: what its machine had failed completes, what diverges does again."""
    path, done, _, _ = finished
    root = shutil.copytree(done, tmp_path / "results")
    before = {r["trial_id"]: r for r in open_store(root).latest_trials().collect().iter_rows(named=True)}
    name, row = next(item for item in before.items() if item[1]["status"] == "completed")
    started = {f.name: row[f.name] for f in fields(TrialRecord) if f.name in row} | {"parameters": {}}
    late = row["ended_at"] + timedelta(seconds=1)
    lost = {"status": "failed", "error": "its disk was full", "ended_at": late}
    StoreWriter(root).write_trial(TrialRecord(**started | lost))
    assert set(open_store(root).latest_trials().filter(trial_id=name).collect()["status"]) == {"failed"}
    run(path, root, ONE, retry_failed=True)
    for again in open_store(root).latest_trials().collect().iter_rows(named=True):
        was = before[again["trial_id"]]
        assert again["status"] == was["status"]
        assert again["o_log_likelihood"] == was["o_log_likelihood"]
        assert again["attempt"] == (was["status"] == "failed" or again["trial_id"] == name)
    assert list(problems(open_store(root))) == []


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


def test_the_last_status_is_that_of_the_tables(finished):
    """Counts, front and hypervolume in the live line equal moocore's from the Parquet files."""
    _, root, _, statuses = finished
    last: SweepStatus = statuses[-1]
    done = open_store(root).latest_trials().filter(pl.col("status") == "completed").collect()
    values = done.select("o_conditional_coherence", "o_log_likelihood").to_numpy()
    front = moocore.is_nondominated(values, maximise=[True, True], keep_weakly=True)
    assert last.counts == {"completed": done.height, "failed": 5 - done.height, "running": 0}
    assert last.front_size == front.sum()
    assert last.hypervolume == pytest.approx(moocore.hypervolume(values, ref=[0.0, -20000.0], maximise=True))


def test_the_study_is_told_what_the_tables_say(finished):
    """Each completed trial is COMPLETE with its objectives, in the study on disk too; the others are FAIL."""
    _, root, _, _ = finished
    storage = open_storage(str(root.parent / "study.log"))
    (name,) = optuna.get_all_study_names(storage)
    told = {t.user_attrs["name"]: t for t in optuna.load_study(study_name=name, storage=storage).trials}
    for row in open_store(root).latest_trials().collect().iter_rows(named=True):
        completed = row["status"] == "completed"
        measured = [row["o_conditional_coherence"], row["o_log_likelihood"]]
        assert told[row["trial_id"]].state.name == ("COMPLETE" if completed else "FAIL")
        assert told[row["trial_id"]].values == (measured if completed else None)


def test_weights_are_kept_for_the_front_only(finished):
    """One checkpoint for each trial on the front, and nothing of Ray's is left in the folder."""
    _, root, _, statuses = finished
    kept = sorted(path.stem for path in (root / "checkpoints").iterdir())
    assert len(kept) == statuses[-1].front_size
    assert not (root / ".ray").exists()


def test_running_again_runs_only_what_is_missing(finished, monkeypatch, capsys, shared_ray):
    """The same file again does nothing; `sweep extend` runs new trials only, under new names.

    Afterwards Ctrl-C does what it did before: Ray Tune's handler, which swallows the first, is gone.
    """
    monkeypatch.setattr("sys.argv", ["sweep", "extend", str(finished[1]), "--trials", "1"])
    path, root, _, _ = finished
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.parquet")}
    configs = set(open_store(root).trials().collect()["config_id"])
    left = root / "checkpoints" / ".t0001.safetensors.0a1b2c3d"  # of a kill
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(bytes(100))
    said, statuses = run(path, root)
    assert not left.exists()
    failed = open_store(root).latest_trials().filter(status="failed").collect().height
    again = f"`sweep resume {root} --retry-failed` retries the {failed} that failed"
    assert said[-1] == f"{root} holds all 5 trials already; {again}"
    assert statuses == []
    before_it = signal.getsignal(signal.SIGINT)
    app(standalone_mode=False)
    assert signal.getsignal(signal.SIGINT) is before_it
    assert f"{root} holds 5 of 6 trials already" in capsys.readouterr().out
    trials = open_store(root).trials().collect()
    assert sorted(trials["trial_id"]) == [f"t{i:04}" for i in range(6)]
    assert len(set(trials["config_id"]) - configs) == 1
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert stored_spec(root).trials == 6


def test_a_sweep_that_stops_early_and_its_continuation(tmp_path, quick_sweep, shared_ray):
    """Stopped trials keep their rung's values, only full budgets make the front, and rungs outlive a run.

    The second trial hardly trains, so it is stopped.
    """
    path, root = tmp_path / "x.yaml", tmp_path / "r"
    text = quick_sweep.replace(", lr: 0.001", "").replace("conditional_coherence: 0.0, ", "")
    text = text.replace("search_space:", "search_space:\n  lr: {type: choice, values: [0.001, 1e-9]}")
    extra = "objectives: [log_likelihood]\nscheduler: {type: halving, grace: 1, eta: 3}\n"
    extra += "constraints: {parameters: '<= 1'}\nstart_with: [{lr: 0.001}, {lr: 1e-9}]\n"
    path.write_text(text + extra + "resources: {concurrent: 1}\n")
    _, statuses = run(path, root, "trials=2")
    store = open_store(root)
    first = store.events().sort("at").collect()
    assert first["compared_to"].to_list() == [0, 1]
    run(path, root, "trials=4")
    events = store.events().sort("at").collect()
    assert events["compared_to"].to_list() == [0, 1, 2, 3]
    assert set(events["epoch"]) == {1}
    trials = store.latest_trials().collect()
    stopped = events.filter(decision="stop")
    assert "t0001" in set(stopped["trial_id"])
    assert stopped.height < 4
    assert sorted(trials.filter(status="stopped")["trial_id"]) == sorted(stopped["trial_id"])
    for row in trials.filter(status="stopped").iter_rows(named=True):
        (event,) = stopped.filter(trial_id=row["trial_id"]).to_dicts()
        assert (row["epochs"], row["error"], row["stop_reason"]) == (1, None, event["reason"])
        assert json.loads(event["objectives_json"]) == {"log_likelihood": row["o_log_likelihood"]}
    full = trials.filter(pl.col("status") != "stopped")
    assert set(full["status"]) == {"infeasible"}
    assert all(e.startswith("parameters is ") for e in full["error"])
    last = statuses[-1]
    assert (last.ended, last.counts.get("completed", 0), last.front_size) == (2, 0, 0)
    assert not list((root / "checkpoints").iterdir())


def test_a_second_driver_of_a_folder_is_refused(quick_file, tmp_path):
    """In one sentence, from the command and from Python, by a symbolic link too; afterwards it is free."""
    folder, link = tmp_path / "r", tmp_path / "link"
    link.symlink_to(folder)
    refused = (
        rf"process {os.getpid()} on .* has been running this sweep since .*; `sweep watch` shows its prog"
    )
    with driving(files_at(folder)):
        with pytest.raises(StoreError, match=refused):
            app(["run", str(quick_file), "--out", f"{link}/"], standalone_mode=False)
        with pytest.raises(StoreError, match=refused):
            run(quick_file, link)
        assert not (folder / "sweep.json").exists()
    with driving(files_at(link)):
        pass


def test_a_trial_larger_than_this_machine_is_refused(quick_file, tmp_path, shared_ray):
    """It would wait forever; the Ray that was started to see what is there is ended."""
    sentence = r"^resources.cpu is 4096, but this machine has \d+; lower it, or run the s"
    with pytest.raises(MopoeError, match=sentence):
        run(quick_file, tmp_path / "r", "resources.cpu=4096")
    assert shared_ray == ["start local", "shutdown"]


def test_a_cluster_that_is_not_there_is_refused(quick_file, tmp_path, monkeypatch):
    """At once, where Ray would wait for minutes: Ray is not asked."""
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was asked"))
    with pytest.raises(MopoeError, match=r"^no Ray cluster answered at '127.0.0.1:1' \(.*refused"):
        run(quick_file, tmp_path / "r", address="127.0.0.1:1")


def test_past_trials_carry_what_the_study_needs(finished):
    """Suggestions come back as asked, by config; every trial that ended has its status and measurements."""
    path, root, _, _ = finished
    spec, store = load_spec(path), open_store(root)
    past = SweepState.resumed(spec, trial_records(store)).results
    rows = {r["trial_id"]: r for r in store.latest_trials().collect().iter_rows(named=True)}
    assert [config.name for config in past] == sorted(rows)
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    again = SweepState.resumed(spec, trial_records(store), retry_failed=True)
    assert {config.name for config in again.results if config.status == "running"} == failed
    assert again.next_action() == SuggestedTrial(
        trial_id=min(failed), attempt=1, suggestion=json.loads(rows[min(failed)]["suggestion_json"])
    )
    for config in past:
        row = rows[config.name]
        assert config.status == row["status"]
        assert config.suggestion == json.loads(row["suggestion_json"])
        if row["status"] == "completed":
            assert config.measured["log_likelihood"] == row["o_log_likelihood"]
            assert config.measured["parameters"] == row["n_parameters"] > 1000


@pytest.mark.slow
def test_survivors_get_their_seeds(sweep_file, tmp_path, shared_ray):
    """Configs whose first seed was not stopped get a second one, which runs in full; the others get none."""
    scheduler = ["scheduler.type=halving", "scheduler.grace=1", "scheduler.eta=2"]
    replicates = ["replicates.seeds=2", "replicates.when=survivors"]
    _, statuses = run(sweep_file, tmp_path / "x", "trials=5", *scheduler, *replicates)
    store = open_store(tmp_path / "x")
    trials = store.latest_trials().collect()
    status = dict(zip(trials["trial_id"], trials["status"], strict=True))
    firsts = [name for name in status if "-s" not in name]
    survived = {name for name in firsts if status[name] == "completed"}
    assert len(firsts) == 5
    assert 0 < len(survived) < 5
    assert {name: status[name] for name in status if "-s" in name} == {
        f"{n}-s1": "completed" for n in survived
    }
    assert {status[name] for name in firsts} == {"completed", "stopped"}
    assert not [e for e in store.events().collect()["trial_id"] if "-s" in e]
    assert (statuses[-1].total, statuses[-1].ended) == (len(status), len(status))
