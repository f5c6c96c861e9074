"""How long a sweep has run, by value, and that nothing begins once its budget is used up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config.sweep_spec import load_spec
from sweep.running import recorder as recording
from sweep.running.recorder import Recorder
from sweep.search.budget import Budget, hours_covered
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.search.status import status_report
from sweep.store.read import Store, open_store

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DONE = {"status": "completed", "epochs": 2}


def at(hours: float) -> datetime:
    """Return the time so many hours after the start."""
    return START + timedelta(hours=hours)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=8))
def test_hours_side_by_side_count_once(pairs: list[tuple[int, int]]) -> None:
    """As many as whole hours are in any span, one by one."""
    expected = len({hour for begin, n in pairs for hour in range(begin, begin + n)})
    assert hours_covered((at(begin), at(begin + n)) for begin, n in pairs) == pytest.approx(expected)


@pytest.fixture
def planned(
    tmp_path: Path,
    make_planned: Callable[..., Any],
    make_planned_record: Callable[..., Any],
    make_report: Any,
) -> SimpleNamespace:
    """Give a sweep of six trials with a budget of three hours, and what writes a trial or its epochs."""
    spec, writer = make_planned(tmp_path / "sweep", trials=6)
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"hours": 3.0})})

    def ended(number: int, hours: float, end: float, **more: Any) -> None:
        given = DONE | {"seconds": 3600 * hours, "started_at": START, "ended_at": at(end)} | more
        writer.write_trial(make_planned_record(spec, number, **given))

    def cut_off(number: int, begin: float, *hours: float) -> None:
        writer.write_trial(make_planned_record(spec, number, started_at=at(begin)))
        reports = [replace(make_report(n, spec.modalities), seconds=3600 * h) for n, h in enumerate(hours, 1)]
        writer.write_reports(f"t{number:04}", 0, reports, spec.modalities)

    return SimpleNamespace(spec=spec, writer=writer, ended=ended, cut_off=cut_off)


def test_what_has_run_is_read_from_the_tables(planned: SimpleNamespace) -> None:
    """Trials side by side, an attempt that failed, one cut off; no pauses, no wait before a trial."""
    store = Store(planned.writer.files)
    assert Budget.of(planned.spec, store).used == 0
    planned.ended(0, 1.0, end=1.5)  # from 0.5 to 1.5
    planned.ended(1, 0.5, end=1.25)  # meanwhile
    planned.ended(2, 0.25, end=30, status="failed", error="the loss is nan")  # the next day, begun before
    planned.ended(2, 0.5, end=40, attempt=1)
    planned.cut_off(3, 50, 0.5, 0.25)
    budget = Budget.of(planned.spec, store)
    assert budget.used == pytest.approx(1 + 0.25 + 0.5 + 0.75, abs=1e-3)
    assert not budget.used_up
    planned.ended(3, 1.25, end=60)  # it went on, and is counted once
    assert Budget.of(planned.spec, store).used == pytest.approx(1 + 0.25 + 0.5 + 1.25, abs=1e-3)
    assert Budget.of(planned.spec, store).used_up
    assert not Budget(None, budget.spans).used_up


class Clock(datetime):
    """A clock that is set by hand."""

    hours = 0.0

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        """Return the time that it is set to."""
        return at(cls.hours)


def test_no_trial_begins_once_the_budget_is_used_up(
    planned: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs goes on to its end; the state says it, and a larger budget goes on with what is left."""
    monkeypatch.setattr(recording, "datetime", Clock)
    spec, store = planned.spec, Store(planned.writer.files)
    state = SweepState(spec)
    recorder = Recorder(spec, state, planned.writer, budget=Budget.of(spec, store))
    trials = {}
    for n in range(3):
        suggestion = {"beta": 1.0 + n, **{f"subset_weights.{i}": 0.5 for i in range(4)}}
        config = {"trial_id": f"t{n:04}", "attempt": 0, "suggestion": suggestion}
        trials[n] = SimpleNamespace(trial_id=f"t{n:04}", config=config)

    def end(n: int, hours: float) -> None:
        Clock.hours = hours
        values = {"conditional_coherence": 0.5, "log_likelihood": -15000.0}
        result = {"epoch": 2, "seconds": 3600 * 1.6, "objectives": values}
        recorder.on_trial_result(0, [], trials[n], result)
        recorder.on_trial_complete(0, [], trials[n])

    for n in (0, 1):
        recorder.on_trial_start(0, [], trials[n])
    end(0, 1.6)
    assert state.next_action() is Action.NEW_CONFIG
    recorder.on_trial_start(0, [], trials[2])
    end(1, 2.4)  # since 0.8
    assert state.next_action() is Action.NEW_CONFIG
    end(2, 3.2)
    assert state.next_action() is Action.END
    found = status_report(store, spec, at(4))
    sentence = "the budget of 3 hours is used up after 3.2 hours, with 3 of 6 trials run; "
    assert found.budget_end == sentence + "a larger `budget.hours` continues it"
    more = spec.model_copy(update={"budget": spec.budget.model_copy(update={"hours": 4.0})})
    again = Budget.of(more, store)
    assert (again.used_up, again.end(found.status)) == (False, None)
    assert again.used == pytest.approx(3.2)
    assert SweepState.resumed(more, state.ended).next_action() is Action.NEW_CONFIG


def test_what_runs_has_not_ended(planned: SimpleNamespace) -> None:
    """As long as a trial runs, a sweep whose budget is used up is no ended one."""
    planned.ended(0, 3.5, end=3.5)
    planned.cut_off(1, 3.0, 0.1)
    found = status_report(Store(planned.writer.files), planned.spec, at(4))
    assert found.budget.used_up
    assert found.budget_end is None


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_a_sweep_ends_by_its_budget_and_goes_on_with_a_larger_one(
    sweep: Callable[..., tuple[int, str, str]], tmp_path: Path, quick_sweep: str
) -> None:
    """Not all trials are run, `status` says why, a further run begins none, a larger budget all."""
    file, root = tmp_path / "x.yaml", tmp_path / "results"
    file.write_text(quick_sweep + "resources: {concurrent: 1}\nbudget: {hours: 1.0e-4}\n", encoding="utf-8")
    assert load_spec(file).budget.hours == 1e-4
    for _ in range(2):
        status, out, err = sweep("run", file, "--out", root)
        assert status == 0, err
        ended = open_store(root).latest_trials().collect().height
        if ended == 3:
            pytest.skip("three trials took less than 0.36 s")
        assert "the budget of 0.0001 hours is used up after 0.000" in out
        assert f"with {ended} of 3 trials run; a larger `budget.hours` continues it" in out
    for command in ("status", "watch"):
        status, out, err = sweep(command, root)
        assert status == 0, err
        if command == "status":
            assert "tiny: the budget of 0.0001 hours is used up" in out
    status, _, err = sweep("resume", root, "-o", "budget.hours=1")
    assert status == 0, err
    assert open_store(root).latest_trials().collect()["status"].to_list() == ["completed"] * 3
