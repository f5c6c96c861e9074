"""Negating an objective together with its direction changes no decision of the search."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from trial_records import NAMES

from sweep.config.objectives import Objective, gains
from sweep.config.parameters import LogUniform, Uniform
from sweep.config.space import Space
from sweep.search.front import Front
from sweep.search.halving import decide
from sweep.search.samplers import remembered
from sweep.search.study import ConfigStudy
from sweep.search.trial import ConfigResult

UP = tuple(Objective(name=name) for name in NAMES)
CASES = [
    tuple(replace(o, direction="minimize") if down else o for o, down in zip(UP, downs, strict=True))
    for downs in ((True, False), (False, True), (True, True))
]
POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9)


def turned(vector, objectives):
    """Return a vector as it is measured if some objectives are minimised."""
    return tuple(float(x) for x in gains(vector, objectives))


@pytest.mark.parametrize("objectives", CASES)
@given(points=POINTS)
@settings(max_examples=50, deadline=None)
def test_the_front_and_its_volume(objectives, points):
    """Configs on the front and hypervolume after every trial, seeds of one config included."""
    up = Front(UP, dict.fromkeys(NAMES, -1.0))
    other = Front(objectives, dict(zip(NAMES, turned((-1.0, -1.0), objectives), strict=True)))
    for number, point in enumerate(points):
        config = f"t{number // 2:04}"
        up.place(config, tuple(map(float, point)))
        other.place(config, turned(point, objectives))
        assert other.configs == up.configs
        assert other.volume == pytest.approx(up.volume)


@pytest.mark.parametrize("objectives", CASES)
@given(points=POINTS)
@settings(max_examples=50, deadline=None)
def test_decisions_at_a_rung(objectives, points):
    """Decision, rank and place are the same."""
    names = [str(i) for i in range(len(points))]
    up = dict(zip(names, points, strict=True))
    other = {name: turned(point, objectives) for name, point in up.items()}
    for name in names:
        expected = decide(name, up, [True, True], 2)
        assert decide(name, other, [o.maximize for o in objectives], 2) == expected


@pytest.mark.parametrize("objectives", CASES)
@given(points=POINTS)
@settings(max_examples=20, deadline=None)
def test_what_a_sampler_remembers(objectives, points):
    """The same trials stay of a long study."""
    kind = {"x": FloatDistribution(0, 100)}

    def kept(direction):
        trials = [
            create_trial(
                params={"x": i}, distributions=kind, values=turned(p, direction), state=TrialState.COMPLETE
            )
            for i, p in enumerate(points)
        ]
        return [trial.params["x"] for trial in remembered(trials, direction)]

    assert kept(objectives) == kept(UP)


@pytest.mark.parametrize("objectives", CASES)
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_suggestions(objectives, sampler):
    """A sampler that is told the negated values and directions suggests the same configs."""

    def asked(direction):
        space = Space({"beta": LogUniform(low=0.1, high=10.0), "lr": Uniform(low=0, high=1)}, ("m0", "m1"))
        sampled = {"sampler": sampler, "seed": 1, "n_configs": 30, "known_points": ()}
        study = ConfigStudy(SimpleNamespace(space=space, objectives=direction, limits=(), **sampled))
        suggestions = []
        for number in range(30):
            suggestion = study.ask(str(number))
            suggestions.append(suggestion)
            point = (suggestion["beta"] % 1, -suggestion["lr"])
            values = dict(zip(NAMES, turned(point, direction), strict=True))
            study.tell(
                ConfigResult(name=str(number), suggestion=suggestion, status="completed", measured=values)
            )
        return suggestions

    assert asked(objectives) == asked(UP)
