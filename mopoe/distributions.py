"""Distributions of the latents: diagonal Gaussian or Laplace, and products of Gaussian experts.

Every distribution is kept as mean and precision (1 / scale^2) of independent latents; for Gaussians these are
nearly the natural parameters, which simply add in a product. Axes: B batch, M modality, S subset or component
of a mixture, Z latent, K importance sample.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from mopoe.runtime import at_least_float32, full_precision

LOG_2 = math.log(2)
LOG_2PI = math.log(2 * math.pi)


class LatentDistribution(ABC):
    """A location-scale family of posteriors q(z | x); its standard member is the prior p(z)."""

    @abstractmethod
    def standard(self, noise: Tensor) -> Tensor:
        """Return samples of the prior, computed from standard normal noise of the same shape."""

    @abstractmethod
    def kl_to_prior(self, mu: Tensor, precision: Tensor) -> Tensor:
        """Return KL(q || p) in nats, [...], summed over the last axis of mean and precision [..., Z]."""

    @abstractmethod
    def log_prior(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, [...], summed over the last axis of latents [..., Z]."""

    @abstractmethod
    def log_density(self, z_BKZ: Tensor, mu_BZ: Tensor, precision_BZ: Tensor) -> Tensor:
        """Return log q(z) in nats, [B, K], summed over the latents; all inputs are float64."""

    def draw(self, mu: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
        """Return samples of the posterior, computed from standard normal noise (reparameterised)."""
        return mu + self.standard(noise) * precision.rsqrt()

    def draw_float64(self, mu: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
        """Return the same samples in float64, as their density needs them.

        In float32, a sample of a narrow posterior far from 0 is rounded to a point that is several standard
        deviations away.
        """
        return self.draw(mu.double(), precision.double(), noise.double())

    def log_mixture(self, z_BKZ: Tensor, mu_SBZ: Tensor, precision_SBZ: Tensor, weights: Tensor) -> Tensor:
        """Return log sum_s w_s q_s(z) in nats: float64 [B, K].

        Args:
            z_BKZ: latents.
            mu_SBZ: means of the mixture's components.
            precision_SBZ: their precisions.
            weights: mixture weights, [S], or [S, B] if they differ by sample.
        """
        z_BKZ, mu_SBZ, precision_SBZ = z_BKZ.double(), mu_SBZ.double(), precision_SBZ.double()
        log_density_SBK = torch.stack(
            [self.log_density(z_BKZ, *component) for component in zip(mu_SBZ, precision_SBZ, strict=True)]
        )
        log_weights = weights.double().log().reshape(len(weights), -1, 1)
        return torch.logsumexp(log_density_SBK + log_weights, dim=0)


class Gaussian(LatentDistribution):
    """Diagonal Gaussians with the prior N(0, I)."""

    def standard(self, noise: Tensor) -> Tensor:
        """Return the noise itself."""
        return noise

    def kl_to_prior(self, mu: Tensor, precision: Tensor) -> Tensor:
        """Return KL(N(mu, 1/precision) || N(0, I)) in nats, summed over the last axis."""
        mu, precision = at_least_float32(mu), at_least_float32(precision)
        return 0.5 * (mu.square() + precision.reciprocal() + precision.log() - 1).sum(-1)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log N(z; 0, I) in nats, summed over the last axis."""
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI)

    def log_density(self, z_BKZ: Tensor, mu_BZ: Tensor, precision_BZ: Tensor) -> Tensor:
        """Return log N(z; mu, 1/precision) in nats: [B, K].

        The mean is subtracted before squaring: the expanded square would cancel, even in float64, when a
        posterior is very narrow.
        """
        centred_BKZ = z_BKZ - mu_BZ[:, None]
        # In place where no gradient needs the difference: a second tensor of this size costs page faults.
        square_BKZ = centred_BKZ.square() if centred_BKZ.requires_grad else centred_BKZ.square_()
        distance_BK = (square_BKZ @ precision_BZ[:, :, None]).squeeze(-1)
        log_norm_B1 = (precision_BZ.log().sum(-1) - z_BKZ.shape[-1] * LOG_2PI)[:, None]
        return 0.5 * (log_norm_B1 - distance_BK)


class Laplace(LatentDistribution):
    """Laplace posteriors with a standard Laplace prior, as in MMVAE (Shi et al. 2019, section 4).

    A product of Laplace densities is not a Laplace density, so only mixtures of single modalities use them.
    """

    def standard(self, noise: Tensor) -> Tensor:
        """Return the Laplace quantile of each standard normal number's probability."""
        # Computed in the lower tail, where the log-probability is exact, and mirrored above the median.
        log_tail: Tensor = torch.special.log_ndtr(-noise.abs())
        return -noise.sign() * (log_tail + LOG_2)

    def kl_to_prior(self, mu: Tensor, precision: Tensor) -> Tensor:
        """Return KL(Laplace(mu, b) || Laplace(0, 1)), b = precision^-1/2, in nats, summed over the last axis.

        Per latent it is |mu| + b exp(-|mu| / b) - 1 - log b.
        """
        mu, scale = at_least_float32(mu).abs(), at_least_float32(precision).rsqrt()
        return (mu + scale * torch.exp(-mu / scale) - 1 - scale.log()).sum(-1)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log Laplace(z; 0, 1) in nats, summed over the last axis."""
        return -(z.abs() + LOG_2).sum(-1)

    def log_density(self, z_BKZ: Tensor, mu_BZ: Tensor, precision_BZ: Tensor) -> Tensor:
        """Return log Laplace(z; mu, b), b = precision^-1/2, in nats: [B, K]."""
        mu_B1Z, scale_B1Z = mu_BZ[:, None], precision_BZ.rsqrt()[:, None]
        return -((z_BKZ - mu_B1Z).abs() / scale_B1Z + scale_B1Z.log() + LOG_2).sum(-1)


GAUSSIAN, LAPLACE = Gaussian(), Laplace()


def kl_between(mu_q: Tensor, precision_q: Tensor, mu_p: Tensor, precision_p: Tensor) -> Tensor:
    """Return KL(N(mu_q, 1/precision_q) || N(mu_p, 1/precision_p)) in nats, summed over the last axis."""
    mu_q, precision_q, mu_p, precision_p = map(at_least_float32, (mu_q, precision_q, mu_p, precision_p))
    ratio = precision_p / precision_q
    return 0.5 * ((mu_q - mu_p).square() * precision_p + ratio - ratio.log() - 1).sum(-1)


def membership(masks: tuple[int, ...], n_modalities: int) -> Tensor:
    """Return the 0/1 matrix [S, M] that says which modality belongs to which subset.

    >>> membership((1, 3), 2).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return torch.tensor([[float(mask >> m & 1) for m in range(n_modalities)] for mask in masks])


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


def product_of_experts(
    mu_MBZ: Tensor, precision_MBZ: Tensor, members_SM: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and precision [S, B, Z] of every subset's product of experts, by one matrix product.

    Args:
        mu_MBZ: means of the unimodal posteriors.
        precision_MBZ: their precisions.
        members_SM: 0/1 matrix, one row for each product.
        prior: 1 where the product includes the prior N(0, I), else 0: [S], or [S, B] if it differs by sample.
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)
    n_modalities, *rest = mu_MBZ.shape
    prior_SB1 = prior[..., None] if prior.dim() == 2 else prior[:, None, None]
    with full_precision(mu_MBZ):
        h_SBZ, precision_SBZ = multiply_experts(
            mu_MBZ,
            precision_MBZ,
            prior_SB1,
            lambda t_MBZ: (members_SM @ t_MBZ.reshape(n_modalities, -1)).view(-1, *rest),
        )
    return h_SBZ / precision_SBZ, precision_SBZ


def chosen_product(
    mu_MBZ: Tensor, precision_MBZ: Tensor, members_BM: Tensor, prior_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and precision [B, Z] of one product of experts per sample, each sample with its own subset.

    This is cheaper than picking from all subsets' products [S, B, Z]: nothing is scattered in the backward
    pass.

    Args:
        mu_MBZ: means of the unimodal posteriors.
        precision_MBZ: their precisions.
        members_BM: 0/1 matrix, the members of each sample's subset.
        prior_B: 1 where the product includes the prior N(0, I), else 0.
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)
    members_MB1 = members_BM.t()[:, :, None]
    h_BZ, precision_BZ = multiply_experts(
        mu_MBZ, precision_MBZ, prior_B[:, None], lambda t_MBZ: (members_MB1 * t_MBZ).sum(0)
    )
    return h_BZ / precision_BZ, precision_BZ
