"""The searcher: what it suggests, and what the study knows of every trial in the end."""

import math

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.utils import flatten_dict

from sweep.parameters import Int, LogUniform, Simplex
from sweep.samplers import make_sampler
from sweep.searcher import OptunaSearcher, PastTrial, trial_name
from sweep.space import Space

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
