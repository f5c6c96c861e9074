"""The searcher: what it suggests, and what the study knows of every trial in the end."""

import math

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.utils import flatten_dict

from sweep.errors import SpecError
from sweep.search.samplers import make_sampler
from sweep.search.searcher import OptunaSearcher, PastTrial, trial_name
from sweep.spec.constraints import limit
from sweep.spec.parameters import Choice, Int, LogUniform, Simplex
from sweep.spec.space import Space

OBJECTIVES = ("conditional_coherence", "log_likelihood")
SPACE = Space(
    {
        "beta": LogUniform(low=0.1, high=10.0),
        "latent_dim": Int(low=8, high=64),
        "subset_weights": Simplex(over="size"),
    },
    ("m0", "m1", "m2"),
)


def searcher(n_trials=5, sampler="random", seed=0, space=SPACE, **more):
    """Return a searcher over three parameters and two objectives, for trials of three epochs."""
    return OptunaSearcher(
        space, OBJECTIVES, sampler=sampler, seed=seed, n_trials=n_trials, epochs_max=lambda s: 3, **more
    )


def result(coherence, likelihood, **more):
    """Return a last report as Ray hands it on: with flat keys."""
    measured = {"conditional_coherence": coherence, "log_likelihood": likelihood}
    return flatten_dict({"epoch": 3, "objectives": measured, **more})


def past_trial(trial_id, asked, status, *values):
    """Return a trial of an earlier run."""
    measured = dict(zip(OBJECTIVES, values, strict=False))
    return PastTrial(trial_id=trial_id, suggestion=asked["suggestion"], status=status, measured=measured)


def test_suggestions_are_numbered_and_end():
    """Trials are named in order, each in the space, and after n_trials the searcher is finished."""
    s = searcher(n_trials=3)
    found = [s.suggest(f"ray{i}") for i in range(4)]
    assert [f["trial_id"] for f in found[:3]] == ["t0000", "t0001", "t0002"]
    assert found[3] == Searcher.FINISHED
    for f in found[:3]:
        settings = SPACE.settings(f["suggestion"])
        assert 0.1 <= settings["beta"] <= 10
        assert math.isclose(sum(settings["subset_weights"]), 1.0)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "random", "qmc"])
def test_a_seed_fixes_the_suggestions(sampler):
    """Two searchers with one seed agree trial by trial; another seed differs."""

    def draws(seed):
        s, found = searcher(sampler=sampler, seed=seed), []
        for i in range(5):
            found.append(s.suggest(str(i))["suggestion"])
            s.on_trial_complete(str(i), result(0.1 * i, -10.0 * i))
        return found

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_finite_objectives_complete_a_trial():
    """The values are told in the order of the objectives, whatever the order of the report."""
    s = searcher()
    s.suggest("a")
    s.on_trial_complete("a", result(0.5, -5.0))
    assert s.study.trials[0].state == TrialState.COMPLETE
    assert s.study.trials[0].values == [0.5, -5.0]


@pytest.mark.parametrize(
    "last",
    [
        None,
        {},
        {"failure": "lost"},
        result(math.nan, -5.0),
        result(0.5, math.inf),
        {"epoch": 3, "objectives/log_likelihood": 1.0},
        {"epoch": 1},
    ],
)
def test_anything_else_fails_a_trial(last):
    """A missing, partial or non-finite result ends as FAIL: nothing is ever left RUNNING."""
    s = searcher()
    s.suggest("a")
    s.on_trial_complete("a", last)
    assert s.study.trials[0].state == TrialState.FAIL


def test_an_error_fails_a_trial_even_with_values():
    """Ray's error flag counts above what was reported before."""
    s = searcher()
    s.suggest("a")
    s.on_trial_complete("a", result(0.5, -5.0), error=True)
    assert s.study.trials[0].state == TrialState.FAIL


def test_past_trials_are_known_and_cut_off_ones_come_first():
    """Finished trials enter the study; a cut-off one is suggested again under its own name, then new ones."""
    first = searcher(n_trials=3)
    asked = [first.suggest(str(i)) for i in range(3)]
    past = [
        past_trial("t0000", asked[0], "completed", 0.4, -6.0),
        past_trial("t0001", asked[1], "running"),
        past_trial("t0002", asked[2], "failed"),
    ]
    second = searcher(n_trials=4, past=past)
    again, new, end = (second.suggest(x) for x in "abc")
    assert (again["trial_id"], again["suggestion"]) == ("t0001", asked[1]["suggestion"])
    assert new["trial_id"] == "t0003"
    assert end == Searcher.FINISHED
    states = [t.state for t in second.study.trials]
    assert states.count(TrialState.COMPLETE) == 1
    assert states.count(TrialState.FAIL) == 1
    assert second.study.best_trials[0].values == [0.4, -6.0]


def test_results_of_unknown_trials_are_ignored():
    """Ray may complete a trial that the searcher never suggested."""
    s = searcher()
    s.on_trial_complete("stranger", result(0.5, -5.0))
    assert s.study.trials == []


def test_saving_and_restoring_need_no_pickle(tmp_path):
    """Ray's snapshots call both; neither stores nor changes the study."""
    s = searcher()
    s.suggest("a")
    s.save(str(tmp_path / "state"))
    s.restore(str(tmp_path / "state"))
    assert (tmp_path / "state").read_text() == "{}"
    assert len(s.study.trials) == 1


def test_names():
    """A trial's name sorts as its number does, up to ten thousand."""
    assert [trial_name(n) for n in (0, 12, 9999)] == ["t0000", "t0012", "t9999"]


def test_an_unknown_sampler_is_refused():
    """The spec lists the samplers; a programmer who passes another is told."""
    with pytest.raises(ValueError, match="no sampler is named 'cma'"):
        make_sampler("cma", 0, 10)


CONDITIONAL = Space(
    {
        "method": Choice(values=("mopoe", "moe")),
        "beta": LogUniform(low=0.1, high=10.0),
        "subset_weights": Simplex(over=("m0", "m0+m1"), when={"method": "mopoe"}),
    },
    ("m0", "m1"),
)


def test_a_trial_that_ends_early_is_pruned():
    """Its values at the rung are kept beside it and do not count as those of a full budget."""
    s = searcher()
    s.suggest("a")
    s.on_trial_complete("a", result(0.5, -5.0) | {"epoch": 1})
    (trial,) = s.study.trials
    assert (trial.state, trial.values) == (TrialState.PRUNED, None)
    assert trial.user_attrs == {"epoch": 1, "values": [0.5, -5.0]}
    assert s.study.best_trials == []


def test_a_missed_constraint_is_told():
    """Optuna knows by how much, and leaves the trial out of its front; a kept one is no obstacle."""
    s = searcher(limits=(limit("parameters", "<= 100"), limit("joint_coherence", ">= 0.1")))
    for name, n in (("a", 150), ("b", 100)):
        s.suggest(name)
        s.on_trial_complete(name, result(0.5, -5.0, n_parameters=n) | {"objectives/joint_coherence": 0.2})
    large, small = s.study.trials
    assert large.state == small.state == TrialState.COMPLETE
    assert large.constraints == {"parameters": 0.5, "joint_coherence": pytest.approx(-1)}
    assert [trial.number for trial in s.study.best_trials] == [small.number]


def test_past_trials_keep_their_states_and_constraints():
    """Stopped ones come back as PRUNED, infeasible ones with what they missed, none as RUNNING."""
    asked = searcher().suggest("x")
    states = ("completed", "stopped", "failed", "infeasible")
    past = [past_trial(f"t{i}", asked, state, 0.4, -6.0) for i, state in enumerate(states)]
    s = searcher(n_trials=5, past=past, limits=(limit("log_likelihood", ">= -3"),))
    assert [trial.state.name for trial in s.study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert s.study.trials[3].constraints == {"log_likelihood": 1.0}
    assert s.suggest("y")["trial_id"] == "t0004"
    assert s.suggest("z") == Searcher.FINISHED


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "random", "qmc"])
def test_a_parameter_under_another_is_suggested_only_there(sampler):
    """Weights are suggested under one method alone, and every suggestion is a point of the space."""
    s, methods = searcher(n_trials=16, sampler=sampler, space=CONDITIONAL), set()
    for i in range(16):
        suggestion = s.suggest(str(i))["suggestion"]
        settings = CONDITIONAL.settings(suggestion)
        methods.add(settings["method"])
        assert ("subset_weights.0" in suggestion) == (settings["method"] == "mopoe")
        assert CONDITIONAL.suggestion(settings) == pytest.approx(suggestion)
        s.on_trial_complete(str(i), result(suggestion["beta"] / 10, -suggestion["beta"]))
    assert methods == {"mopoe", "moe"}
    states = [trial.state for trial in s.study.trials]
    assert (states.count(TrialState.COMPLETE), states.count(TrialState.RUNNING)) == (16, 0)


def test_known_points_come_first_and_once():
    """They are the first trials in their order; a later run begins after those that have their names."""
    points = [SPACE.suggestion(SPACE.complete({"beta": b})) for b in (1.0, 2.0, 3.0)]
    s = searcher(start_with=points)
    first = [s.suggest(str(i)) for i in range(4)]
    assert [f["suggestion"] for f in first[:3]] == points
    assert first[3]["suggestion"] not in points
    past = [past_trial("t0000", first[0], "completed", 0.1, -1.0), past_trial("t0001", first[1], "running")]
    again = searcher(start_with=points, past=past)
    found = [again.suggest(str(i)) for i in range(3)]
    assert [f["trial_id"] for f in found] == ["t0001", "t0002", "t0003"]
    assert [f["suggestion"] for f in found[:2]] == points[1:]


def test_a_grid_is_run_through_once_in_an_order_of_the_seed():
    """Every point comes exactly once, a known one first; a later run goes on where the first ended."""
    space = Space({"latent_dim": Int(low=8, high=12, step=2), "batch_size": Choice(values=(32, 64))}, ("m0",))
    point = {"latent_dim": 10, "batch_size": 64}

    def draws(seed, past=()):
        s = searcher(6, "grid", seed, space, start_with=[point], past=past)
        return [s.suggest(str(i)) for i in range(6 - len(past))]

    found = draws(0)
    values = [tuple(f["suggestion"].values()) for f in found]
    assert sorted(values) == [(d, b) for d in (8, 10, 12) for b in (32, 64)]
    assert found[0]["suggestion"] == point
    assert any(draws(seed) != found for seed in range(1, 4))
    past = [past_trial(f["trial_id"], f, "failed") for f in found[:2]]
    assert draws(0, past) == found[2:]


def test_warm_trials_are_known_but_not_counted():
    """The study learns from them; names and numbers of this sweep's trials are as without them."""
    asked = searcher().suggest("x")
    s = searcher(n_trials=1, warm=[past_trial("other", asked, "completed", 0.9, -1.0)])
    assert s.study.best_trials[0].values == [0.9, -1.0]
    assert s.suggest("a")["trial_id"] == "t0000"
    assert s.suggest("b") == Searcher.FINISHED


def test_gp_says_what_is_missing(monkeypatch):
    """Without a package that it needs, one sentence names it."""
    monkeypatch.setattr("sweep.search.samplers.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"^sampler gp needs scipy, which is not installed here; use tpe$"):
        make_sampler("gp", 0, 10)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc"])
def test_no_config_comes_twice_while_there_are_new_ones(sampler):
    """Of twelve configs eight trials have eight, those of an earlier run included."""
    space = Space({"beta": Choice(values=(0.1, 1, 2, 3)), "latent_dim": Choice(values=(8, 16, 32))}, ("m0",))
    first = searcher(n_trials=4, sampler=sampler, space=space)
    past = [past_trial(f"t{i}", first.suggest(str(i)), "stopped", 0.1, -9.0) for i in range(4)]
    s = searcher(n_trials=8, sampler=sampler, space=space, past=past)
    asked = [trial.suggestion for trial in past]
    for i in range(4):
        asked.append(s.suggest(str(i))["suggestion"])
        s.on_trial_complete(str(i), result(asked[-1]["beta"], -asked[-1]["latent_dim"]))
    assert len({tuple(sorted(suggestion.items())) for suggestion in asked}) == 8
    assert all(trial.state != TrialState.RUNNING for trial in s.study.trials)


def test_a_space_that_is_used_up_gives_its_configs_again():
    """The number of trials is kept, though the only config comes every time."""
    s = searcher(n_trials=3, space=Space({"beta": Choice(values=(1.0,))}, ("m0",)))
    assert [s.suggest(str(i))["suggestion"] for i in range(3)] == [{"beta": 1.0}] * 3


def test_known_points_may_be_the_same():
    """What a user wants first comes as often as it was given."""
    point = SPACE.suggestion(SPACE.complete({"beta": 1.0}))
    s = searcher(start_with=[point, point])
    assert [s.suggest(str(i))["suggestion"] for i in range(2)] == [pytest.approx(point)] * 2
