"""The private latents w_m of each modality: how they are drawn in training, and their KL terms.

The private latents of a modality outside of the subset whose posterior gave z come from its own posterior
q(w_m | x_m), as in the released code of MoPoE, or from an auxiliary prior r(w_m) with a trained scale, as in
MMVAE+ (Palumbo et al. 2023), so that they cannot tell what z lacks; they then have no KL term. At beta 1 the
loss stays a bound of -log p(X) if r is the prior. Otherwise it is none (a counterexample in closed form is in
`tests/mopoe/test_elbo_parts.py`): a subset's part is a bound for the model that has r as the prior of the
modalities outside of it. Evaluation draws from the prior, never from r.

Axes: A subsets of weight above 0, B batch, K importance sample, M modality, R row of latents (K A B),
S subset, W private latent.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mopoe.model import Encoded, MoPoE


def from_posterior(model: MoPoE, component_B: Tensor | None, active_A: Tensor, shape: torch.Size) -> Tensor:
    """Return whether the private latents of each row come from the posterior, as booleans [M, R] or [M, 1].

    Args:
        model: the model.
        component_B: index of the subset of each sample; None for all of weight above 0.
        active_A: the indices of these.
        shape: that of the batch's rows, K A B or fewer.
    """
    if not model.method.auxiliary_prior:
        return model.members_SM.new_ones(len(model.names), 1, dtype=torch.bool)
    chosen = active_A.repeat_interleave(shape[-1]) if component_B is None else component_B
    members_MR = model.members_SM[chosen].bool().t()
    return members_MR.repeat(1, shape.numel() // len(chosen))


def draw_private(
    model: MoPoE, q: Encoded, noise_MRW: Tensor | None, own_MR: Tensor, *, float64: bool = False
) -> Tensor | None:
    """Return private latents [M, R, W], or None if there are none.

    Args:
        model: the model.
        q: the unimodal posteriors.
        noise_MRW: standard normal noise, needed exactly if there are private latents.
        own_MR: whether they come from the posterior, as `from_posterior` returns it.
        float64: whether they are drawn in float64.
    """
    if model.style_dim == 0:
        return None
    assert noise_MRW is not None, "there are private latents, but no noise for them"
    n_repeats = noise_MRW.shape[1] // q.style_mu_MBW.shape[1]
    mu_MRW = q.style_mu_MBW.repeat(1, n_repeats, 1)
    precision_MRW = q.style_precision_MBW.repeat(1, n_repeats, 1)
    draw = model.distribution.draw_float64 if float64 else model.distribution.draw
    own_MRW = draw(mu_MRW, precision_MRW, noise_MRW)
    if model.auxiliary_log_scale_MW is None:
        return own_MRW
    precision_M1W = torch.exp(-2 * model.auxiliary_log_scale_MW)[:, None]
    other_MRW = draw(torch.zeros_like(mu_MRW), precision_M1W.expand_as(mu_MRW), noise_MRW)
    return torch.where(own_MR[..., None], own_MRW, other_MRW)


def private_kl(
    model: MoPoE, q: Encoded, weights: Sequence[float] | None, active_A: Tensor, weights_AB: Tensor
) -> tuple[Tensor | float, Tensor | float]:
    """Return the sum of the private latents' KL terms, unweighted and weighted, as means over the batch.

    With an auxiliary prior the term of a modality counts by the weight of the subsets that it is in.
    """
    if model.style_dim == 0:
        return 0.0, 0.0
    kl_MB = model.distribution.kl_to_prior(q.style_mu_MBW, q.style_precision_MBW)
    if model.method.auxiliary_prior:
        kl_MB = kl_MB * (model.members_SM[active_A].t() @ weights_AB)
    kl_M = kl_MB.mean(1)
    weighted_M = kl_M if weights is None else kl_M * kl_M.new_tensor(weights)
    return kl_M.sum(), weighted_M.sum()


def private_log_ratio(
    model: MoPoE,
    private_MRW: Tensor,
    mu_MBW: Tensor,
    precision_MBW: Tensor,
    weights: Sequence[float] | None,
    present: Mapping[str, Tensor | float],
    own_MR: Tensor,
) -> Tensor:
    """Return sum_m style_m (log p(w_m) - log q(w_m | x_m)) in nats, float64 [R].

    The sum is over the modalities that are present and whose latents come from their posteriors.
    """
    private_MBKW = private_MRW.unflatten(1, (-1, mu_MBW.shape[1])).transpose(1, 2)
    log_ratio_MBK = log_density_ratio(model, private_MBKW, mu_MBW, precision_MBW)
    total_R = private_MRW.new_zeros(private_MRW.shape[1], dtype=torch.float64)
    for m, name in enumerate(model.names):
        factor = 1.0 if weights is None else weights[m]
        total_R = total_R + factor * (log_ratio_MBK[m].t() * present[name]).flatten() * own_MR[m]
    return total_R


def log_density_ratio(model: MoPoE, private_MBKW: Tensor, mu_MBW: Tensor, precision_MBW: Tensor) -> Tensor:
    """Return log p(w_m) - log q(w_m | x_m) of private latents in nats: float64 [M, B, K]."""
    latents, one = model.distribution, mu_MBW.new_ones(1)
    return torch.stack(
        [
            latents.log_prior(w_BKW) - latents.log_mixture(w_BKW, mu_BW[None], precision_BW[None], one)
            for w_BKW, mu_BW, precision_BW in zip(private_MBKW, mu_MBW, precision_MBW, strict=True)
        ]
    )
