"""The scheduler behind Ray's interface: rungs, brackets, its record, and a whole run with the searcher."""

import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict

from sweep.config.objectives import Objective
from sweep.config.schema import ReplicatesSpec, SchedulerSpec
from sweep.config.sweep_spec import load_spec
from sweep.running.recorder import Recorder
from sweep.search.past import recorded_vectors
from sweep.search.scheduler import HalvingScheduler
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState
from sweep.store.read import Store
from sweep.store.write import StoreWriter

OBJECTIVES = tuple(Objective(name=name) for name in ("conditional_coherence", "log_likelihood"))


def scheduler(budget=20, seed=0, recorded=None, when="all", told=lambda _: None, **section):
    """Return a scheduler with rungs at 2 and 6, and the list of its decisions, which `told` is told."""
    decisions = []
    spec = SimpleNamespace(
        scheduler=SchedulerSpec(**{"type": "halving", "eta": 3} | section),
        objectives=OBJECTIVES,
        seed=seed,
        replicates=ReplicatesSpec(when=when),
        full_budget=lambda suggestion: budget,
    )
    found = HalvingScheduler(spec, lambda decision: (decisions.append(decision), told(decision)), recorded)
    return found, decisions


def report(s, trial_id, epoch, coherence=None, likelihood=None):
    """Hand a report to the scheduler as Ray does, with flat keys."""
    result = {"epoch": epoch}
    if coherence is not None:
        result["objectives"] = {"conditional_coherence": coherence, "log_likelihood": likelihood}
    trial = SimpleNamespace(config={"trial_id": trial_id, "attempt": 0, "suggestion": {}})
    return s.on_trial_result(None, trial, flatten_dict(result))


def test_trials_are_compared_at_the_rungs_only():
    """Between rungs, without objectives and at the full budget every trial goes on without a decision."""
    s, decisions = scheduler(budget=6)
    assert report(s, "a", 2, 0.9, -5.0) == TrialScheduler.CONTINUE
    assert report(s, "b", 1) == TrialScheduler.CONTINUE
    assert report(s, "b", 2) == TrialScheduler.CONTINUE
    assert report(s, "b", 3, 0.0, -99.0) == TrialScheduler.CONTINUE
    assert report(s, "b", 6, 0.0, -99.0) == TrialScheduler.CONTINUE
    assert [(d.trial_id, d.epoch) for d in decisions] == [("a", 2)]


def test_a_dominated_newcomer_stops_and_the_decision_says_why():
    """What is handed on names the trial, its rung, its front's rank and how many it was compared to."""
    s, decisions = scheduler()
    report(s, "a", 2, 0.5, -5.0)
    assert report(s, "b", 2, 0.4, -6.0) == TrialScheduler.STOP
    assert report(s, "c", 2, 0.6, -4.0) == TrialScheduler.CONTINUE
    last = decisions[1]
    assert (last.trial_id, last.epoch, last.bracket, last.rung) == ("b", 2, 0, 0)
    assert (last.decision, last.front_rank, last.ahead, last.compared_to) == ("stop", 1, 1, 1)
    assert last.reason == "epoch 2: 1 of 1 others ahead; the best 1/3 continue"
    assert last.objectives == {"conditional_coherence": 0.4, "log_likelihood": -6.0}
    assert report(s, "a", 6, 0.5, -5.0) == TrialScheduler.CONTINUE
    assert (decisions[3].rung, decisions[3].compared_to) == (1, 0)


def test_a_spared_trial_neither_stops_nor_counts():
    """A further seed that a config has earned runs to the end, and others are not compared with it."""
    past = {"a-s1": {2: (0.9, -1.0)}}
    s, decisions = scheduler(recorded=past, when="front")
    assert report(s, "b", 2, 0.5, -5.0) == TrialScheduler.CONTINUE
    assert report(s, "b-s1", 2, 0.0, -99.0) == TrialScheduler.CONTINUE
    assert report(s, "c", 2, 0.6, -4.0) == TrialScheduler.CONTINUE
    assert [(d.trial_id, d.compared_to) for d in decisions] == [("b", 0), ("c", 1)]


def test_a_retried_trial_is_decided_about_once():
    """A trial that went on and reports its rung again, after its worker was lost, goes on again."""
    s, decisions = scheduler()
    report(s, "a", 2, 0.5, -5.0)
    report(s, "b", 2, 0.9, -1.0)
    assert report(s, "a", 2, 0.5, -5.0) == TrialScheduler.CONTINUE
    assert len(decisions) == 2


def test_what_is_not_finite_stops():
    """A NaN objective ends the trial at its first rung, and later trials are not compared to it."""
    s, decisions = scheduler()
    assert report(s, "a", 2, math.nan, -5.0) == TrialScheduler.STOP
    assert decisions[0].reason == "epoch 2: not a finite number"
    assert report(s, "b", 2, 0.1, -9.0) == TrialScheduler.CONTINUE


def test_rungs_are_rebuilt_from_earlier_runs():
    """A scheduler that is given recorded vectors decides as the one that saw the trials itself."""
    points = {"a": (0.3, -8.0), "b": (0.5, -5.0), "c": (0.1, -7.0), "d": (0.6, -9.0)}
    first, _ = scheduler()
    for name, point in points.items():
        report(first, name, 2, *point)
    second, _ = scheduler(recorded={name: {2: point} for name, point in points.items()})
    third, _ = scheduler()
    for newcomer in ((0.55, -5.5), (0.2, -7.5), (0.7, -9.5)):
        assert report(first, str(newcomer), 2, *newcomer) == report(second, str(newcomer), 2, *newcomer)
    assert report(third, "x", 2, 0.0, -99.0) == TrialScheduler.CONTINUE
    assert report(second, "x", 2, 0.0, -99.0) == TrialScheduler.STOP


def test_recorded_vectors_are_read_from_the_tables(tmp_path, make_report, make_evaluation):
    """Evaluated epochs give their objectives, other epochs nothing; an empty store gives no trials."""
    assert recorded_vectors(Store(tmp_path), OBJECTIVES) == {}
    names = ("m0", "m1")
    writer = StoreWriter(tmp_path)
    found = [make_evaluation(names, 0.25, -20.0), None, make_evaluation(names, math.nan, -10.0)]
    writer.write_reports(
        "t0", 0, [make_report(e + 1, names, found=evaluation) for e, evaluation in enumerate(found)], names
    )
    vectors = recorded_vectors(Store(tmp_path), OBJECTIVES[::-1])
    assert list(vectors) == ["t0"]
    assert vectors["t0"][1] == (-20.0, 0.25)
    assert vectors["t0"][3][0] == -10.0
    assert math.isnan(vectors["t0"][3][1])
    assert sorted(vectors["t0"]) == [1, 3]


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_one_objective_may_decide(kind):
    """The other objective plays no part; the median rule keeps the better half, ASHA the best 1/eta."""
    s, decisions = scheduler(type=kind, objective="log_likelihood")
    found = [report(s, str(v), 2, 1 - v / 10, -float(v)) for v in (5, 1, 3, 2, 4)]
    stopped = [decision == TrialScheduler.STOP for decision in found]
    assert stopped == [False, False, kind == "asha", False, True]
    assert decisions[0].objectives == {"log_likelihood": -5.0}


def test_no_scheduler_stops_nothing():
    """Type none has no rungs, whatever is reported."""
    s, decisions = scheduler(type="none")
    assert {report(s, str(v), e, -v, -v) for v in range(5) for e in (1, 2, 6)} == {TrialScheduler.CONTINUE}
    assert decisions == []


def test_brackets_start_later_and_are_drawn_from_the_seed_and_the_name():
    """Bracket 1 has no rung at 2; a third as many trials are in it; another run gives the same ones."""
    s, decisions = scheduler(brackets=2)
    names = [f"t{i:04}" for i in range(400)]
    where = [s.bracket(name) for name in names]
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - NumPy's global generator must not be touched
    assert where == [scheduler(brackets=2)[0].bracket(name) for name in reversed(names)][::-1]
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002 - as above
    assert where != [scheduler(brackets=2, seed=1)[0].bracket(name) for name in names]
    assert 70 <= sum(where) <= 130
    late = [name for name, bracket in zip(names, where, strict=True) if bracket == 1][:2]
    assert [report(s, name, 2, -float(i), 0.0) for i, name in enumerate(late)] == [
        TrialScheduler.CONTINUE
    ] * 2
    assert [report(s, name, 6, -float(i), 0.0) for i, name in enumerate(late)][1] == TrialScheduler.STOP
    assert [(d.bracket, d.rung, d.epoch) for d in decisions] == [(1, 0, 6)] * 2


def test_a_decision_becomes_an_event(tmp_path):
    """The row in the events table has all that was decided, and its objectives as JSON."""
    s, decisions = scheduler()
    report(s, "t0", 2, 0.5, -5.0)
    writer = StoreWriter(tmp_path)
    writer.write_event(replace(decisions[0], attempt=1))
    (row,) = Store(tmp_path).events().collect().to_dicts()
    assert (row["trial_id"], row["attempt"], row["epoch"], row["kind"]) == ("t0", 1, 2, "rung")
    assert (row["decision"], row["front_rank"], row["ahead"], row["compared_to"]) == ("continue", 0, 0, 0)
    assert row["objectives_json"] == '{"conditional_coherence": 0.5, "log_likelihood": -5.0}'


def learn(suggested):
    """Report two objectives that get better with the epochs; one trial in five has NaN, one raises."""
    x, number = suggested["suggestion"]["beta"], int(suggested["trial_id"][1:])
    for epoch in range(1, 9):
        if number % 5 == 4:
            raise ValueError("boom")
        value = math.nan if number % 5 == 3 else -abs(x - 0.3) / epoch
        measured = {"conditional_coherence": value, "log_likelihood": -abs(x - 0.7) / epoch}
        tune.report({"epoch": epoch, "objectives": measured})


@pytest.mark.ray
def test_every_trial_of_a_run_ends_in_a_final_state(shared_ray, tmp_path):
    """Stopped is PRUNED, full budget COMPLETE, NaN and errors FAIL, none RUNNING; decisions match them."""
    file = tmp_path / "x.yaml"
    file.write_text(
        "{name: x, data: {name: digits}, trials: 15, seed: 1, sampler: random, fixed: {epochs: 8}, "
        "reference_point: {conditional_coherence: -1, log_likelihood: -1}, "
        "search_space: {beta: {type: uniform, low: 0.001, high: 1}}}"
    )
    spec = load_spec(str(file))
    state = SweepState(spec)
    searcher = SweepSearcher(spec, state, ahead=True)
    recorder = Recorder(spec, state, StoreWriter(tmp_path / "r"), on_config=searcher.tell)
    s, decisions = scheduler(budget=8, grace=1, told=recorder.on_decision)
    tune.Tuner(
        tune.with_resources(learn, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=s, num_samples=-1, max_concurrent_trials=2, reuse_actors=True
        ),
        run_config=tune.RunConfig(name="x", storage_path=str(tmp_path), verbose=0, callbacks=[recorder]),
    ).fit()
    states = Counter(trial.state for trial in searcher.study.trials)
    stopped = {d.trial_id for d in decisions if d.decision == "stop"}
    assert sum(states.values()) == 15
    assert states[TrialState.FAIL] == 6
    assert states[TrialState.PRUNED] == len(stopped) - 3
    assert states[TrialState.COMPLETE] == 9 - states[TrialState.PRUNED] >= 1
    assert states[TrialState.PRUNED] >= 1
    for trial in searcher.study.trials:
        if trial.state == TrialState.COMPLETE:
            assert trial.values == pytest.approx([-abs(trial.params["beta"] - c) / 8 for c in (0.3, 0.7)])
        if trial.state == TrialState.PRUNED:
            epoch = next(
                d.epoch for d in decisions if d.trial_id == trial.user_attrs["name"] and d.decision == "stop"
            )
            assert epoch in (1, 3)
            expected = [-abs(trial.params["beta"] - c) / epoch for c in (0.3, 0.7)]
            assert trial.user_attrs["values"] == pytest.approx(expected)
