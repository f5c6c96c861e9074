"""The search space: parameters, their translation to and from Optuna, and the uniform simplex."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.subsets import check_simplex
from sweep.config.parameters import (
    Choice,
    Int,
    LogUniform,
    Simplex,
    Uniform,
)
from sweep.config.space import Space, cube_from_simplex, simplex_from_cube

PARAMETERS = {
    "beta": LogUniform(low=0.25, high=8),
    "lr": Uniform(low=0.001, high=0.004),
    "latent_dim": Int(low=8, high=64, log=True),
    "epochs": Int(low=2, high=11, step=3),
    "batch_size": Choice(values=(64, 128)),
    "prior_expert": Choice(values=("full", "none")),
    "channels": Choice(values=((16, 32, 64), (32, 64, 128))),
    "subset_weights": Simplex(over="size"),
}
NAMES = ("m0", "m1", "m2", "m3", "m4")
UNIT = st.floats(0, 1)


@pytest.fixture
def space():
    """Return a space of three modalities with every type of parameter."""
    return Space(PARAMETERS, NAMES[:3])


@given(st.lists(UNIT, max_size=30))
def test_a_cube_point_gives_weights_of_a_simplex(u):
    """Any numbers of [0, 1], the ends included, give one weight more, none negative, summing to one."""
    weights = simplex_from_cube(u)
    assert len(weights) == len(u) + 1
    assert min(weights) >= 0
    assert math.fsum(weights) == pytest.approx(1, abs=1e-12)
    check_simplex(weights)


@given(st.lists(UNIT, min_size=1, max_size=30))
def test_weights_come_back_from_their_cube_point(u):
    """The inverse stays in the cube and stands for the same weights, also on the simplex's faces."""
    weights = simplex_from_cube(u)
    back = cube_from_simplex(weights)
    assert all(0 <= x <= 1 for x in back)
    assert simplex_from_cube(back) == pytest.approx(weights, abs=1e-12)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6))
def test_inner_cube_points_come_back(u):
    """Away from the faces, where weights are zero, the translation is one to one."""
    assert cube_from_simplex(simplex_from_cube(u)) == pytest.approx(tuple(u), abs=1e-9)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=31).filter(lambda w: sum(w) > 1e-3))
def test_any_weights_come_back(w):
    """Every point of the simplex has a cube point."""
    weights = tuple(x / math.fsum(w) for x in w)
    assert simplex_from_cube(cube_from_simplex(weights)) == pytest.approx(weights, abs=1e-12)


@pytest.mark.parametrize(
    ("weights", "cube"),
    [
        ((1.0,), ()),
        ((0.25, 0.75), (0.75,)),
        ((0.5, 0.25, 0.25), (0.25, 0.5)),
        ((1.0, 0.0, 0.0), (0.0, 0.5)),
        ((0.0, 1.0, 0.0), (1.0, 0.0)),
        ((0.0, 0.0, 1.0), (1.0, 1.0)),
        ((0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0)),
        ((0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.5)),
    ],
)
def test_known_points_of_the_simplex(weights, cube):
    """Both directions give the numbers worked out by hand; an empty rest of the stick is 0.5."""
    assert cube_from_simplex(weights) == cube
    assert simplex_from_cube(cube) == weights


@pytest.mark.parametrize("n", [3, 5])
def test_uniform_cube_points_are_uniform_on_the_simplex(n):
    """Every weight has the marginal Beta(1, n - 1) of Dirichlet(1, ..., 1), and pairs its covariance."""
    u = np.random.default_rng(0).random((5000, n - 1))
    weights = np.array([simplex_from_cube(row) for row in u])
    for i in range(n):
        assert stats.kstest(weights[:, i], stats.beta(1, n - 1).cdf).pvalue > 0.01
    expected = (np.eye(n) * n - 1) / (n**2 * (n + 1))
    assert np.cov(weights.T) == pytest.approx(expected, abs=5 / (n**2 * 5000**0.5))


def test_the_uniformity_test_sees_a_wrong_stick():
    """Breaking the rest at a plain uniform share, without the root, fails the same test."""
    u = np.random.default_rng(0).random((5000, 2))
    first = 1 - u[:, 0]
    assert stats.kstest(first, stats.beta(1, 2).cdf).pvalue < 1e-6


def test_distributions_have_the_bounds_of_the_file(space):
    """Each parameter is the matching distribution, and n weights are n - 1 numbers of [0, 1]."""
    uniform, whole, categorical = (
        optuna.distributions.FloatDistribution,
        optuna.distributions.IntDistribution,
        optuna.distributions.CategoricalDistribution,
    )
    assert space.distributions() == {
        "beta": uniform(0.25, 8, log=True),
        "lr": uniform(0.001, 0.004),
        "latent_dim": whole(8, 64, log=True),
        "epochs": whole(2, 11, step=3),
        "batch_size": categorical([64, 128]),
        "prior_expert": categorical(["full", "none"]),
        "channels": categorical(["[16, 32, 64]", "[32, 64, 128]"]),
        "subset_weights.0": uniform(0, 1),
        "subset_weights.1": uniform(0, 1),
    }
    assert len(Space({"subset_weights": Simplex(over="subset")}, NAMES).distributions()) == 30
    assert Space({"subset_weights": Simplex(over="size")}, NAMES[:1]).distributions() == {}


def test_what_optuna_suggests_is_a_trial_within_the_bounds_and_comes_back(space):
    """Fifty random suggestions give valid configs inside the space, and the inverse gives the suggestion."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask(space.distributions())
        settings = space.settings(trial.params)
        config = TrialConfig.from_dict(settings)
        assert 0.25 <= config.beta <= 8
        assert 0.001 <= config.lr <= 0.004
        assert 8 <= config.latent_dim <= 64
        assert config.epochs in (2, 5, 8, 11)
        assert config.batch_size in (64, 128)
        assert config.channels in ((16, 32, 64), (32, 64, 128))
        assert len(config.subset_weights) == 3
        assert space.suggestion(settings) == pytest.approx(trial.params, abs=1e-12)
        assert space.suggestion(config.to_dict()) == pytest.approx(trial.params, abs=1e-12)


def test_settings_of_a_suggestion(space):
    """Suggested numbers become values of `TrialConfig`; lists come back from their JSON text."""
    suggestion = {
        "beta": 2.5,
        "lr": 0.002,
        "latent_dim": 16,
        "epochs": 5,
        "batch_size": 128,
        "prior_expert": "none",
        "channels": "[16, 32, 64]",
        "subset_weights.0": 0.25,
        "subset_weights.1": 0.5,
    }
    settings = {
        "beta": 2.5,
        "lr": 0.002,
        "latent_dim": 16,
        "epochs": 5,
        "batch_size": 128,
        "prior_expert": "none",
        "channels": (16, 32, 64),
        "subset_weights": (0.5, 0.25, 0.25),
    }
    assert space.settings(suggestion) == settings
    assert space.suggestion(settings) == suggestion


def test_columns_are_flat(space):
    """Weights are numbered from one, lists are JSON text, and settings that are not searched are left out."""
    config = TrialConfig(beta=2, latent_dim=16, channels=(16, 32, 64), subset_weights=(0.5, 0.25, 0.25))
    assert space.columns(config.to_dict() | {"lr": 0.002}) == {
        "beta": 2,
        "lr": 0.002,
        "latent_dim": 16,
        "epochs": 300,
        "batch_size": 256,
        "prior_expert": "full",
        "channels": "[16, 32, 64]",
        "subset_weights_1": 0.5,
        "subset_weights_2": 0.25,
        "subset_weights_3": 0.25,
    }


def test_a_searched_setting_that_is_none_has_no_cell():
    """A single trial may leave out the weights that a sweep searches, to set a method or a path instead."""
    space = Space(
        {"subset_weights": Simplex(over="size"), "mixture_path": Uniform(low=-1, high=1)}, NAMES[:3]
    )
    assert space.columns(TrialConfig(mixture_path=0.5).to_dict()) == {"mixture_path": 0.5}
    assert space.columns(TrialConfig(method="poe").to_dict()) == {}


def test_weights_may_be_one_of_some_lists():
    """A choice among lists and none is kept as JSON text, and equal lists are the same choice."""
    space = Space({"subset_weights": Choice(values=(None, (1.0, 0.0), (0.5, 0.5)))}, NAMES[:2])
    choices = space.distributions()["subset_weights"].choices
    assert choices == ("null", "[1.0, 0.0]", "[0.5, 0.5]")
    assert [space.settings({"subset_weights": c})["subset_weights"] for c in choices] == [
        None,
        (1.0, 0.0),
        (0.5, 0.5),
    ]
    assert space.suggestion({"subset_weights": [1, 0]}) == {"subset_weights": "[1.0, 0.0]"}
    assert space.columns({"subset_weights": None}) == {"subset_weights": "null"}


def test_methods_and_mixtures_are_searched_as_words_and_numbers():
    """Words stay words, a path is a number, true and false are JSON text, and a list of both is all text."""
    space = Space(
        {
            "method": Choice(values=("mopoe", "poe")),
            "unimodal_elbos": Choice(values=(True, False)),
            "mixture_path": Uniform(low=-1, high=1),
        },
        NAMES,
    )
    kinds = space.distributions()
    assert kinds["method"].choices == ("mopoe", "poe")
    assert kinds["unimodal_elbos"].choices == ("true", "false")
    assert (kinds["mixture_path"].low, kinds["mixture_path"].high) == (-1, 1)
    suggestion = {"method": "mopoe", "unimodal_elbos": "false", "mixture_path": 0.5}
    settings = {"method": "mopoe", "unimodal_elbos": False, "mixture_path": 0.5}
    assert space.settings(suggestion) == settings
    assert space.suggestion(settings) == space.columns(settings) == suggestion
    mixed = Space({"mixture_path": Choice(values=(None, 0.5))}, NAMES)
    assert mixed.distributions()["mixture_path"].choices == ("null", "0.5")
    assert mixed.settings({"mixture_path": "0.5"}) == {"mixture_path": 0.5}
    assert mixed.suggestion({"mixture_path": 0.5}) == mixed.columns({"mixture_path": 0.5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "batch_size is missing; the search space has: batch_size, subset_weights"),
        ({"batch_size": 32, "subset_weights": [1, 0, 0]}, "batch_size is 32, but must be one of: 64, 128"),
        (
            {"batch_size": 64, "subset_weights": [0.5, 0.5]},
            "subset_weights is [0.5, 0.5], but must have 3 numbers",
        ),
        (
            {"batch_size": 64, "subset_weights": None},
            "subset_weights is None, but must have 3 numbers",
        ),
    ],
)
def test_a_known_point_outside_the_space_is_refused(settings, message):
    """The message says what is possible."""
    space = Space({name: PARAMETERS[name] for name in ("batch_size", "subset_weights")}, NAMES[:3])
    with pytest.raises(ConfigError) as caught:
        space.suggestion(settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta", 9.0, "beta is 9.0, but must be between 0.25 and 8.0"),
        ("lr", 0.0, "lr is 0.0, but must be between 0.001 and 0.004"),
        ("latent_dim", None, "latent_dim is None, but must be between 8 and 64"),
        ("epochs", 3, "epochs is 3, but must be 2 plus a multiple of 3"),
    ],
)
def test_a_known_number_outside_its_range_is_refused(space, name, value, message):
    """Optuna would draw another value in its place without a word that is heard."""
    with pytest.raises(ConfigError) as caught:
        space.suggestion(space.complete({name: value}))
    assert str(caught.value) == message


SOME = Space({"subset_weights": Simplex(over=("m2+m0", "m1"))}, NAMES[:3])


def test_weights_over_some_subsets_leave_the_others_at_zero():
    """Two labels are one axis; the setting has all seven numbers, its cells only the two."""
    assert list(SOME.distributions()) == ["subset_weights.0"]
    settings = SOME.settings({"subset_weights.0": 0.25})
    assert settings == {"subset_weights": (0, 0.25, 0, 0, 0.75, 0, 0)}
    assert SOME.suggestion(settings) == {"subset_weights.0": 0.25}
    assert SOME.columns(settings) == {"subset_weights_5": 0.75, "subset_weights_2": 0.25}
    assert SOME.columns({"subset_weights": (0.5, 0.25, 0.25)}).keys() == {
        f"subset_weights_{i}" for i in (1, 2, 3)
    }
    by_size = Space({"subset_weights": Simplex(over="size")}, NAMES[:3])
    assert len(by_size.columns({"subset_weights": (1 / 7,) * 7})) == 7
    assert SOME.complete({}) == {"subset_weights": (0, 0.5, 0, 0, 0.5, 0, 0)}


def test_weight_on_another_subset_is_no_point_of_the_space():
    """The message names the subsets that are searched."""
    with pytest.raises(ConfigError) as caught:
        SOME.suggestion({"subset_weights": (0.5, 0.5, 0, 0, 0, 0, 0)})
    assert str(caught.value) == "subset_weights gives weight to subsets outside m2+m0, m1"


def test_what_does_not_exist_has_no_cell_and_no_suggestion():
    """Conditions may follow one another; the settings below a missing one are missing too."""
    space = Space(
        {
            "method": Choice(values=("mopoe", "poe")),
            "unimodal_elbos": Choice(values=(True, False), when={"method": "poe"}),
            "beta": Uniform(low=0, high=1, when={"unimodal_elbos": False}),
        },
        NAMES,
    )
    assert space.conditional
    assert not SOME.conditional
    all_set = {"method": "poe", "unimodal_elbos": False, "beta": 0.5}
    assert space.suggestion(all_set) == {"method": "poe", "unimodal_elbos": "false", "beta": 0.5}
    for settings in ({"method": "mopoe"}, {"method": "poe", "unimodal_elbos": True}):
        assert space.settings(space.suggestion(all_set | settings)) == settings
        assert space.columns(all_set | settings).keys() == settings.keys()
    assert space.complete({}) == {"method": "mopoe"}
    assert space.complete({"unimodal_elbos": False}) == {"method": "mopoe", "unimodal_elbos": False}


def test_a_grid_needs_finitely_many_values():
    """Choices and whole numbers have them, ranges of numbers do not."""
    space = Space({"latent_dim": PARAMETERS["epochs"], "channels": PARAMETERS["channels"]}, NAMES)
    assert {k: list(v) for k, v in space.grid().items()} == {
        "latent_dim": [2, 5, 8, 11],
        "channels": ["[16, 32, 64]", "[32, 64, 128]"],
    }
    with pytest.raises(ConfigError, match=r"^beta is log_uniform, but a grid needs int or choice$"):
        Space(PARAMETERS, NAMES).grid()
