"""What the model and its objective need to know of the posteriors' distribution.

A distribution is kept as mean and precision (1 / scale^2), with latents independent of each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Family:
    """A location-scale family of posteriors with its standard member as the prior."""

    standard: Callable[[Tensor], Tensor]
    """Turns standard normal noise into noise of the family's standard member."""
    kl_to_prior: Callable[[Tensor, Tensor], Tensor]
    """Mean and precision [..., Z] to the KL divergence from the prior, in nats: [...]."""
    log_prior: Callable[[Tensor], Tensor]
    """Latents [..., Z] to the prior's log density, in nats: [...]."""
    log_mixture: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """Latents [B, K, Z], means and precisions [S, B, Z] and weights, [S] or [S, B], to the mixture's log
    density, in nats: float64 [B, K]."""

    def draw(self, mu: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
        """Return samples of the posterior from standard normal noise."""
        return mu + self.standard(noise) * precision.rsqrt()

    def draw_exactly(self, mu: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
        """Return the same samples in float64, for their density.

        In float32 a sample of a narrow posterior far from 0 is rounded to several of its widths away.
        """
        return self.draw(mu.double(), precision.double(), noise.double())
