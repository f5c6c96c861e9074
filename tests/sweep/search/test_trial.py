"""What a trial's reports mean for its record, and where a sweep stands."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from ray.tune.utils import flatten_dict

from sweep.config.constraints import limit
from sweep.config.objectives import Objective
from sweep.config.sweep_spec import load_spec
from sweep.search.standing import SweepStatus
from sweep.search.trial import (
    SuggestedTrial,
    TrialReport,
    begin_record,
    config_name,
    end_record,
    is_whole,
)
from sweep.store.read import Store
from sweep.store.records import TrialRecord
from sweep.store.write import StoreWriter

START = datetime(2026, 1, 2, tzinfo=UTC)
OBJECTIVES = (Objective(name="conditional_coherence"), Objective(name="log_likelihood"))


@pytest.fixture
def started(sweep_file):
    """Give the record of a trial that has just started."""
    spec = load_spec(sweep_file)
    suggestion = {"beta": 0.5, "subset_weights.0": 0.5, **{f"subset_weights.{i}": 0.5 for i in range(1, 4)}}
    trial = SuggestedTrial(trial_id="t0003", attempt=0, suggestion=suggestion)
    return begin_record(spec, trial.config(spec), trial, START)


def last(epoch=2, coherence=0.4, likelihood=-7000.0, **more):
    """Return what a trial reported last."""
    measured = {"conditional_coherence": coherence, "log_likelihood": likelihood}
    stderr = {"log_likelihood": 5.0}
    return TrialReport(epoch=epoch, objectives=measured, stderr=stderr, host="here", **more)


def test_a_started_trial_records_its_settings(started):
    """The row holds the searched settings flat, the whole config, and the sampler's own parameters."""
    assert (started.trial_id, started.status, started.epochs, started.epochs_max) == (
        "t0003",
        "running",
        0,
        2,
    )
    assert started.parameters["beta"] == 0.5
    assert math.isclose(sum(v for k, v in started.parameters.items() if k.startswith("subset")), 1.0)
    assert json.loads(started.config_json)["channels"] == [2, 2, 2]
    assert json.loads(started.suggestion_json)["subset_weights.0"] == 0.5


def test_full_budget_and_finite_objectives_complete(started):
    """A trial that reached its last epoch is completed, with its measurements and its time."""
    ended = end_record(started, last(seconds=90.0), OBJECTIVES, START + timedelta(seconds=200))
    assert (ended.status, ended.error, ended.epochs, ended.seconds) == ("completed", None, 2, 90.0)
    assert ended.objectives == {"conditional_coherence": 0.4, "log_likelihood": -7000.0}
    assert (ended.stderr, ended.host) == ({"log_likelihood": 5.0}, "here")


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (
            last(failure="the loss is not finite at step 7 (epoch 1)"),
            "the loss is not finite at step 7 (epoch 1)",
        ),
        (TrialReport(), "it ended after 0 of 2 epochs for an unknown reason"),
        (last(epoch=1), "it ended after 1 of 2 epochs for an unknown reason"),
        (last(coherence=math.nan), "conditional_coherence is not a finite number"),
        (TrialReport(epoch=2), "conditional_coherence, log_likelihood is not a finite number"),
    ],
)
def test_everything_else_fails_with_its_reason(started, report, reason):
    """A failed trial says why in one line."""
    ended = end_record(started, report, OBJECTIVES, START)
    assert (ended.status, ended.error) == ("failed", reason)


@pytest.mark.parametrize(
    ("report", "status", "reason"),
    [
        (last(epoch=1, stopped="epoch 1: last"), "stopped", "epoch 1: last"),
        (
            last(epoch=1, stopped="x", coherence=math.nan),
            "failed",
            "conditional_coherence is not a finite number",
        ),
        (last(stopped="too late"), "completed", None),
        (last(n_parameters=101), "infeasible", "parameters is 101, but must be at most 100"),
        (last(epoch=1, stopped="x", n_parameters=101), "stopped", "x"),
        (last(n_parameters=100, failure="lost"), "failed", "lost"),
    ],
)
def test_stopped_and_infeasible_trials_say_why(started, report, status, reason):
    """A reason to stop is no error; a constraint counts at full budget only; a failure above all."""
    limits = (limit("parameters", "<= 100"),)
    report = TrialReport(n_parameters=100).followed_by(report)
    ended = end_record(started, report, OBJECTIVES, START, limits)
    assert ended.status == status
    assert (ended.stop_reason if status == "stopped" else ended.error) == reason
    assert (ended.error if status == "stopped" else ended.stop_reason) is None
    assert ended.n_parameters == report.n_parameters
    assert ended.objectives["log_likelihood"] == -7000.0


def test_a_status_counts_every_final_state():
    """The sweep is complete by this sum; what runs or has not begun is not in it."""
    counts = {"completed": 1, "failed": 2, "stopped": 4, "infeasible": 8, "running": 3}
    status = SweepStatus(total=18, counts=counts, front_size=1, hypervolume=0.0, configs=18)
    assert (status.ended, status.begun, status.complete) == (15, 18, False)


def test_a_trial_may_be_stopped_before_anything_is_measured(started):
    """By a user: that is no failure either."""
    ended = end_record(started, TrialReport(epoch=1, stopped="by hand"), OBJECTIVES, START)
    assert (ended.status, ended.stop_reason, ended.error) == ("stopped", "by hand", None)


def test_flat_reports_mean_the_same():
    """Ray hands reports to the scheduler with flat keys, to callbacks as they were made."""
    report = last(n_parameters=5, seconds=1.5)
    assert (
        TrialReport.from_ray(flatten_dict(report.to_ray())) == TrialReport.from_ray(report.to_ray()) == report
    )
    assert report.values(OBJECTIVES) == (0.4, -7000.0)
    assert math.isnan(TrialReport(objectives={"log_likelihood": 1.0}).values(OBJECTIVES)[0])


def test_a_later_report_counts_where_it_speaks():
    """An epoch without evaluation leaves what the last one measured."""
    both = last(epoch=1).followed_by(TrialReport(epoch=2, seconds=3.0))
    assert both == last(epoch=2, seconds=3.0)


def test_a_trial_is_whole_with_all_objectives_finite(started):
    """One that is missing or no finite number makes the whole vector unusable."""
    assert is_whole(end_record(started, last(), OBJECTIVES, START), OBJECTIVES)
    assert not is_whole(end_record(started, last(likelihood=-math.inf), OBJECTIVES, START), OBJECTIVES)
    assert not is_whole(started, OBJECTIVES)


def test_a_row_gives_back_its_record(started, tmp_path):
    """What the table holds of a trial is all of its record."""
    ended = end_record(started, last(seconds=90.0, n_parameters=7, device="cpu"), OBJECTIVES, START)
    StoreWriter(tmp_path).write_trial(ended)
    (row,) = Store(tmp_path).trials().collect().iter_rows(named=True)
    assert TrialRecord.from_row(row) == ended


def test_names():
    """A config's name sorts as its number does, up to ten thousand."""
    assert [config_name(n) for n in (0, 12, 9999)] == ["t0000", "t0012", "t9999"]
