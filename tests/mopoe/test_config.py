"""Settings: what is accepted, what is refused, and how configs are told apart."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest

from mopoe.config import TrialConfig, checked_setting
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


NUMBER, COUNT = "a number between 0 and 1,000,000", "a whole number between 1 and 1,000,000"
SEED = "a whole number between 0 and 2^63 - 1"
CHANNELS = "a list of 3 whole numbers between 1 and 16,384"
RULES = "one of dimensions, none, or a list of numbers between 0 and 1,000,000"


@pytest.mark.parametrize(
    ("name", "bad", "must"),
    [
        ("beta", -1.0, NUMBER),
        ("beta", math.nan, NUMBER),
        ("beta", math.inf, NUMBER),
        ("beta", "1e-3", NUMBER),
        ("lr", 0.0, "a number between 1e-15 and 10"),
        ("lr", 1e27, "a number between 1e-15 and 10"),
        ("likelihood_scale", 0.0, "a number between 1e-06 and 1,000,000"),
        ("latent_dim", 0, "a whole number between 1 and 65,536"),
        ("latent_dim", 4.0, "a whole number between 1 and 65,536"),
        ("batch_size", 0, COUNT),
        ("epochs", 10**10, COUNT),
        ("epochs", "3", COUNT),
        ("seed", -1, SEED),
        ("seed", 2**63, SEED),
        ("channels", [1, 2], CHANNELS),
        ("channels", [1, 2, 3, 4], CHANNELS),
        ("channels", 3, CHANNELS),
        ("likelihood_weights", "size", RULES),
        ("likelihood_weights", [1.0, -1.0], RULES),
        ("mixture_path", -1.5, "a number between -1 and 1, or null"),
        ("mixture_path", math.nan, "a number between -1 and 1, or null"),
        ("beta_warmup_epochs", -1, "a whole number between 0 and 1,000,000"),
        ("initial_logvar", -21.0, "a number between -20 and 20"),
        ("style_dim", -1, "a whole number between 0 and 65,536"),
        ("beta_style", -1.0, NUMBER),
        ("tc_ratio", 1.5, "a number between 0 and 1"),
        ("missing", 1.0, "a number between 0 and 0.99"),
        ("samples", 0, "a whole number between 1 and 10,000"),
        ("unimodal_elbos", 1, "true or false"),
        ("unimodal_elbos", "true", "true or false"),
        ("subset_weights", 0.5, "a list of numbers that sum to 1, or null"),
    ],
)
def test_impossible_values_are_refused_with_a_sentence(name: str, bad: Any, must: str) -> None:
    """The message says which setting, what it is, as written, and all that it may be."""
    with pytest.raises(ConfigError) as error:
        TrialConfig(**{name: bad})
    assert str(error.value) == f"{name} is {bad!r}, but must be {must}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"beta": True}, f"beta is true, but must be {NUMBER}"),
        ({"seed": None}, f"seed is null, but must be {SEED}"),
        (
            {"method": "mvae"},
            "method is 'mvae'; did you mean 'mvtcae'? possible: mopoe, poe, moe, mvtcae, mmjsd",
        ),
        ({"prior_expert": 1}, "prior_expert is 1; possible: full, all, none"),
        ({"channels": [1, 2, 0]}, "channels: entry 3 is 0, but must be a whole number between 1 and 16,384"),
        (
            {"channels": [1, 2, True]},
            "channels: entry 3 is true, but must be a whole number between 1 and 16,384",
        ),
        ({"subset_weights": ["a"]}, "subset_weights: entry 1 is 'a', but must be a number"),
        ({"subset_weights": [0.5, 1]}, "subset_weights sums to 1.5, but must sum to 1"),
        ({"style_weights": [1.0, math.inf]}, f"style_weights: entry 2 is inf, but must be {NUMBER}"),
        ({"likelihood_weights": [0, 0]}, "likelihood_weights is [0.0, 0.0], but one weight must be above 0"),
        ({"missing": 0.5, "mixture": "batch_split"}, "mixture batch_split needs missing to be 0"),
        ({"posterior": "laplace"}, "posterior laplace needs method moe, but method is mopoe"),
        ({"samples": 2}, "samples above 1 needs estimator iwae or dreg"),
        ({"learned_scale": True, "likelihood": "bernoulli"}, "likelihood bernoulli has no scale to learn"),
    ],
)
def test_parts_of_values_and_contradictions_have_their_sentences(settings: Any, sentence: str) -> None:
    """Of a list the entry that is wrong; of words the nearest one; of two settings the rule."""
    with pytest.raises(ConfigError) as error:
        TrialConfig.from_dict(settings)
    assert str(error.value) == sentence


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
        "unknown key 'betta'; did you mean 'beta'? possible: beta, beta_warmup_epochs, "
    )
    assert all(f.name in str(error.value) for f in fields(TrialConfig))


def test_every_setting_can_be_given_as_plain_values() -> None:
    """Each field is known to `from_dict`, so a new field cannot be left out of it."""
    plain = TrialConfig().to_dict()
    assert {*plain, "network"} == {f.name for f in fields(TrialConfig)}
    for name, value in plain.items():
        assert getattr(TrialConfig.from_dict({name: value}), name) == getattr(TrialConfig(), name)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    """A whole number of 400 digits is not infinity."""
    with pytest.raises(ConfigError, match=rf"^beta is 10{{400}}, but must be {NUMBER}$"):
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


def test_identities_are_what_they_were() -> None:
    """Results folders hold them: a changed class may not make another config of the same settings."""
    poe = {"method": "poe", "unimodal_elbos": False, "likelihood_weights": [1, 2], "mixture": "all"}
    assert TrialConfig().config_id == "44136fa355b3"
    assert TrialConfig(beta=3, seed=9).config_id == "79ab2a469d16"
    assert TrialConfig(subset_weights=(0.5, 0.5), channels=(8, 16, 32), lr=1).config_id == "6579ebfae384"
    assert TrialConfig.from_dict(poe | {"missing": 0.5}).config_id == "6751e19fd635"


def test_one_setting_is_checked_for_itself() -> None:
    """A file may search one of two settings that exclude each other's values."""
    assert checked_setting("learned_weights", value=True) is True
    assert checked_setting("channels", [1, 2, 3]) == (1, 2, 3)
    with pytest.raises(ConfigError, match=r"^samples is 0, but must be a whole number between 1 and 10,000$"):
        checked_setting("samples", 0)
    with pytest.raises(ConfigError, match=r"^unknown key 'smples'; did you mean 'samples'\?"):
        checked_setting("smples", 1)
