"""Distributions of the latents: diagonal Gaussian or Laplace, and products of Gaussian experts.

Every distribution is kept as mean and precision (1 / scale^2) of independent latents; for Gaussians these are
nearly the natural parameters, which simply add in a product. Axes: B batch, M modality, S subset or component
of a mixture, Z latent, K importance sample.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mopoe.runtime import at_least_float32

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
