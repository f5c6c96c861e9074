"""How a sweep stands, by value."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sweep.search.status import status_report
from sweep.store.lease import Lease
from sweep.store.read import Store

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = {"conditional_coherence": 0.5, "log_likelihood": -15000.0}


@pytest.fixture
def underway(tmp_path, make_planned, make_planned_record, make_report):
    """Of five trials of two epochs one has completed in 40 s, one failed in 20 s, one runs, two are left."""
    spec, writer = make_planned(tmp_path / "sweep")
    names = spec.modalities
    for number, seconds, more in (
        (0, 40, {"status": "completed", "epochs": 2, "objectives": GOOD}),
        (1, 20, {"status": "failed", "epochs": 1, "error": "the loss is nan"}),
    ):
        record = make_planned_record(spec, number)
        writer.write_trial(record)
        ended = START + timedelta(seconds=seconds)
        record = make_planned_record(spec, number, ended_at=ended, seconds=float(seconds), **more)
        writer.write_trial(record)
        writer.write_reports(record.trial_id, 0, [make_report(1, names)], names)
    running = make_planned_record(spec, 2, started_at=START + timedelta(seconds=100))
    writer.write_trial(running)
    writer.write_reports(running.trial_id, 0, [make_report(1, names)], names)
    return spec, writer


def at(store, spec, seconds):
    """Return the report so many seconds after the start."""
    return status_report(store, spec, START + timedelta(seconds=seconds))


def test_a_sweep_underway(underway):
    """Trials are counted, epochs of what runs too; the pace is three epochs in 60 s, one trial at a time."""
    spec, writer = underway
    found = at(Store(writer.files), spec, 110)
    assert found.status.total == 5
    assert {k: n for k, n in found.status.counts.items() if n} == {"completed": 1, "running": 1, "failed": 1}
    assert found.tradeoff.hypervolume == pytest.approx(0.5 * 5000)
    assert found.trials_per_hour == pytest.approx(3600 / (2 * 20))
    # One trial of 40 s has completed; of the one that runs, one epoch of 2 s counts for a third of a trial.
    mean = (40 + 4 / 3) / (4 / 3)
    own = 4 / 3 + 2 / 3 * mean
    assert found.overview.left.seconds == pytest.approx(own / 2 + 2 * mean)
    (running,) = found.overview.running
    assert (running.trial_id, running.epoch, running.epochs_max, running.seconds) == ("t0002", 1, 2, 2.0)
    assert found.overview.best == {name: ("t0000", value) for name, value in GOOD.items()}
    assert found.overview.failures == (("t0001", "the loss is nan"),)
    # The running trial began at 100 s and its first epoch took 2 s.
    assert found.last_report == START + timedelta(seconds=102)
    assert not found.status.complete
    assert not found.stalled


def test_a_running_trial_shows_its_last_evaluation(underway, make_report, make_evaluation):
    """Epochs that were not evaluated say nothing of it."""
    spec, writer = underway
    names = spec.modalities
    found = [make_evaluation(names, *values) for values in ((0.3, -9000.0), (0.4, -8000.0))]
    rows = [make_report(epoch, names, found=f) for epoch, f in ((2, found[0]), (3, found[1]), (4, None))]
    writer.write_reports("t0002", 0, rows, names)
    (running,) = at(Store(writer.files), spec, 110).overview.running
    assert running.epoch == 4
    measured = {name: running.measured[name] for name in GOOD}
    assert measured == {"conditional_coherence": 0.4, "log_likelihood": -8000.0}


def test_the_elapsed_time_of_a_running_trial_leaves_a_long_pause_out(underway):
    """Until five minutes without a report it is the time since the start; then that of its epoch, 2 s."""
    spec, writer = underway
    found = [at(Store(writer.files), spec, 100 + s).overview.running[0].elapsed for s in (30, 301, 1000)]
    assert found == [30, 301, 2]


def test_a_sweep_that_says_nothing_has_stalled(underway):
    """Five minutes after the last report it counts as stalled, and not a second before."""
    spec, writer = underway
    store = Store(writer.files)
    assert [at(store, spec, 102 + s).stalled for s in (300, 301)] == [False, True]


def test_a_trial_that_went_on_after_a_resume_is_no_stall(underway, make_report):
    """Its epochs from before the resume add up to a time that lies ahead, which counts as now."""
    spec, writer = underway
    before = [replace(make_report(epoch, spec.modalities), seconds=50.0) for epoch in range(2, 22)]
    writer.write_reports("t0002", 0, before, spec.modalities)
    found = at(Store(writer.files), spec, 700)
    assert found.last_report == START + timedelta(seconds=700)
    assert not found.stalled


def test_a_sweep_that_was_resumed_after_a_pause_is_no_stall(underway, monkeypatch):
    """A trial that was cut off keeps its start: what counts is when the present driver began."""
    spec, writer = underway
    began = START + timedelta(hours=9)
    lease = replace(Lease.of_this_process(), began=began.isoformat(timespec="seconds"))
    monkeypatch.setattr("sweep.search.status.holder", lambda _: lease)
    seconds = int((began - START).total_seconds())
    # The trial's one epoch of 2 s may have come before the pause or after it.
    stalls = [at(Store(writer.files), spec, seconds + s).stalled for s in (0, 301, 302, 303)]
    assert stalls == [False, False, False, True]


def test_a_sweep_with_long_epochs_has_more_patience(underway, make_report):
    """Five times its longest epoch, of training and evaluation together."""
    spec, writer = underway
    long = replace(make_report(2, spec.modalities), seconds=100.0)
    writer.write_reports("t0002", 0, [long], spec.modalities)
    store = Store(writer.files)
    assert [at(store, spec, 202 + s).stalled for s in (500, 501)] == [False, True]


def test_a_complete_sweep_has_nothing_left(underway, make_planned_record):
    """Nothing runs, no time is left, and silence is no stall."""
    spec, writer = underway
    for number in (2, 3, 4):
        ended = START + timedelta(seconds=150)
        more = {"status": "completed", "epochs": 2, "seconds": 40.0, "ended_at": ended, "objectives": GOOD}
        writer.write_trial(make_planned_record(spec, number, **more))
    found = at(Store(writer.files), spec, 1e6)
    assert found.status.complete
    assert (found.stalled, found.trials_per_hour, found.overview.left) == (False, None, None)


def test_a_sweep_not_begun(tmp_path, make_planned):
    """All trials are left; there is no last report and no pace."""
    spec, writer = make_planned(tmp_path / "sweep")
    found = at(Store(writer.files), spec, 1e6)
    assert (found.status.total, {k: n for k, n in found.status.counts.items() if n}) == (5, {})
    assert (found.last_report, found.stalled, found.trials_per_hour) == (None, False, None)
