"""Active units, idle latents and collapse of posteriors made to have them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import ModalitySpec
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import conditional_coherence
from mopoe.evaluation.diagnostics import posterior_diagnostics, posterior_sums, subset_posteriors
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation_config import EvaluationConfig
from mopoe.likelihoods import Normal as NormalLikelihood
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE

SCALES = (3.0, 0.5, 0.101, 0.099, 0.0)
"""How far each latent's posterior mean moves with x, which has variance 1: three are active."""


def encoder(gain: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return an encoder of mean gain * scale * x, and of variance 1 - (gain * scale)^2 if it can."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        scales = gain * torch.tensor(SCALES)
        variance = torch.where(scales < 1, 1 - scales.square(), 0.1)
        return x * scales, variance.log().expand(len(x), -1)

    return encode


@pytest.fixture(scope="module")
def samples() -> Tensor:
    """A thousand numbers of mean 5 and variance exactly 1."""
    x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ((x - x.mean()) / x.std(unbiased=False) + 5).float()


@pytest.fixture
def build(modality: Callable[..., Any]) -> Callable[..., MoPoE]:
    """Give a function that makes a model: modality `a` sees x, `b` has collapsed onto the prior."""

    def make(**method: Any) -> MoPoE:
        parts = {
            name: modality(encoder(gain), lambda z: z[:, :1], NormalLikelihood(1.0))
            for name, gain in (("a", 1.0), ("b", 0.0))
        }
        return MoPoE(parts, len(SCALES), MethodSpec(**({"prior_expert": "none"} | method)))

    return make


def measured(model: MoPoE, x: Tensor, size: int = 300) -> Any:
    """Return the diagnostics, gathered in batches."""
    sums = [
        posterior_sums(*subset_posteriors(model, model.encode({"a": part, "b": part})))
        for part in x.split(size)
    ]
    return posterior_diagnostics(torch.stack(sums).sum(0), len(x))


def test_active_units_are_counted_for_every_subset(build: Callable[..., MoPoE], samples: Tensor) -> None:
    """Latents whose mean has a variance above 0.01; the collapsed modality pulls the product's mean to 0.

    Two experts at the prior make a product of precision 2, so that no latent of it is idle.
    """
    found = measured(build(), samples)
    assert found.active_S.tolist() == [3, 0, 2]
    assert found.idle_S.tolist() == pytest.approx([0.2, 1.0, 0.0])
    assert found.collapsed_S().tolist() == [False, True, False]
    assert found.non_finite_S.tolist() == [0.0, 0.0, 0.0]


def test_the_size_of_a_batch_does_not_matter(build: Callable[..., MoPoE], samples: Tensor) -> None:
    """Means and variances are those of all samples, whatever came together."""
    whole, parts = (measured(build(), samples, size) for size in (1000, 7))
    assert whole.active_S.tolist() == parts.active_S.tolist()
    assert whole.kl_S.tolist() == pytest.approx(parts.kl_S.tolist(), rel=1e-9)


def test_a_large_mean_does_not_hide_the_variance() -> None:
    """Means of 1e4 that move by 0.05 and by 0.2, in float32: the first is not active, the second is."""
    x = torch.tensor([-1.0, 1.0]).repeat(500)
    mu = 1e4 + x[None, :, None] * torch.tensor([0.05, 0.2])
    found = posterior_diagnostics(posterior_sums(mu, torch.zeros_like(mu)), 1000)
    assert found.active_S.tolist() == [1]


def test_the_kl_by_latent_sums_to_that_of_the_subset(build: Callable[..., MoPoE], samples: Tensor) -> None:
    """Products against `torch.distributions`; under a mixture of experts the mean of its members."""
    x = {"a": samples[:9], "b": samples[:9]}
    zero = torch.zeros(9, len(SCALES))
    for model in (build(), build(mixture_of_experts=True)):
        q = model.encode(x)
        _, kl = subset_posteriors(model, q)
        alone = [
            kl_divergence(Normal(mu, p.rsqrt()), Normal(zero, zero + 1))
            for mu, p in zip(q.mu_MBZ, q.precision_MBZ, strict=True)
        ]
        assert torch.allclose(kl[:2], torch.stack(alone), atol=1e-5)
        if model.method.mixture_of_experts:
            assert torch.allclose(kl[2], (alone[0] + alone[1]) / 2, atol=1e-5)
        else:
            mu, precision = model.posteriors(q)
            both = kl_divergence(Normal(mu[2], precision[2].rsqrt()), Normal(zero, zero + 1))
            assert torch.allclose(kl[2], both, atol=1e-5)


def test_a_mixture_of_experts_has_the_mean_of_its_members_means(
    build: Callable[..., MoPoE], samples: Tensor
) -> None:
    """Half the movement: variances 2.25, 0.0625 and two below 0.01."""
    assert measured(build(mixture_of_experts=True), samples).active_S.tolist() == [3, 0, 2]


def test_numbers_that_are_not_finite_are_counted() -> None:
    """One of 2 x 4 means and one other KL: a quarter of one subset's, none of the other's."""
    mu, kl = torch.zeros(2, 4, 2), torch.zeros(2, 4, 2)
    mu[0, 1, 0], kl[0, 2, 1] = math.nan, math.inf
    assert posterior_diagnostics(posterior_sums(mu, kl), 4).non_finite_S.tolist() == [0.25, 0.0]


def test_health_is_part_of_every_evaluation(build: Callable[..., MoPoE], samples: Tensor) -> None:
    """The records of a model with a collapsed modality say so, at a rung as at the end."""
    split = Split({"a": samples, "b": samples}, torch.zeros(1000, dtype=torch.int64))
    data = MultimodalData(
        name="x",
        options={},
        fingerprint="x",
        modalities=(ModalitySpec(name="a", shape=(1,)), ModalitySpec(name="b", shape=(1,))),
        n_classes=1,
        train=split,
        validation=split,
        test=split,
    )
    classifiers = Classifiers(networks=dict.fromkeys("ab", torch.nn.Identity().eval()), accuracy={}, hash="h")
    evaluator = Evaluator(data, classifiers, EvaluationConfig(coherence_samples=1000, pictures=0), epochs=2)
    for what, n in (("rung", 100), ("all", 1000)):
        found = {(m.metric, m.subset_mask): m for m in evaluator.measure(build(), what).subset_metrics}
        assert found["active_units", 2].value == 0
        assert [found["collapsed", mask].value for mask in (1, 2)] == [0, 1]
        assert ("collapsed", 3) not in found
        assert found["active_units", 1].n == n
    assert found["active_units", 1].value == 3
    assert found["idle_latents", 2].stderr is None
    health = conditional_coherence(build(), split, classifiers, 1000, 0).diagnostics
    assert found["idle_latents", 3].value == health.idle_S[2]
