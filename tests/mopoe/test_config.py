"""Settings: what is accepted, what is refused, and how configs are told apart."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError


def test_defaults_are_the_papers_polymnist_run() -> None:
    """Beta 2.5, 512 dimensions, Adam at 5e-4, 300 epochs of batches of 256, Laplace scale 0.75."""
    c = TrialConfig()
    found = (c.beta, c.latent_dim, c.lr, c.epochs, c.batch_size, c.likelihood_scale, c.channels)
    assert found == (2.5, 512, 5e-4, 300, 256, 0.75, (32, 64, 128))
    assert (c.method, c.mixture, c.subset_weights, c.mixture_path) == ("mopoe", "stratified", None, None)
    assert (c.prior_expert, c.likelihood_weights, c.beta_warmup_epochs, c.seed) == (
        "full",
        "dimensions",
        0,
        0,
    )


@pytest.mark.parametrize(
    ("name", "bad", "must"),
    [
        ("beta", -1.0, "between 0 and 1,000,000"),
        ("beta", math.nan, "between 0 and 1,000,000"),
        ("beta", math.inf, "between 0 and 1,000,000"),
        ("lr", 0.0, "between 1e-15 and 10"),
        ("lr", 1e27, "between 1e-15 and 10"),
        ("lr", math.inf, "between 1e-15 and 10"),
        ("likelihood_scale", 0.0, "between 1e-06 and 1,000,000"),
        ("likelihood_scale", math.nan, "between 1e-06 and 1,000,000"),
        ("latent_dim", 0, "between 1 and 65,536"),
        ("latent_dim", 10**10, "between 1 and 65,536"),
        ("batch_size", 0, "between 1 and 1,000,000"),
        ("epochs", 0, "between 1 and 1,000,000"),
        ("epochs", 10**10, "between 1 and 1,000,000"),
        ("seed", -1, "between 0 and 9,223,372,036,854,775,807"),
        ("seed", 2**63, "between 0 and 9,223,372,036,854,775,807"),
        ("channels", (1, 2), "three numbers between 1 and 16,384"),
        ("channels", (1, 2, 0), "three numbers between 1 and 16,384"),
        ("prior_expert", "some", "one of full, all, none"),
        ("method", "mvae", "one of mopoe, poe, moe, mvtcae"),
        ("mixture", "random", "one of stratified, categorical, batch_split, all"),
        ("likelihood_weights", "size", "one of dimensions, none"),
        ("mixture_path", -1.5, "between -1 and 1"),
        ("mixture_path", math.nan, "between -1 and 1"),
        ("beta_warmup_epochs", -1, "between 0 and 1,000,000"),
        ("initialisation", "zeros", "one of torch, he"),
        ("initial_logvar", -21.0, "between -20 and 20"),
        ("initial_logvar", math.nan, "between -20 and 20"),
        ("likelihood_weights", (1.0, -1.0), "numbers between 0 and 1,000,000, not all of them 0"),
        ("style_weights", (1.0, math.inf), "numbers between 0 and 1,000,000, not all of them 0"),
        ("likelihood_weights", (0.0, 0.0), "numbers between 0 and 1,000,000, not all of them 0"),
        ("style_dim", -1, "between 0 and 65,536"),
        ("beta_style", -1.0, "between 0 and 1,000,000"),
        ("beta_schedule", "step", "one of linear, cosine, cyclical"),
        ("tc_ratio", 1.5, "between 0 and 1"),
        ("missing", 1.0, "between 0 and 0.99"),
        ("posterior", "student", "one of gaussian, laplace"),
        ("estimator", "vimco", "one of elbo, iwae, dreg"),
        ("samples", 0, "between 1 and 10,000"),
        ("likelihood", "beta", "one of laplace, normal, bernoulli"),
    ],
)
def test_impossible_values_are_refused_with_a_sentence(name: str, bad: Any, must: str) -> None:
    """The message says which setting, what it is and what it must be."""
    with pytest.raises(ConfigError) as error:
        TrialConfig(**{name: bad})
    shown = list(bad) if isinstance(bad, tuple) else bad
    assert str(error.value) == f"{name} is {shown}, but must be {must}"


def test_weights_off_the_simplex_are_refused() -> None:
    """Weights are checked without knowing the number of modalities."""
    with pytest.raises(ConfigError, match=r"^subset_weights sums to 1.5, but must sum to 1$"):
        TrialConfig(subset_weights=(0.5, 1.0))


def test_from_dict_inverts_to_dict_through_json() -> None:
    """A config survives JSON, tuples included."""
    config = TrialConfig(beta=3, subset_weights=(0.2, 0.8), channels=(1, 2, 3), prior_expert="all", seed=7)
    assert TrialConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrialConfig.from_dict(json.loads(config.to_json())) == config


def test_an_unknown_setting_lists_those_there_are() -> None:
    """A typo is refused and every setting named."""
    with pytest.raises(ConfigError) as error:
        TrialConfig.from_dict({"betta": 1.0})
    assert str(error.value).startswith(
        "'betta' is not a setting of a trial; there are: beta, beta_warmup_epochs, "
    )
    assert all(f.name in str(error.value) for f in fields(TrialConfig))


@pytest.mark.parametrize(
    ("name", "bad", "must"),
    [
        ("beta", "1e-3", "a number"),
        ("beta", True, "a number"),
        ("latent_dim", 4.0, "a whole number"),
        ("epochs", "3", "a whole number"),
        ("seed", None, "a whole number"),
        ("prior_expert", 1, "a word"),
        ("unimodal_elbos", 1, "true or false"),
        ("unimodal_elbos", "true", "true or false"),
        ("mixture_path", True, "a number"),
        ("beta_warmup_epochs", 0.5, "a whole number"),
        ("subset_weights", 0.5, "a list of numbers"),
        ("subset_weights", ["a"], "a list of numbers"),
        ("channels", [1, 2, True], "a list of"),
    ],
)
def test_a_wrong_type_is_refused_with_a_sentence(name: str, bad: Any, must: str) -> None:
    """The message shows the value as written and the type it must have."""
    with pytest.raises(ConfigError) as error:
        TrialConfig.from_dict({name: bad})
    assert str(error.value).startswith(f"{name} is {bad!r}, but must be {must}")


def test_every_setting_can_be_given_as_plain_values() -> None:
    """Each field is known to `from_dict`, so a new field cannot be left out of it."""
    plain = TrialConfig().to_dict()
    assert set(plain) == {f.name for f in fields(TrialConfig)}
    for name, value in plain.items():
        assert getattr(TrialConfig.from_dict({name: value}), name) == getattr(TrialConfig(), name)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    """A whole number of 400 digits does not fit, and the message does not print it."""
    with pytest.raises(ConfigError, match=r"^beta is a number of 401 digits, but must fit a float$"):
        TrialConfig.from_dict({"beta": 10**400})


def test_whole_numbers_equal_the_same_floats() -> None:
    """`beta: 2` and `beta: 2.0` are one config with one identity."""
    a, b = TrialConfig(beta=2, lr=1, mixture_path=0), TrialConfig(beta=2.0, lr=1.0, mixture_path=0.0)
    assert a == b
    assert a.to_json() == b.to_json()
    assert a.config_id == b.config_id


def test_replicates_share_their_config_id_and_nothing_else_does() -> None:
    """The seed does not count for the identity; beta and the weights do."""
    base = TrialConfig()
    assert replace(base, seed=9).config_id == base.config_id
    others = [
        TrialConfig(beta=2.4),
        TrialConfig(subset_weights=(0.5, 0.5)),
        TrialConfig(channels=(32, 64, 127)),
        TrialConfig(epochs=299),
    ]
    assert len({c.config_id for c in [base, *others]}) == 5
