"""The generalized ELBO of MoPoE (Sutter et al. 2021, section 4), as trained.

    L(X) = E_z [ sum_m log p(x_m | z) ] - beta * sum_A w_A KL( q(z | X_A) || N(0, I) )

with z drawn from the mixture sum_A w_A q(z | X_A), one draw per sample. The weighted sum of KLs bounds the
mixture's KL from above (convexity), so this is a lower bound of log p(X) for beta >= 1.
Axes: B batch, M modality, S subset, Z latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mopoe.gaussian import chosen_product, kl_to_prior
from mopoe.model import MoPoE


@dataclass(frozen=True, slots=True)
class Terms:
    """The parts of the objective for one batch, as means per sample in nats."""

    loss: Tensor
    """Minimised: reconstruction + beta * kl, a scalar."""
    reconstruction: Mapping[str, Tensor]
    """Negative log-likelihood by modality name, scalars."""
    kl: Tensor
    """sum_A w_A KL_A, a scalar."""


def generalized_elbo(
    model: MoPoE, x: Mapping[str, Tensor], component_B: Tensor, noise_BZ: Tensor, beta: float
) -> Terms:
    """Return the negative generalized ELBO of a batch and its parts.

    Args:
        model: the model.
        x: samples by modality name, [B, ...].
        component_B: index of the subset whose posterior each sample's latent is drawn from.
        noise_BZ: standard normal noise for that draw.
        beta: weight of the KL term.
    """
    mu_MBZ, precision_MBZ = model.encode(x)
    kl_SB = kl_to_prior(*model.posteriors(mu_MBZ, precision_MBZ))
    kl = (model.weights_S.to(kl_SB.dtype) @ kl_SB).mean()
    mu_BZ, precision_BZ = chosen_product(
        mu_MBZ, precision_MBZ, model.members_SM[component_B], model.prior_S[component_B]
    )
    z_BZ = mu_BZ + noise_BZ * precision_BZ.rsqrt()
    reconstruction = {name: -log_p_B.mean() for name, log_p_B in model.log_prob(z_BZ, x).items()}
    total = sum(reconstruction.values(), start=kl * beta)
    return Terms(loss=total, reconstruction=reconstruction, kl=kl)
