"""Posterior diagnostics of every subset: active units, idle latents and collapsed modalities.

Axes: B batch, M modality, S subset, Z latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mopoe.model import Encoded, MoPoE

ACTIVE_VARIANCE = 0.01
"""A latent is an active unit if its posterior mean varies more than this over samples (Burda et al. 2016)."""
IDLE_KL = 0.01
"""A latent is idle if its KL to the prior is below this on average, in nats."""
COLLAPSED_KL = 0.1
"""A modality has collapsed if the KL of its own posterior is below this on average, in nats. The KL bounds
the information that the latents carry about the modality."""


@dataclass(frozen=True, slots=True)
class PosteriorDiagnostics:
    """What can be measured of every subset's posterior without decoding it."""

    active_S: Tensor
    """Number of active units: latents whose posterior mean varies over samples."""
    idle_S: Tensor
    """Share of idle latents."""
    kl_S: Tensor
    """Mean KL to the prior, in nats."""
    non_finite_S: Tensor
    """Share of posterior means and KLs that are not finite numbers."""

    def collapsed_S(self) -> Tensor:
        """Return whether a subset's posterior carries next to no information about what was observed."""
        return self.kl_S < COLLAPSED_KL


def posterior_sums(mu_SBZ: Tensor, kl_SBZ: Tensor) -> Tensor:
    """Return the sums over a batch that diagnostics are computed from: float64 [4, S, Z].

    These are the sums of the posterior means, of their squares, of the KLs to the prior, and the number of
    samples of which one of these is not finite.
    """
    mu_SBZ, kl_SBZ = mu_SBZ.double(), kl_SBZ.double()
    bad_SBZ = ~(mu_SBZ.isfinite() & kl_SBZ.isfinite())
    return torch.stack([part.sum(1) for part in (mu_SBZ, mu_SBZ.square(), kl_SBZ, bad_SBZ.double())])


def posterior_diagnostics(sums_4SZ: Tensor, n: int) -> PosteriorDiagnostics:
    """Return the diagnostics, on the CPU, from the `posterior_sums` of all n samples."""
    mu_SZ, square_SZ, kl_SZ, bad_SZ = (sums_4SZ / n).cpu()
    return PosteriorDiagnostics(
        active_S=(square_SZ - mu_SZ.square() > ACTIVE_VARIANCE).sum(1),
        idle_S=(kl_SZ < IDLE_KL).double().mean(1),
        kl_S=kl_SZ.sum(1),
        non_finite_S=bad_SZ.mean(1),
    )


def subset_posteriors(model: MoPoE, q: Encoded) -> tuple[Tensor, Tensor]:
    """Return every subset's posterior mean, and its KL to the prior by latent in nats: [S, B, Z] each.

    For a mixture of experts the mean is that of its members' means, and the KL that of their KLs, which is an
    upper bound of the mixture's KL.
    """
    if model.method.mixture_of_experts:
        kl_MBZ = _kl_by_latent(model, q.mu_MBZ, q.precision_MBZ)
        shares_SM = model.expert_shares_SM
        mu_SBZ, kl_SBZ = (torch.einsum("sm,mbz->sbz", shares_SM, part) for part in (q.mu_MBZ, kl_MBZ))
        return mu_SBZ, kl_SBZ
    mu_SBZ, precision_SBZ = model.posteriors(q)
    return mu_SBZ, _kl_by_latent(model, mu_SBZ, precision_SBZ)


def _kl_by_latent(model: MoPoE, mu: Tensor, precision: Tensor) -> Tensor:
    return model.distribution.kl_to_prior(mu[..., None], precision[..., None])
