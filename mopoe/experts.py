"""How the experts of a subset, the posteriors of its modalities, become one posterior.

All of them and what comes of them are diagonal Gaussians, given by mean and precision; an expert of precision
0 is missing. An aggregation needs only sums over a subset's experts, or over its pairs of experts: those of
all subsets at once by a matrix product, or for each sample those of its own subset, which is cheaper than to
pick from all subsets' posteriors [S, B, Z], as nothing is scattered in the backward pass.

Axes: B batch, M modality, P pair of modalities, S subset, Z latent.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mopoe.config import Aggregation
from mopoe.runtime import at_least_float32, full_precision


class Total(Protocol):
    """Adds up the experts of each subset, or with their indices [P] the pairs of experts."""

    def __call__(self, t: Tensor, pairs: Tensor | None = None, /) -> Tensor:
        """Return the sums."""


def aggregate(
    how: Aggregation, mu_MBZ: Tensor, precision_MBZ: Tensor, members_SM: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and precision [S, B, Z] of every subset's posterior.

    Args:
        how: the kind of aggregation.
        mu_MBZ: means of the unimodal posteriors.
        precision_MBZ: their precisions; 0 where a modality is missing.
        members_SM: 0/1 matrix, one row for each subset.
        prior: 1 where the prior N(0, I) is one more expert, else 0: [S], or [S, B] if it differs by sample.
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)
    shape = (-1, *mu_MBZ.shape[1:])

    def total(t: Tensor, pairs: Tensor | None = None, /) -> Tensor:
        return (_columns(members_SM, pairs).to(t.dtype) @ t.reshape(len(t), -1)).view(shape)

    with full_precision(mu_MBZ):
        prior_SB1 = prior[..., None] if prior.dim() == 2 else prior[:, None, None]
        return _AGGREGATIONS[how](mu_MBZ, precision_MBZ, prior_SB1, total)


def aggregate_chosen(
    how: Aggregation, mu_MBZ: Tensor, precision_MBZ: Tensor, members_BM: Tensor, prior_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and precision [B, Z] of one posterior per sample, each sample with its own subset.

    Args:
        how: the kind of aggregation.
        mu_MBZ: means of the unimodal posteriors.
        precision_MBZ: their precisions; 0 where a modality is missing.
        members_BM: 0/1 matrix, the members of each sample's subset.
        prior_B: 1 where the prior N(0, I) is one more expert, else 0.
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)

    def total(t: Tensor, pairs: Tensor | None = None, /) -> Tensor:
        return (_columns(members_BM, pairs).t()[:, :, None] * t).sum(0)

    return _AGGREGATIONS[how](mu_MBZ, precision_MBZ, prior_B[:, None], total)


def _columns(members: Tensor, pairs: Tensor | None) -> Tensor:
    """Return which experts or which pairs of experts belong to each row."""
    return members if pairs is None else members[:, pairs[0]] * members[:, pairs[1]]


def multiply_experts(
    mu: Tensor, precision: Tensor, prior: Tensor, total: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return h = sum_m p_m mu_m and p = prior + sum_m p_m of a product of Gaussian experts N(mu_m, 1/p_m).

    The product is N(h / p, 1 / p) (Cao & Fleet 2014; Sutter et al. 2021, eq. 4). This is the one place where
    experts are multiplied; the callers differ in which experts they add up.

    Args:
        mu: means of the experts.
        precision: their precisions.
        prior: 1 where the product includes the prior N(0, I) as one more expert, else 0.
        total: adds up the experts that belong to each product.
    """
    total_precision = total(precision).add_(prior)
    return total(precision * mu), total_precision


def _product(mu: Tensor, precision: Tensor, prior: Tensor, total: Total) -> tuple[Tensor, Tensor]:
    """Return the normalised product of the experts."""
    h, p = multiply_experts(mu, precision, prior, total)
    return h / p, p


def _barycentre(mu: Tensor, precision: Tensor, prior: Tensor, total: Total) -> tuple[Tensor, Tensor]:
    """Return the barycentre of the experts in the 2-Wasserstein distance, with equal weights.

    Of Gaussians with diagonal covariances its mean is the mean of means, and its standard deviation that of
    standard deviations (Agueh and Carlier 2011); in multimodal VAEs, Qiu et al. 2025 (WB-VAE).
    """
    here = (precision > 0).to(mu.dtype)
    sigma = torch.where(precision > 0, precision, 1).rsqrt() * here
    count = total(here) + prior
    return total(mu * here) / count, (count / (total(sigma) + prior)).square()


def _hellinger(mu: Tensor, precision: Tensor, prior: Tensor, total: Total) -> tuple[Tensor, Tensor]:
    """Return the Gaussian with the moments of the experts' Hellinger pool, each latent by itself.

    The pool is proportional to the square of the mean of the experts' square roots, and minimises the sum of
    their squared Hellinger distances. It is a mixture over pairs of experts: a pair's component is Gaussian
    with the mean of both precisions, and has the weight of the Bhattacharyya coefficient of both.
    """
    first, second = pairs = torch.triu_indices(len(mu), len(mu), device=mu.device)
    here = (precision > 0).double()
    mu, precision = mu.double(), torch.where(precision > 0, precision, 1).double()  # squares nearly cancel
    twice = torch.where(first == second, 1.0, 2.0)[:, None, None] * here[first] * here[second]
    among = _pair_moments(mu[first], precision[first], mu[second], precision[second])
    one = torch.ones_like(mu[:1])
    with_prior = _pair_moments(mu, precision, 0 * one, one)
    weight, mean, square = (
        total(twice * a, pairs) + prior * (2 * total(here * b) + own)
        for a, b, own in zip(among, with_prior, (1.0, 0.0, 1.0), strict=True)
    )
    mean = mean / weight
    return mean.to(prior.dtype), (1 / (square / weight - mean.square())).to(prior.dtype)


def _pair_moments(
    mu: Tensor, precision: Tensor, other_mu: Tensor, other_precision: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the integral of the root of two densities' product, and those of its first two moments."""
    both, times = precision + other_precision, precision * other_precision
    integral = (2 * times.sqrt() / both).sqrt() * torch.exp(-(mu - other_mu).square() * times / (4 * both))
    mean = (precision * mu + other_precision * other_mu) / both
    return integral, integral * mean, integral * (2 / both + mean.square())


_AGGREGATIONS = {"product": _product, "barycentre": _barycentre, "hellinger": _hellinger}
