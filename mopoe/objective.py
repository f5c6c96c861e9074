"""The generalized ELBO of MoPoE (Sutter et al. 2021, section 4), as trained.

    L(X) = E_z [ sum_m log p(x_m | z) ] - beta * sum_A w_A KL( q(z | X_A) || N(0, I) )

with z drawn from the mixture sum_A w_A q(z | X_A). The weighted sum of KLs bounds the mixture's KL from above
(convexity), so this is a lower bound of log p(X) for beta >= 1. MVAE (Wu & Goodman 2018) adds to it

    sum_m E_z [ log p(x_m | z) ] - beta * KL( q(z | x_m) || N(0, I) ),  z drawn from q(z | x_m),

after which it is no bound of log p(X). Axes: A subsets of weight above 0, B batch, M modality, S subset,
Z latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mopoe.gaussian import chosen_product, full_precision, kl_to_prior
from mopoe.model import MoPoE


@dataclass(frozen=True, slots=True)
class Terms:
    """The parts of the objective for one batch, as means per sample in nats."""

    loss: Tensor
    """Minimised, a scalar: weighted reconstruction + beta * kl, with the unimodal ELBOs where there are."""
    reconstruction: Mapping[str, Tensor]
    """Negative log-likelihood under the mixture by modality name, without any weight, scalars."""
    kl: Tensor
    """sum_A w_A KL_A, a scalar."""


def generalized_elbo(
    model: MoPoE,
    x: Mapping[str, Tensor],
    component_B: Tensor | None,
    noise: Tensor,
    beta: float,
    *,
    unimodal_noise_MBZ: Tensor | None = None,
    likelihood_weights: Mapping[str, float] | None = None,
) -> Terms:
    """Return the negative generalized ELBO of a batch and its parts.

    Args:
        model: the model.
        x: samples by modality name, [B, ...].
        component_B: index of the subset whose posterior each sample's latent is drawn from; None decodes a
            latent of every subset of weight above 0 and weighs the log-likelihoods by the subsets' weights.
        noise: standard normal noise for that draw: [B, Z], or [A, B, Z] if component_B is None.
        beta: weight of the KL term.
        unimodal_noise_MBZ: the same for the unimodal ELBOs, which are added if it is given.
        likelihood_weights: weight in the loss of each modality's log-likelihood, in the unimodal ELBOs too
            (where the released MoPoE code has none); all 1 if not given.
    """
    weight = dict.fromkeys(model.names, 1.0) | dict(likelihood_weights or {})
    mu_MBZ, precision_MBZ = model.encode(x)
    mu_SBZ, precision_SBZ = model.posteriors(mu_MBZ, precision_MBZ)
    kl_SB = kl_to_prior(mu_SBZ, precision_SBZ)
    with full_precision(kl_SB):
        kl = (model.weights_S.to(kl_SB.dtype) @ kl_SB).mean()
    if component_B is None:
        z_ABZ = _draw(mu_SBZ[model.active_A], precision_SBZ[model.active_A], noise)
        reconstruction = _reconstruction_of_all(model, z_ABZ, x)
    else:
        members_BM, prior_B = model.members_SM[component_B], model.prior_S[component_B]
        z_BZ = _draw(*chosen_product(mu_MBZ, precision_MBZ, members_BM, prior_B), noise)
        reconstruction = {name: -log_p_B.mean() for name, log_p_B in model.log_prob(z_BZ, x).items()}
    loss = sum((value * weight[name] for name, value in reconstruction.items()), start=kl * beta)
    if unimodal_noise_MBZ is not None:
        # The single modalities are the first M subsets.
        n = len(model.names)
        z_MBZ = _draw(mu_SBZ[:n], precision_SBZ[:n], unimodal_noise_MBZ)
        for name, z_BZ, kl_B in zip(model.names, z_MBZ, kl_SB, strict=False):
            log_p_B = model.likelihood(name).log_prob(model.decoders[name](z_BZ), x[name])
            loss = loss - weight[name] * log_p_B.mean() + beta * kl_B.mean()
    return Terms(loss=loss, reconstruction=reconstruction, kl=kl)


def _draw(mu: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
    """Return samples of N(mu, 1 / precision)."""
    return mu + noise * precision.rsqrt()


def _reconstruction_of_all(model: MoPoE, z_ABZ: Tensor, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the negative log-likelihood of a batch by modality name, averaged over all subsets."""
    n_subsets, n, _ = z_ABZ.shape
    sample_of_row = torch.arange(n, device=z_ABZ.device).repeat(n_subsets)
    found = model.log_prob(z_ABZ.flatten(0, 1), {name: values[sample_of_row] for name, values in x.items()})
    weights_A = model.weights_S[model.active_A]
    return {
        name: -(weights_A.to(log_p.dtype)[:, None] * log_p.view(n_subsets, n)).sum(0).mean()
        for name, log_p in found.items()
    }
