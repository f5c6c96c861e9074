"""Laplace posteriors against `torch.distributions` and the quantile function of SciPy."""

import pytest
import torch
from scipy import stats
from torch.distributions import Laplace, kl_divergence

from mopoe import laplace


def test_normal_noise_becomes_laplace_noise_of_the_same_probability() -> None:
    """Equal to SciPy's quantile in the body, symmetric, and finite where a probability would round to 1."""
    noise = torch.linspace(-6, 6, 41, dtype=torch.float64)
    expected = torch.from_numpy(stats.laplace.ppf(stats.norm.cdf(noise.numpy())))
    torch.testing.assert_close(laplace.standard(noise), expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(laplace.standard(-noise), -laplace.standard(noise))
    far = laplace.standard(torch.tensor([-30.0, 30.0]))
    assert far.tolist() == pytest.approx([-454.3212 + 0.6931, 454.3212 - 0.6931], abs=1e-2)


def test_the_divergence_is_the_closed_form() -> None:
    """Over means from -30 to 30 and log-scales from -9 to 9, in float32 and against float64."""
    mu, log_scale = torch.meshgrid(torch.linspace(-30, 30, 13), torch.linspace(-9, 9, 19), indexing="ij")
    mu, scale = mu.reshape(-1, 1).double(), log_scale.reshape(-1, 1).double().exp()
    standard = Laplace(torch.zeros_like(mu), torch.ones_like(mu))
    expected = kl_divergence(Laplace(mu, scale), standard).sum(1)
    torch.testing.assert_close(laplace.kl_to_prior(mu, scale**-2), expected, rtol=1e-12, atol=1e-12)
    single = laplace.kl_to_prior(mu.float(), (scale**-2).float())
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
    found = laplace.log_mixture(z, mu, scale**-2, weights)
    torch.testing.assert_close(found, (share * density).sum(0).log(), rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float64


def test_the_prior_is_the_standard_member() -> None:
    """Two latents: -|z1| - |z2| - 2 log 2."""
    z = torch.tensor([[0.5, -2.0]])
    expected = Laplace(torch.zeros(2), torch.ones(2)).log_prob(z).sum(1)
    torch.testing.assert_close(laplace.log_prior(z), expected)
