"""What methods, paths, likelihood weights and the warm-up of beta mean, in numbers."""

from dataclasses import replace
from typing import Any

import pytest

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.methods import (
    MethodSpec,
    beta_at,
    check_modalities,
    likelihood_weights,
    resolve_method,
    style_weights,
)
from mopoe.subsets import mixture_weights, path_weights


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            TrialConfig(),
            MethodSpec(subset_weights=None, prior_expert="full", unimodal_elbos=False),
        ),
        (
            TrialConfig(subset_weights=(0.2, 0.3, 0.5), prior_expert="none"),
            MethodSpec(subset_weights=(0.2, 0.3, 0.5), prior_expert="none", unimodal_elbos=False),
        ),
        (
            TrialConfig(method="moe", prior_expert="all"),
            MethodSpec(subset_weights=(1.0, 0.0, 0.0), prior_expert="all", mixture_of_experts=True),
        ),
        (
            TrialConfig(method="moe", posterior="laplace"),
            MethodSpec(subset_weights=(1.0, 0.0, 0.0), mixture_of_experts=True, posterior="laplace"),
        ),
        (
            TrialConfig(method="mvtcae", tc_ratio=0.5),
            MethodSpec(subset_weights=(0.0, 0.0, 1.0), prior_expert="none", tc_ratio=0.5),
        ),
        (
            TrialConfig(method="mmjsd"),
            MethodSpec(
                subset_weights=(1.0, 0.0, 0.0),
                prior_expert="none",
                mixture_of_experts=True,
                dynamic_prior=True,
            ),
        ),
        (
            TrialConfig(aggregation="hellinger"),
            MethodSpec(aggregation="hellinger"),
        ),
        (
            TrialConfig(learned_weights=True, mixture="all"),
            MethodSpec(learned_weights=True),
        ),
        (
            TrialConfig(method="poe"),
            MethodSpec(subset_weights=(0.0, 0.0, 1.0), prior_expert="all", unimodal_elbos=True),
        ),
        (
            TrialConfig(method="poe", unimodal_elbos=False),
            MethodSpec(subset_weights=(0.0, 0.0, 1.0), prior_expert="all", unimodal_elbos=False),
        ),
        (
            TrialConfig(mixture_path=1),
            MethodSpec(subset_weights=(0.0,) * 6 + (1.0,), prior_expert="full", unimodal_elbos=False),
        ),
    ],
)
def test_a_method_is_weights_a_prior_expert_and_extra_terms(
    config: TrialConfig, expected: MethodSpec
) -> None:
    """For three modalities; only MVAE overrides the prior expert and adds terms."""
    assert resolve_method(config, 3) == expected


def test_methods_of_one_modality_have_one_weight() -> None:
    """The single modality is the full set."""
    assert resolve_method(TrialConfig(method="moe"), 1).subset_weights == (1.0,)
    assert resolve_method(TrialConfig(method="poe"), 1).subset_weights == (1.0,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "moe", "subset_weights": (1.0, 0.0)},
            "subset_weights is given, but method moe fixes the subsets' weights; leave one out",
        ),
        (
            {"method": "poe", "mixture_path": 0.0},
            "mixture_path is given, but method poe fixes the subsets' weights; leave one out",
        ),
        (
            {"subset_weights": (1.0, 0.0), "mixture_path": 0.0},
            "subset_weights and mixture_path are both given; leave one out",
        ),
        (
            {"method": "moe", "aggregation": "barycentre"},
            "aggregation barycentre needs method mopoe or poe, but method is moe",
        ),
        (
            {"method": "poe", "style_outside": "auxiliary"},
            "style_outside auxiliary needs a mixture, but method poe has the full set alone",
        ),
        (
            {"method": "poe", "prior_expert": "none"},
            "prior_expert is none, but method poe multiplies the prior into every product",
        ),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], message: str) -> None:
    """One sentence says which two settings do not go together."""
    with pytest.raises(ConfigError) as error:
        TrialConfig.from_dict(settings)
    assert str(error.value) == message


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_the_path_leads_from_experts_over_uniform_to_the_product(m: int) -> None:
    """Its ends and its middle are the named mixtures."""
    sizes = [1.0] + [0.0] * (m - 1)
    assert path_weights(-1, m) == pytest.approx(mixture_weights(sizes, m), abs=1e-15)
    assert path_weights(0, m) == mixture_weights(None, m)
    assert path_weights(1, m) == mixture_weights(sizes[::-1], m)


def test_the_path_is_linear_on_both_sides() -> None:
    """Two modalities at -0.5 and 0.25: by hand, and always on the simplex."""
    assert path_weights(-0.5, 2) == pytest.approx((5 / 12, 5 / 12, 1 / 6), abs=1e-15)
    assert path_weights(0.25, 2) == pytest.approx((0.25, 0.25, 0.5), abs=1e-15)
    for position in (-0.99, -0.3, 0.01, 0.7):
        weights = path_weights(position, 5)
        assert sum(weights) == pytest.approx(1, abs=1e-14)
        assert mixture_weights(weights, 5) == pytest.approx(weights, abs=1e-14)


def test_likelihood_weights_are_those_of_the_papers() -> None:
    """SVHN 1, MNIST 3072 / 784, text 3072 / 8; without the rule all 1."""
    shapes = {"mnist": (1, 28, 28), "svhn": (3, 32, 32), "text": (8,)}
    modalities = [ModalitySpec(name=n, shape=shape) for n, shape in shapes.items()]
    found = likelihood_weights(TrialConfig(), modalities)
    assert found == {"mnist": pytest.approx(3.918, abs=5e-4), "svhn": 1.0, "text": 384.0}
    assert likelihood_weights(TrialConfig(likelihood_weights="none"), modalities) == dict.fromkeys(
        shapes, 1.0
    )
    given = TrialConfig(likelihood_weights=(1, 2, 0.5))
    assert likelihood_weights(given, modalities) == {"mnist": 1.0, "svhn": 2.0, "text": 0.5}


def test_private_weights_are_beta_styles_times_each_modalitys_own() -> None:
    """The released code's CelebA run: 2 for all, times 1 for the image and 5 for the text."""
    assert style_weights(TrialConfig(beta_style=2.0, style_weights=(1, 5)), 2) == (2.0, 10.0)
    assert style_weights(TrialConfig(beta_style=2.0), 3) == (2.0,) * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"style_weights": (1.0, 2.0)},
            "style_weights has length 2, but must have 3 numbers, one per modality",
        ),
        (
            {"likelihood_weights": (1.0,)},
            "likelihood_weights has length 1, but must have 3 numbers, one per modality",
        ),
        (
            {"subset_weights": (0.5, 0.5)},
            "subset_weights has 2 numbers, but must have 3 (one per subset size) ",
        ),
    ],
)
def test_lists_of_another_length_are_refused(settings: dict[str, Any], message: str) -> None:
    """The message has both numbers."""
    with pytest.raises(ConfigError) as error:
        check_modalities(TrialConfig(**settings), 3)
    assert str(error.value).startswith(message)


def test_beta_rises_step_by_step_and_stays() -> None:
    """Over two epochs of four steps beta = 2 rises by 0.25 a step; without a warm-up it is there at once."""
    config = TrialConfig(beta=2.0, beta_warmup_epochs=2)
    assert [beta_at(step, 4, config) for step in range(10)] == [min(0.25 * s, 2.0) for s in range(10)]
    assert [beta_at(step, 4, TrialConfig(beta=2.0)) for step in (0, 1, 100)] == [2.0] * 3


def test_beta_may_fall_wave_or_come_again() -> None:
    """It starts at beta_start; half a cosine is half way at half time; cycles rise in half of each period."""
    down = TrialConfig(beta=1.0, beta_start=3.0, beta_warmup_epochs=1)
    assert [beta_at(step, 4, down) for step in range(6)] == [3.0, 2.5, 2.0, 1.5, 1.0, 1.0]
    wave = replace(down, beta_schedule="cosine")
    assert [beta_at(step, 3, wave) for step in range(4)] == pytest.approx([3.0, 2.5, 1.5, 1.0])
    cycles = TrialConfig(beta=1.0, beta_warmup_epochs=2, beta_schedule="cyclical")
    assert [beta_at(step, 4, cycles) for step in range(10)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0, 0.25]
