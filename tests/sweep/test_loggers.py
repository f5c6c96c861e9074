"""The loggers that come with the project, against the real packages where they are installed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from made_up import START

from sweep.running.record_log import logging_to, named_logger
from sweep.store.records import EpochRecord, EventRecord, Manifest, TrialRecord

pytestmark = [
    # Of the packages themselves.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def records(make_manifest: Callable[..., Manifest], make_record: Callable[..., TrialRecord]) -> list[Any]:
    """Give the records of a sweep of two trials side by side, of which one fails and one is measured."""
    begun = {f"t000{n}": make_record(f"t000{n}", config_json=f'{{"beta": {n + 0.5}}}') for n in (0, 1)}
    end = {"ended_at": START + timedelta(seconds=9), "seconds": 8.0}
    values = {1: {"loss": 5.0}, 2: {"loss": 4.0, "o_log_likelihood": -7.0, "o_coherence.m0:m1": float("nan")}}
    epochs = [
        EpochRecord(trial_id=name, attempt=0, epoch=n, values=found)
        for n, found in values.items()
        for name in begun
    ]
    event = EventRecord(trial_id="t0001", epoch=1, kind="rung", at=START, reason="it is the best")
    done = replace(begun["t0001"], status="completed", epochs=2, objectives={"log_likelihood": -7.0}, **end)
    failed = replace(begun["t0000"], status="failed", epochs=2, error="the loss is nan", **end)
    return [make_manifest(), *begun.values(), *epochs[:2], event, *epochs[2:], failed, done]


def play(logger: str, records: list[Any]) -> None:
    """Give the records to a logger as a sweep does."""
    said: list[str] = []
    with logging_to(named_logger(logger), said.append) as tell:
        for record in records:
            tell(record)
    assert said == []


def test_mlflow_has_a_run_per_trial(
    records: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its settings, every number by epoch, and its end; a trial that goes on keeps its run."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    play("sweep.loggers:mlflow", records[:-1])  # the driver is lost before the last record
    play("sweep.loggers:mlflow", [records[0], records[2], records[-1]])
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(records[0].name)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["t0000", "t0001"]
    failed, done = runs["t0000"], runs["t0001"]
    assert (failed.info.status, done.info.status) == ("FAILED", "FINISHED")
    assert (failed.data.tags["reason"], done.data.tags["status"]) == ("the loss is nan", "completed")
    assert done.data.tags["rung 1"] == "it is the best"
    assert done.data.params == {"beta": "1.5"}
    losses = client.get_metric_history(done.info.run_id, "loss")
    assert [(m.step, m.value) for m in losses] == [(1, 5.0), (2, 4.0)]
    assert done.data.metrics["log_likelihood"] == -7.0
    assert done.data.metrics["o_coherence.m0:m1"] != done.data.metrics["o_coherence.m0:m1"]


def test_wandb_has_a_run_per_trial(
    records: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: a file for each, with its settings, metrics and end."""
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.chdir(tmp_path)
    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path))):
        monkeypatch.setenv(f"WANDB_{name}", value)
    play("sweep.loggers:wandb", records)
    wandb.teardown()  # as at the end of a process: its service may still be writing
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    sweep = records[0].sweep_id
    assert [file.stem for file in files] == [f"run-{sweep}-t0000-0", f"run-{sweep}-t0001-0"]
    failed, done = (file.read_bytes() for file in files)
    for text in (b"beta", b"1.5", b"o_log_likelihood", b"it is the best", b"completed", b"-7"):
        assert text in done
    assert b"the loss is nan" in failed
