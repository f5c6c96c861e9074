"""Products of experts, KLs and densities against brute force, plain loops and `torch.distributions`."""

import math
from functools import partial

import pytest
import torch
from gaussian_experts import experts
from scipy import stats
from torch import Tensor
from torch.distributions import Categorical, Independent, Laplace, MixtureSameFamily, Normal, kl_divergence

from mopoe.distributions import GAUSSIAN, LAPLACE, kl_between, membership
from mopoe.experts import aggregate, aggregate_chosen
from mopoe.runtime import at_least_float32


def test_membership_is_the_bits_of_the_masks() -> None:
    """Row s holds 1 for the modalities whose bit is set in mask s."""
    assert membership((1, 2, 4, 6, 7), 3).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
    ]


def test_kl_equals_that_of_torch_distributions() -> None:
    """KL(N(mu, 1/precision) || N(0, I)) is summed over the latent axis and zero for the prior itself."""
    mu, precision = experts(5)
    expected = kl_divergence(Normal(mu, precision**-0.5), Normal(torch.zeros_like(mu), torch.ones_like(mu)))
    torch.testing.assert_close(GAUSSIAN.kl_to_prior(mu, precision), expected.sum(-1), atol=1e-12, rtol=1e-12)
    assert GAUSSIAN.kl_to_prior(torch.zeros(2, 4), torch.ones(2, 4)).tolist() == [0.0, 0.0]


def test_kl_between_two_gaussians_equals_that_of_torch_distributions() -> None:
    """Summed over the latent axis, zero between equals, and the KL to the prior where p is the prior."""
    (mu_q, mu_p), (precision_q, precision_p) = (t[:2] for t in experts(5))
    expected = kl_divergence(Normal(mu_q, precision_q**-0.5), Normal(mu_p, precision_p**-0.5)).sum(-1)
    found = kl_between(mu_q, precision_q, mu_p, precision_p)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert float(kl_between(mu_q, precision_q, mu_q, precision_q).abs().max()) == 0
    prior = kl_between(mu_q, precision_q, torch.zeros_like(mu_q), torch.ones_like(mu_q))
    torch.testing.assert_close(prior, GAUSSIAN.kl_to_prior(mu_q, precision_q), atol=1e-12, rtol=1e-12)


def test_the_prior_density_equals_that_of_torch_distributions() -> None:
    """Log N(z; 0, I) is summed over the latent axis."""
    z = torch.randn(6, 2, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(
        GAUSSIAN.log_prior(z), Normal(0.0, 1.0).log_prob(z).sum(-1), atol=1e-12, rtol=1e-12
    )
    assert GAUSSIAN.log_prior(torch.zeros(1, 2)).item() == pytest.approx(-math.log(2 * math.pi), abs=1e-6)


def mixture(mu_SBZ: Tensor, precision_SBZ: Tensor, weights_S: Tensor) -> MixtureSameFamily:
    """Return torch's mixture over subsets, one per sample."""
    components = Independent(Normal(mu_SBZ.transpose(0, 1), precision_SBZ.transpose(0, 1) ** -0.5), 1)
    return MixtureSameFamily(Categorical(weights_S.expand(mu_SBZ.shape[1], -1)), components)


@pytest.mark.parametrize("z_dim", [1, 4, 64])
def test_the_mixture_density_equals_that_of_torch_distributions(z_dim: int) -> None:
    """Densities at points near and far agree with MixtureSameFamily, unequal weights included."""
    mu, precision = experts(3, b=5, z=z_dim)
    weights = torch.tensor([0.7, 0.05, 0.25], dtype=torch.float64)
    z = 2 * torch.randn(5, 6, z_dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = mixture(mu, precision, weights).log_prob(z.transpose(0, 1)).t()
    torch.testing.assert_close(
        GAUSSIAN.log_mixture(z, mu, precision, weights), expected, atol=1e-9, rtol=1e-10
    )


@pytest.mark.parametrize("precision", [1e3, 1e6])
def test_the_mixture_density_is_exact_for_sharp_components_in_float32(precision: float) -> None:
    """512 dimensions at high precision: the density of float32 inputs is that of float64 arithmetic."""
    rng = torch.Generator().manual_seed(6)
    mu = torch.randn(3, 4, 512, generator=rng)
    precisions = torch.full_like(mu, precision) * torch.rand(mu.shape, generator=rng).add(0.5)
    z = (mu[1] + torch.randn(4, 512, generator=rng) * precisions[1].rsqrt())[:, None]
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    expected = mixture(mu.double(), precisions.double(), weights).log_prob(z.double().transpose(0, 1)).t()
    found = GAUSSIAN.log_mixture(z, mu, precisions, weights)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, atol=1e-5 * precision**0.5, rtol=0)


def test_a_component_of_weight_zero_does_not_count() -> None:
    """The density is that of the other components, not NaN and not minus infinity."""
    mu, precision = experts(3)
    z = torch.zeros(4, 2, 3, dtype=torch.float64)
    some = GAUSSIAN.log_mixture(z, mu, precision, torch.tensor([0.0, 0.4, 0.6], dtype=torch.float64))
    rest = GAUSSIAN.log_mixture(z, mu[1:], precision[1:], torch.tensor([0.4, 0.6], dtype=torch.float64))
    torch.testing.assert_close(some, rest, atol=1e-12, rtol=1e-12)


def test_the_kl_of_one_dimension_is_accurate_from_minus_20_to_20() -> None:
    """Relative 1e-6 where the log-variance is beyond 1, absolute 2e-7 nats near the prior."""
    logvar = torch.linspace(-20, 20, 40_001)
    found = GAUSSIAN.kl_to_prior(torch.zeros(40_001, 1), torch.exp(-logvar)[:, None]).double()
    exact = 0.5 * (torch.expm1(logvar.double()) - logvar.double())
    torch.testing.assert_close(found, exact, atol=2e-7, rtol=1e-6)


def test_half_precision_becomes_float32_and_nothing_else_does() -> None:
    """What an encoder puts out under autocast is computed on in float32; float64 stays."""
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    found = [at_least_float32(torch.ones(1, dtype=kind)).dtype for kind in kinds]
    assert found == [torch.float32, torch.float32, torch.float32, torch.float64]
    mu, precision = (torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(8)) for _ in range(2))
    mu, precision = mu.bfloat16(), precision.bfloat16()
    torch.testing.assert_close(
        GAUSSIAN.kl_to_prior(mu, precision),
        GAUSSIAN.kl_to_prior(mu.float(), precision.float()),
        atol=0,
        rtol=0,
    )
    for product in (partial(aggregate, "product"), partial(aggregate_chosen, "product")):
        members, prior = torch.ones(4, 3), torch.ones(4)
        found = product(mu, precision, members, prior)
        torch.testing.assert_close(
            found, product(mu.float(), precision.float(), members, prior), atol=0, rtol=0
        )


def test_the_density_of_a_narrow_posterior_is_exact() -> None:
    """At a precision of 7.1e23, in float32 as encoders give it, an expanded square is off by 0.4 %."""
    z, mu, precision = (torch.tensor([[[v]]], dtype=torch.float32) for v in (48.50001, 48.5, 7.1e23))
    distance = float(z.double() - mu.double())
    expected = (
        0.5 * (math.log(float(precision)) - math.log(2 * math.pi)) - 0.5 * float(precision) * distance**2
    )
    assert float(GAUSSIAN.log_mixture(z, mu, precision, torch.ones(1))) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(-4.6493e13, rel=1e-4)


def test_an_exact_draw_is_where_its_density_says() -> None:
    """Of (z - mu) sqrt(precision) the mean square is 1 in float64, and 0 once z is rounded to float32."""
    noise = torch.randn(1, 1000, 1, generator=torch.Generator().manual_seed(0))
    mu, precision = torch.full((1, 1, 1), 48.5), torch.full((1, 1, 1), 1e15)
    exact = GAUSSIAN.draw_float64(mu, precision, noise)
    assert float(((exact - 48.5).square() * 1e15).mean()) == pytest.approx(
        float(noise.double().square().mean()), rel=1e-6
    )
    rounded = GAUSSIAN.draw(mu, precision, noise)
    assert float(((rounded.double() - 48.5).square() * 1e15).mean()) == 0


def test_normal_noise_becomes_laplace_noise_of_the_same_probability() -> None:
    """Equal to SciPy's quantile in the body, symmetric, and finite where a probability would round to 1."""
    noise = torch.linspace(-6, 6, 41, dtype=torch.float64)
    expected = torch.from_numpy(stats.laplace.ppf(stats.norm.cdf(noise.numpy())))
    torch.testing.assert_close(LAPLACE.standard(noise), expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(LAPLACE.standard(-noise), -LAPLACE.standard(noise))
    far = LAPLACE.standard(torch.tensor([-30.0, 30.0]))
    assert far.tolist() == pytest.approx([-454.3212 + 0.6931, 454.3212 - 0.6931], abs=1e-2)


def test_the_divergence_is_the_closed_form() -> None:
    """Over means from -30 to 30 and log-scales from -9 to 9, in float32 and against float64."""
    mu, log_scale = torch.meshgrid(torch.linspace(-30, 30, 13), torch.linspace(-9, 9, 19), indexing="ij")
    mu, scale = mu.reshape(-1, 1).double(), log_scale.reshape(-1, 1).double().exp()
    standard = Laplace(torch.zeros_like(mu), torch.ones_like(mu))
    expected = kl_divergence(Laplace(mu, scale), standard).sum(1)
    torch.testing.assert_close(LAPLACE.kl_to_prior(mu, scale**-2), expected, rtol=1e-12, atol=1e-12)
    single = LAPLACE.kl_to_prior(mu.float(), (scale**-2).float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("own", [False, True])
def test_the_mixtures_density_is_the_sum_of_its_components(own: bool) -> None:  # noqa: FBT001 - a parameter
    """With weights for all samples, and with each sample's own, one of them zero."""
    rng = torch.Generator().manual_seed(0)
    mu, scale = torch.randn(3, 4, 2, generator=rng), torch.rand(3, 4, 2, generator=rng) + 0.1
    z = torch.randn(4, 5, 2, generator=rng)
    weights = torch.tensor([0.2, 0.8, 0.0])
    if own:
        weights = torch.stack([weights.roll(b) for b in range(4)], 1)
    density = Laplace(mu[:, :, None].double(), scale[:, :, None].double()).log_prob(z.double()).sum(-1).exp()
    share = weights[:, None, None] if weights.dim() == 1 else weights[:, :, None]
    found = LAPLACE.log_mixture(z, mu, scale**-2, weights)
    torch.testing.assert_close(found, (share * density).sum(0).log(), rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float64


def test_the_prior_is_the_standard_member() -> None:
    """Two latents: -|z1| - |z2| - 2 log 2."""
    z = torch.tensor([[0.5, -2.0]])
    expected = Laplace(torch.zeros(2), torch.ones(2)).log_prob(z).sum(1)
    torch.testing.assert_close(LAPLACE.log_prior(z), expected)
