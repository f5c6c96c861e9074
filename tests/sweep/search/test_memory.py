"""What a sampler remembers of a long sweep."""

from types import SimpleNamespace

import moocore
import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from sweep.config.objectives import Objective
from sweep.config.parameters import LogUniform
from sweep.config.space import Space
from sweep.search.samplers import AFFORDED, remembered
from sweep.search.study import ConfigStudy
from sweep.search.trial import ConfigResult

OBJECTIVES = (Objective(name="coherence"), Objective(name="likelihood"))
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


def config_study(n, sampler):
    """Return a study of n configs over one parameter."""
    space = Space({"beta": LogUniform(low=0.1, high=10.0)}, ("m0", "m1"))
    sampled = {"sampler": sampler, "seed": 0, "n_configs": n, "known_points": ()}
    return ConfigStudy(SimpleNamespace(space=space, objectives=OBJECTIVES, limits=(), **sampled))


def completed(name, suggestion):
    """Return a config whose objectives are its beta, and minus it."""
    measured = dict(zip(("coherence", "likelihood"), (suggestion["beta"], -suggestion["beta"]), strict=True))
    return ConfigResult(name=name, suggestion=suggestion, status="completed", measured=measured)


def test_the_front_stays_and_the_rest_thins_out():
    """Of n completed trials the n / 2 of lowest front rank stay, of the others every second one, in order."""
    values = np.random.default_rng(0).normal(size=(80, 2))
    trials = [trial(*v, x=i / 100) for i, v in enumerate(values)]
    kept = remembered(trials, OBJECTIVES)
    places = [round(100 * t.params["x"]) for t in kept]
    ranks = moocore.pareto_rank(values, maximise=True)
    assert len(kept) == 60
    assert places == sorted(places)
    left = [rank for i, rank in enumerate(ranks) if i not in places]
    assert min(left) >= sorted(ranks)[39]
    assert set(np.flatnonzero(ranks == 0)) <= set(places)


def test_trials_that_miss_a_constraint_go_first():
    """A trial that dominates all others stays only if it meets its constraints, or by chance of its place."""
    kept = remembered(
        [trial(9.0, 9.0, missed=1.0), *(trial(float(i), -float(i)) for i in range(3))], OBJECTIVES
    )
    assert (9.0, 9.0) not in {tuple(t.values) for t in kept}


def test_failed_trials_go_and_stopped_ones_thin_out():
    """Samplers learn nothing from a failure; of stopped trials every second one stays."""
    stopped = [trial(state=TrialState.PRUNED) for _ in range(6)]
    kept = remembered([*stopped, trial(state=TrialState.FAIL)], OBJECTIVES)
    assert [t.state for t in kept] == [TrialState.PRUNED] * 3
    assert remembered([], OBJECTIVES) == []


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_long_sweep_keeps_its_study_small(sampler, monkeypatch):
    """The study never has many more trials than its sampler affords, every end is told, none repeated."""
    monkeypatch.setitem(AFFORDED, sampler, 5)
    s, running, seen, n = config_study(12, sampler), [], set(), 0
    for i in range(12):
        running.append((str(i), s.ask(str(i))))
        seen.add(running[-1][1]["beta"])
        if len(running) == 3:
            s.tell(completed(*running.pop(0)))
            n = max(n, len(s.study.trials))
    for asked in running:
        s.tell(completed(*asked))
    trials = s.study.get_trials()
    assert n <= 5 + 3 + 1
    assert len(seen) == 12
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert all(t.values == [t.params["beta"], -t.params["beta"]] for t in trials)


def test_a_short_sweep_forgets_nothing():
    """Up to what a sampler affords the study holds every trial."""
    s = config_study(20, "tpe")
    for i in range(20):
        s.tell(completed(str(i), s.ask(str(i))))
    assert len(s.study.trials) == 20
