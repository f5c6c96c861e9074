"""The searcher of trials: seeds per config, and what the study of configs is told."""

import math
import pickle
import threading
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher
from trial_records import NAMES, START, record

from sweep.config.sweep_spec import load_spec
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, TrialReport, begin_record, end_record


@pytest.fixture
def spec(sweep_file):
    """Give a sweep of two configs with two seeds each, from seed 5 on."""
    return load_spec(sweep_file, ["trials=2", "replicates.seeds=2", "fixed.seed=5"])


class Searched(SweepSearcher):
    """The searcher with trials that end as the recorder ends them: judged, then in the state."""

    def __init__(self, spec, past=(), told=lambda _: None, **options):
        self.spec, self.told, self.trials = spec, told, {}
        super().__init__(spec, SweepState.resumed(spec, past), **options)

    def suggest(self, trial_id):
        found = super().suggest(trial_id)
        if isinstance(found, dict):
            self.trials[trial_id] = SuggestedTrial.from_ray(found)
        return found

    def finish(self, trial_id, report, *, error=False):
        report = report or TrialReport()
        report = replace(report, stopped="at a rung") if report.objectives else report
        report = replace(report, failure="lost") if error else report
        trial = self.trials[trial_id]
        begun = begin_record(self.spec, trial.config(self.spec), trial, START)
        config = self._state.end(end_record(begun, report, self.spec.objectives, START, self.spec.limits))
        if config is not None:
            self.tell(config)
            self.told(config)


def last(coherence, likelihood, epoch=2, **more):
    """Return what a trial reported last."""
    return TrialReport(epoch=epoch, objectives=dict(zip(NAMES, (coherence, likelihood), strict=True)), **more)


def values(config):
    """Return a config's objectives."""
    return [config.measured[name] for name in NAMES]


def test_a_config_is_told_once_with_the_mean_over_its_seeds(spec):
    """The second seed has the same suggestion and the next seed; the study waits for both."""
    told = []
    s = Searched(spec, told=told.append)
    first, second = s.suggest("a"), s.suggest("b")
    assert (first["trial_id"], second["trial_id"]) == ("t0000", "t0000-s1")
    assert first["suggestion"] == second["suggestion"]
    configs = [SuggestedTrial.from_ray(x).config(spec) for x in (first, second)]
    assert [c.seed for c in configs] == [5, 6]
    assert configs[0].config_id == configs[1].config_id
    s.finish("b", last(0.5, -7.0))
    assert s.study.trials[0].state == TrialState.RUNNING
    assert told == []
    s.finish("a", last(0.25, -5.0))
    assert s.study.trials[0].state == TrialState.COMPLETE
    assert s.study.trials[0].values == [0.375, -6.0]
    assert [(t.name, values(t)) for t in told] == [("t0000", [0.375, -6.0])]
    assert s.suggest("c")["trial_id"] == "t0001"


@pytest.mark.parametrize(
    "found",
    [
        None,
        TrialReport(),
        TrialReport(failure="lost"),
        last(math.nan, -5.0),
        last(0.5, math.inf),
        TrialReport(epoch=2, objectives={"log_likelihood": 1.0}),
        TrialReport(epoch=1),
    ],
)
def test_what_is_not_finite_or_not_there_fails(sweep_file, found):
    """A missing, partial or non-finite result ends as FAIL: nothing is ever left RUNNING."""
    s = Searched(load_spec(sweep_file))
    s.suggest("a")
    s.finish("a", found)
    assert s.study.trials[0].state == TrialState.FAIL


def test_saving_and_restoring_need_no_pickle(sweep_file, tmp_path):
    """Ray's snapshots call both, and pickle the searcher; nothing stores or changes the study."""
    s = Searched(load_spec(sweep_file), ahead=True)
    s.suggest("a")
    s.save(str(tmp_path / "state"))
    s.restore(str(tmp_path / "state"))
    assert (tmp_path / "state").read_text() == "{}"
    assert b"t0000" not in pickle.dumps(s)
    assert len(s.study.trials) == 1


@pytest.mark.parametrize(
    ("results", "state", "expected"),
    [
        ([last(0.5, -7.0), last(0.75, -9.0)], TrialState.COMPLETE, [0.625, -8.0]),
        ([last(0.5, -7.0), TrialReport(failure="no")], TrialState.FAIL, None),
        ([TrialReport(failure="no"), last(0.5, -7.0)], TrialState.FAIL, None),
        ([last(0.5, -7.0, epoch=1), last(0.5, -7.0)], TrialState.PRUNED, None),
        ([TrialReport(failure="no"), None], TrialState.FAIL, None),
        ([last(float("nan"), -7.0), TrialReport(failure="no")], TrialState.FAIL, None),
        ([last(float("nan"), -7.0), last(0.5, -7.0, epoch=1)], TrialState.PRUNED, None),
        ([last(0.5, -7.0, epoch=1), last(float("nan"), -7.0)], TrialState.PRUNED, None),
    ],
)
def test_a_config_counts_whole(spec, results, state, expected):
    """One seed that was stopped, failed or is not finite decides for the config."""
    s = Searched(spec)
    for name, found in zip("ab", results, strict=True):
        s.suggest(name)
        s.finish(name, found, error=found is None)
    assert s.study.trials[0].state == state
    assert s.study.trials[0].values == expected


def test_a_single_seed_is_told_as_it_is(sweep_file):
    """Without replicates the study hears of every trial at once, and Ray's error counts above values."""
    s = Searched(load_spec(sweep_file))
    for name in "abc":
        s.suggest(name)
    s.finish("a", last(0.5, -7.0))
    s.finish("b", last(0.5, -7.0), error=True)
    s.on_trial_complete("c", last(0.5, -7.0))  # Ray tells the searcher first; the recorder judges
    assert [t.state for t in s.study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]
    assert s.suggest("d") is None
    s.finish("c", last(0.1, -9.0))
    assert s.suggest("d") == Searcher.FINISHED


def test_what_was_cut_off_goes_on(spec):
    """A seed that ran when the driver was lost comes first; then the study hears of its config."""
    first = Searched(spec)
    asked = [first.suggest(x) for x in "abc"]
    past = [
        record("t0000", 0.2, -8.0, suggestion=asked[0]["suggestion"]),
        record("t0000-s1", status="running", suggestion=asked[0]["suggestion"]),
        record("t0001", status="running", attempt=2, suggestion=asked[2]["suggestion"]),
    ]
    told = []
    s = Searched(spec, past, told.append)
    again = [s.suggest(x) for x in "abc"]
    assert [a["trial_id"] for a in again] == ["t0000-s1", "t0001", "t0001-s1"]
    assert [a["attempt"] for a in again] == [0, 2, 0]
    assert [a["suggestion"] for a in again] == [asked[i]["suggestion"] for i in (0, 2, 2)]
    s.finish("a", last(0.4, -4.0))
    assert [(t.name, values(t)) for t in told] == [("t0000", pytest.approx([0.3, -6.0]))]
    for x in "bc":
        s.finish(x, last(0.4, -4.0))
    assert [t.state for t in s.study.trials] == [TrialState.COMPLETE] * 2
    assert s.suggest("d") == Searcher.FINISHED


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "qmc"])
def test_a_second_run_does_not_suggest_the_first_ones_configs_again(sweep_file, sampler):
    """What is suggested after going on differs from everything before; names go on behind the highest."""
    spec = load_spec(sweep_file, [f"sampler={sampler}"])
    first = Searched(spec)
    asked = {a["trial_id"]: a["suggestion"] for a in (first.suggest(x) for x in "abc")}
    done = [record(t, status="failed", suggestion=asked[t]) for t in asked if t != "t0001"]
    s = Searched(spec.model_copy(update={"trials": 5}), done)
    new = [s.suggest(x) for x in "abc"]
    assert [n["trial_id"] for n in new] == ["t0003", "t0004", "t0005"]
    assert not any(n["suggestion"] in asked.values() for n in new)


def ask(s, trial_id):
    """Return the next suggestion, asking again while it is not ready."""
    while (found := s.suggest(trial_id)) is None:
        pass
    return found


def test_asking_ahead_changes_no_suggestion():
    """One trial at a time, asking in the background gives the suggestions that waiting for them gives."""

    def draws(*, ahead):
        s = Searched(load_spec("digits", ["trials=12", "sampler=tpe", "replicates.seeds=1"]), ahead=ahead)
        found = []
        for i in range(12):
            found.append(ask(s, str(i)))
            s.finish(str(i), last(0.1 * i, -float(i * i % 7), epoch=6))
        assert {t.state for t in s.study.get_trials()} == {TrialState.COMPLETE}
        assert s.suggest("end") == Searcher.FINISHED
        return found

    assert draws(ahead=True) == draws(ahead=False)


def test_the_driver_does_not_wait_for_a_slow_sampler(monkeypatch):
    """While the sampler thinks there is no suggestion, and trials end at once; then it knows of them."""
    thinking = threading.Event()
    s = Searched(load_spec("digits", ["trials=3"]), ahead=True)
    first = ask(s, "a")
    asks = s._configs._ask
    monkeypatch.setattr(s._configs, "_ask", lambda: (thinking.wait(60), asks())[1])
    assert s.suggest("b") is None
    s.finish("a", last(0.5, -7.0, epoch=6))
    assert s.suggest("b") is None
    thinking.set()
    assert ask(s, "b")["trial_id"] == "t0001"
    assert first["trial_id"] == "t0000"
    assert s.study.trials[0].state == TrialState.COMPLETE


def test_what_goes_wrong_in_the_background_comes_out(monkeypatch):
    """An error of the sampler is raised by the next suggestion, one of the study by the one after."""
    s = Searched(load_spec("digits", ["trials=3"]), ahead=True)
    ask(s, "a")
    monkeypatch.setattr(s._configs, "_tell", lambda *_, **__: 1 / 0)
    s.finish("a", last(0.5, -7.0, epoch=6))
    with pytest.raises(ZeroDivisionError):
        ask(s, "b")
    monkeypatch.setattr(s._configs, "_ask", [].pop)
    with pytest.raises(IndexError):
        ask(s, "c")


def test_constraints_count_what_is_no_objective(sweep_file):
    """The study hears by how much parameters and seconds miss their limits; a later run hears the same."""
    spec = load_spec(sweep_file, ['constraints.seconds="<= 100"', 'constraints.parameters="<= 10"'])
    s = Searched(spec)
    asked = s.suggest("a")
    s.finish("a", last(0.5, -7.0, seconds=150.0, n_parameters=5))
    (told,) = s.study.trials
    assert told.constraints == {"seconds": 0.5, "parameters": -0.5}
    more = {"suggestion": asked["suggestion"], "n_parameters": 5, "seconds": 150.0}
    again = Searched(spec, [record("t0000", 0.5, -7.0, "infeasible", **more)])
    assert again.study.trials[0].constraints == told.constraints
