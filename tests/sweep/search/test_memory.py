"""What a sampler remembers of a long sweep."""

import moocore
import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from ray.tune.utils import flatten_dict

from sweep.search.memory import AFFORDED, thinned
from sweep.search.searcher import OptunaSearcher
from sweep.spec.parameters import LogUniform
from sweep.spec.space import Space

OBJECTIVES = ("coherence", "likelihood")
KIND = {"x": FloatDistribution(0, 1)}


def trial(*values, x=0.5, state=TrialState.COMPLETE, missed=0.0):
    """Return a finished trial."""
    return create_trial(
        params={"x": x},
        distributions=KIND,
        values=values if state == TrialState.COMPLETE else None,
        state=state,
        constraints={"limit": missed} if state == TrialState.COMPLETE else {},
    )


def searcher(n_trials, sampler):
    """Return a searcher over one parameter, for trials of three epochs."""
    space = Space({"beta": LogUniform(low=0.1, high=10.0)}, ("m0", "m1"))
    return OptunaSearcher(
        space, OBJECTIVES, sampler=sampler, seed=0, n_trials=n_trials, epochs_max=lambda _: 3
    )


def result(*values):
    """Return a last report as Ray hands it on: with flat keys."""
    return flatten_dict({"epoch": 3, "objectives": dict(zip(OBJECTIVES, values, strict=True))})


def test_the_front_stays_and_the_rest_thins_out():
    """Of n completed trials the n / 2 of lowest front rank stay, of the others every second one, in order."""
    values = np.random.default_rng(0).normal(size=(80, 2))
    trials = [trial(*v, x=i / 100) for i, v in enumerate(values)]
    kept = thinned(trials)
    places = [round(100 * t.params["x"]) for t in kept]
    ranks = moocore.pareto_rank(values, maximise=True)
    assert len(kept) == 60
    assert places == sorted(places)
    left = [rank for i, rank in enumerate(ranks) if i not in places]
    assert min(left) >= sorted(ranks)[39]
    assert set(np.flatnonzero(ranks == 0)) <= set(places)


def test_trials_that_miss_a_constraint_go_first():
    """A trial that dominates all others stays only if it meets its constraints, or by chance of its place."""
    kept = thinned([trial(9.0, 9.0, missed=1.0), *(trial(float(i), -float(i)) for i in range(3))])
    assert (9.0, 9.0) not in {tuple(t.values) for t in kept}


def test_failed_trials_go_and_stopped_ones_thin_out():
    """Samplers learn nothing from a failure; of stopped trials every second one stays."""
    stopped = [trial(state=TrialState.PRUNED) for _ in range(6)]
    kept = thinned([*stopped, trial(state=TrialState.FAIL)])
    assert [t.state for t in kept] == [TrialState.PRUNED] * 3
    assert thinned([]) == []


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_long_sweep_keeps_its_study_small(sampler, monkeypatch):
    """The study never has many more trials than its sampler affords, every end is told, none repeated."""
    monkeypatch.setitem(AFFORDED, sampler, 12)
    s, running, seen, n = searcher(n_trials=30, sampler=sampler), [], [], 0
    for i in range(30):
        asked = s.suggest(str(i))
        seen.append(frozenset(asked["suggestion"].items()))
        running.append((str(i), asked["suggestion"]))
        if len(running) == 3:
            name, suggested = running.pop(0)
            s.on_trial_complete(name, result(suggested["beta"], -suggested["beta"]))
            n = max(n, len(s.study.trials))
    for name, suggested in running:
        s.on_trial_complete(name, result(suggested["beta"], -suggested["beta"]))
    trials = s.study.get_trials()
    assert n <= 12 + 3 + 1
    assert len(set(seen)) == 30
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert all(t.values == [t.params["beta"], -t.params["beta"]] for t in trials)


def test_a_short_sweep_forgets_nothing():
    """Up to what a sampler affords the study holds every trial."""
    s = searcher(n_trials=20, sampler="tpe")
    for i in range(20):
        s.suggest(str(i))
        s.on_trial_complete(str(i), result(0.1, -i))
    assert len(s.study.trials) == 20
