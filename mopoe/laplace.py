"""Laplace posteriors with a standard Laplace prior, as in MMVAE (Shi et al. 2019, section 4).

Their products are not of their kind, so only mixtures of single modalities can have them. Axes: B batch,
S component, Z latent, K importance sample.
"""

import math

import torch
from torch import Tensor

from mopoe.family import Family
from mopoe.gaussian import at_least_float32, log_weights

LOG_2 = math.log(2)


def standard(noise: Tensor) -> Tensor:
    """Return standard Laplace noise: the quantile of each standard normal number's probability."""
    # In the lower tail, where the logarithm of the probability is exact, and mirrored above the median.
    log_tail: Tensor = torch.special.log_ndtr(-noise.abs())
    return -noise.sign() * (log_tail + LOG_2)


def kl_to_prior(mu: Tensor, precision: Tensor) -> Tensor:
    """Return KL(Laplace(mu, b) || Laplace(0, 1)), b = precision^-1/2, in nats, summed over the last axis.

    Per latent it is |mu| + b exp(-|mu| / b) - 1 - log b.
    """
    mu, scale = at_least_float32(mu).abs(), at_least_float32(precision).rsqrt()
    return (mu + scale * torch.exp(-mu / scale) - 1 - scale.log()).sum(-1)


def log_prior(z: Tensor) -> Tensor:
    """Return log Laplace(z; 0, 1) in nats, summed over the last axis."""
    return -(z.abs() + LOG_2).sum(-1)


def log_mixture(z_BKZ: Tensor, mu_SBZ: Tensor, precision_SBZ: Tensor, weights: Tensor) -> Tensor:
    """Return log sum_s w_s Laplace(z; mu_s, b_s) in nats: float64 [B, K]; weights are [S] or [S, B]."""
    log_density_SBK = torch.stack(
        [
            -(
                (z_BKZ.double() - mu_BZ[:, None]).abs() / scale_BZ[:, None] + scale_BZ.log()[:, None] + LOG_2
            ).sum(-1)
            for mu_BZ, scale_BZ in zip(mu_SBZ.double(), precision_SBZ.double().rsqrt(), strict=True)
        ]
    )
    return torch.logsumexp(log_density_SBK + log_weights(weights), dim=0)


LAPLACE = Family(standard, kl_to_prior, log_prior, log_mixture)
