"""The study of configs: what it suggests, and what it knows of every config in the end."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from sweep.config.constraints import limit
from sweep.config.objectives import Objective
from sweep.config.parameters import Choice, Int, LogUniform, Simplex
from sweep.config.space import Space
from sweep.search.study import ConfigStudy
from sweep.search.trial import ConfigResult

OBJECTIVES = ("conditional_coherence", "log_likelihood")
SPACE = Space(
    {
        "beta": LogUniform(low=0.1, high=10.0),
        "latent_dim": Int(low=8, high=64),
        "subset_weights": Simplex(over="size"),
    },
    ("m0", "m1", "m2"),
)


def study(n=5, sampler="random", seed=0, space=SPACE, limits=(), start_with=(), **known):
    """Return a study over three parameters and two objectives."""
    spec = SimpleNamespace(
        space=space,
        objectives=[Objective(name=name) for name in OBJECTIVES],
        sampler=sampler,
        seed=seed,
        n_configs=n,
        limits=limits,
        known_points=start_with,
    )
    return ConfigStudy(spec, **known)


def known(name, suggestion, status, *values, **more):
    """Return a config and what has become of it."""
    measured = dict(zip(OBJECTIVES, values, strict=False)) | more
    return ConfigResult(name=name, suggestion=suggestion, status=status, measured=measured)


def test_suggestions_are_points_of_the_space():
    """Each is one, with weights that sum to one."""
    s = study()
    for name in "abc":
        settings = SPACE.settings(s.ask(name))
        assert 0.1 <= settings["beta"] <= 10
        assert math.isclose(sum(settings["subset_weights"]), 1.0)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "random", "qmc"])
def test_a_seed_fixes_the_suggestions(sampler):
    """Two studies with one seed agree config by config; another seed differs."""

    def draws(seed):
        s, found = study(sampler=sampler, seed=seed), []
        for i in range(5):
            found.append(s.ask(str(i)))
            s.tell(known(str(i), found[-1], "completed", 0.1 * i, -10.0 * i))
        return found

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


@pytest.mark.parametrize(
    ("status", "state", "values", "aside"),
    [
        ("completed", TrialState.COMPLETE, [0.5, -5.0], {}),
        ("infeasible", TrialState.COMPLETE, [0.5, -5.0], {}),
        ("stopped", TrialState.PRUNED, None, {"values": [0.5, -5.0]}),
        ("failed", TrialState.FAIL, None, {"values": [0.5, -5.0]}),
    ],
)
def test_every_end_is_told(status, state, values, aside):
    """Values of less than the full budget are kept beside the trial and do not count; the names are kept."""
    s = study()
    s.tell(known("t0000", s.ask("t0000"), status, 0.5, -5.0))
    (trial,) = s.study.trials
    assert (trial.state, trial.values) == (state, values)
    assert trial.user_attrs == {"name": "t0000", **aside}


def test_the_past_is_known_and_what_runs_is_open():
    """Configs that have ended enter the study; one that runs is open, and its end is told as any other's."""
    first = study()
    asked = [first.ask(name) for name in "abc"]
    past = [
        known("a", asked[0], "completed", 0.4, -6.0),
        known("b", asked[1], "running"),
        known("c", asked[2], "failed"),
    ]
    s = study(past=past)
    assert s.ask("d") not in asked
    s.tell(known("b", asked[1], "completed", 0.5, -5.0))
    states = {trial.user_attrs.get("name"): trial.state.name for trial in s.study.trials}
    assert states == {"a": "COMPLETE", "b": "COMPLETE", "c": "FAIL", None: "RUNNING"}
    assert s.study.best_trials[0].params == pytest.approx(asked[1])


CONDITIONAL = Space(
    {
        "method": Choice(values=("mopoe", "moe")),
        "beta": LogUniform(low=0.1, high=10.0),
        "subset_weights": Simplex(over=("m0", "m0+m1"), when={"method": "mopoe"}),
    },
    ("m0", "m1"),
)


def test_a_missed_constraint_is_told():
    """Optuna knows by how much, and leaves the trial out of its front; a kept one is no obstacle."""
    s = study(limits=(limit("parameters", "<= 100"), limit("joint_coherence", ">= 0.1")))
    for name, n in (("a", 150), ("b", 100)):
        s.tell(known(name, s.ask(name), "completed", 0.5, -5.0, parameters=n, joint_coherence=0.2))
    large, small = s.study.trials
    assert large.state == small.state == TrialState.COMPLETE
    assert large.constraints == {"parameters": 0.5, "joint_coherence": pytest.approx(-1)}
    assert [trial.number for trial in s.study.best_trials] == [small.number]


def test_the_past_keeps_its_states_and_constraints():
    """Stopped ones come back as PRUNED, infeasible ones with what they missed."""
    asked = study().ask("x")
    states = ("completed", "stopped", "failed", "infeasible")
    past = [known(f"t{i}", asked, state, 0.4, -6.0) for i, state in enumerate(states)]
    s = study(past=past, limits=(limit("log_likelihood", ">= -3"),))
    assert [trial.state.name for trial in s.study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert s.study.trials[3].constraints == {"log_likelihood": 1.0}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "random", "qmc"])
def test_a_parameter_under_another_is_suggested_only_there(sampler):
    """Weights are suggested under one method alone, and every suggestion is a point of the space."""
    s, methods = study(16, sampler, space=CONDITIONAL), set()
    for i in range(16):
        suggestion = s.ask(str(i))
        settings = CONDITIONAL.settings(suggestion)
        methods.add(settings["method"])
        assert ("subset_weights.0" in suggestion) == (settings["method"] == "mopoe")
        assert CONDITIONAL.suggestion(settings) == pytest.approx(suggestion)
        s.tell(known(str(i), suggestion, "completed", suggestion["beta"] / 10, -suggestion["beta"]))
    assert methods == {"mopoe", "moe"}
    states = [trial.state for trial in s.study.trials]
    assert (states.count(TrialState.COMPLETE), states.count(TrialState.RUNNING)) == (16, 0)


def test_known_points_come_first_and_once():
    """They come first in their order; a later run begins after those that have been asked for."""
    points = [SPACE.suggestion(SPACE.complete({"beta": b})) for b in (1.0, 2.0, 3.0)]
    s = study(start_with=points)
    first = [s.ask(str(i)) for i in range(4)]
    assert first[:3] == points
    assert first[3] not in points
    past = [known("t0000", first[0], "completed", 0.1, -1.0), known("t0001", first[1], "running")]
    again = study(start_with=points, past=past)
    assert again.ask("t0002") == points[2]
    assert again.ask("t0003") not in points


def test_a_grid_is_run_through_once_in_an_order_of_the_seed():
    """Every point comes exactly once, a known one first; a later run goes on where the first ended."""
    space = Space({"latent_dim": Int(low=8, high=12, step=2), "batch_size": Choice(values=(32, 64))}, ("m0",))
    point = {"latent_dim": 10, "batch_size": 64}

    def draws(seed, past=()):
        s = study(6, "grid", seed, space, start_with=[point], past=past)
        return [s.ask(str(i)) for i in range(6 - len(past))]

    found = draws(0)
    assert sorted(tuple(f.values()) for f in found) == [(d, b) for d in (8, 10, 12) for b in (32, 64)]
    assert found[0] == point
    assert any(draws(seed) != found for seed in range(1, 4))
    past = [known(f"t{i}", f, "failed") for i, f in enumerate(found[:2])]
    assert draws(0, past) == found[2:]


def test_warm_configs_are_known():
    """The study learns from those of another sweep."""
    asked = study().ask("x")
    s = study(warm=[known("other", asked, "completed", 0.9, -1.0)])
    assert s.study.best_trials[0].values == [0.9, -1.0]


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_generations_go_on_with_what_is_known(sampler):
    """A genetic search goes on from configs of before, which lie in a corner; without them it is anywhere."""
    corner = [
        SPACE.suggestion(SPACE.complete({"beta": 0.1 + i / 1000, "latent_dim": 8 + i % 3})) for i in range(60)
    ]
    past = [known(f"t{i:04d}", c, "completed", 0.5, -i) for i, c in enumerate(corner)]
    s = study(120, sampler, past=past)
    assert [t.user_attrs["name"] for t in s.study.trials[:60]] == [c.name for c in past]
    near = sum(SPACE.settings(s.ask(f"n{i}"))["latent_dim"] <= 10 for i in range(40))
    assert near >= 15  # a config that comes again is drawn anew, anywhere


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc"])
def test_no_config_comes_twice_while_there_are_new_ones(sampler):
    """Of twelve configs eight trials have eight, those of an earlier run included."""
    space = Space({"beta": Choice(values=(0.1, 1, 2, 3)), "latent_dim": Choice(values=(8, 16, 32))}, ("m0",))
    first = study(4, sampler, space=space)
    past = [known(f"t{i}", first.ask(str(i)), "stopped", 0.1, -9.0) for i in range(4)]
    s = study(8, sampler, space=space, past=past)
    asked = [config.suggestion for config in past]
    for i in range(4):
        asked.append(s.ask(str(i)))
        s.tell(known(str(i), asked[-1], "completed", asked[-1]["beta"], -asked[-1]["latent_dim"]))
    assert len({tuple(sorted(suggestion.items())) for suggestion in asked}) == 8
    assert all(trial.state != TrialState.RUNNING for trial in s.study.trials)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc"])
def test_every_config_of_a_space_comes_once(sampler):
    """Also the last one, which a sampler's draws might miss again and again."""
    space = Space({"beta": Choice(values=(0.1, 1.0, 2.0)), "latent_dim": Int(low=1, high=7)}, ("m0",))
    assert space.size == 21
    s, asked = study(21, sampler, space=space), []
    for i in range(21):
        asked.append(s.ask(str(i)))
        s.tell(known(str(i), asked[-1], "completed", asked[-1]["beta"], -asked[-1]["latent_dim"]))
    assert {tuple(sorted(point.items())) for point in asked} == {
        tuple(sorted(point.items())) for point in space.points()
    }


def test_known_points_that_are_the_same_come_once():
    """A second one would train the same config again, to the same numbers."""
    point = SPACE.suggestion(SPACE.complete({"beta": 1.0}))
    s = study(start_with=[point, dict(point)])
    asked = [s.ask(str(i)) for i in range(2)]
    assert asked[0] == pytest.approx(point)
    assert asked[1] != asked[0]


def test_of_a_config_that_comes_again_tpe_hears_how_it_ended():
    """No config is asked for twice; that a place was tried again is told with the values known of it."""
    space = Space({"latent_dim": Choice(values=tuple(range(1, 13)))}, ("m0",))
    s, found = study(10, "tpe", space=space), []
    for i in range(10):
        suggestion = s.ask(str(i))
        (x,) = suggestion.values()
        found.append(x)
        s.tell(known(str(i), suggestion, "completed", -float(abs(x - 6)), -1.0))
    assert len(set(found)) == 10
    told = {}
    for trial in s.study.trials:
        assert trial.state in (TrialState.COMPLETE, TrialState.FAIL)
        if trial.values:
            told.setdefault(*trial.params.values(), []).append(trial.values)
    assert max(map(len, told.values())) > 1
    assert all(len(set(map(tuple, values))) == 1 for values in told.values())


def test_a_config_that_is_taken_is_not_suggested_and_told_all_the_same():
    """Also of a grid, whose points wait; a genetic sampler sees it in the generation of its time."""
    space = Space({"latent_dim": Int(low=8, high=12, step=2), "batch_size": Choice(values=(32, 64))}, ("m0",))
    plain = study(6, "grid", 0, space)
    points = [plain.ask(str(i)) for i in range(6)]
    s = study(6, "grid", 0, space)
    assert s.ask("t0000") == points[0]
    s.take(points[2])
    assert [s.ask(str(i)) for i in range(4)] == [points[1], *points[3:]]
    past = [known("t0", points[0], "failed"), replace(known("t1", points[2], "running"), added=True)]
    again = study(6, "grid", 0, space, past=past)
    assert [again.ask(str(i)) for i in range(4)] == [points[1], *points[3:]]

    genetic = study(40, "nsga2")
    point = SPACE.suggestion(SPACE.complete({"beta": 2.0}))
    for i in range(10):
        suggestion = genetic.ask(str(i))
        genetic.tell(known(str(i), suggestion, "completed", 0.1 * i, -1.0))
    genetic.take(point)
    genetic.tell(known("t", point, "completed", 0.9, -1.0))
    (trial,) = (t for t in genetic.study.trials if t.params == point)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.9, -1.0])
    assert trial.system_attrs == {"NSGAIISampler:generation": 1}


def test_what_was_asked_ahead_is_not_begun_twice():
    """A point that a thread has fetched already, and that is then taken, is passed over."""
    points = [SPACE.suggestion(SPACE.complete({"beta": b})) for b in (1.0, 2.0)]
    s = study(start_with=points)
    s.ask_in_background()
    s.ask_ahead()
    s.take(points[0])
    while (found := s.ask("t0001")) is None:
        pass
    assert found == points[1]
    assert [t.state for t in s.study.trials] == [TrialState.FAIL, TrialState.RUNNING]
