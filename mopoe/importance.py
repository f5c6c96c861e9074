"""The importance-weighted bound over a mixture of experts or products (Shi et al. 2019, section 3).

For each sample a subset A of the mixture q = sum_A w_A q(z | X_A) is chosen, and K latents are drawn from it:

    log 1/K sum_k exp( sum_m log p(x_m | z_k) + beta (log p(z_k) - log q(z_k | X)) ),  z_k from q(z | X_A).

At beta 1 and over single modalities this is the bound of MMVAE. Its plain gradient for the encoders has a
signal-to-noise ratio that falls with K (Rainforth et al. 2018); "dreg" is the doubly reparametrised gradient
(Tucker et al. 2019) as MMVAE uses it. Its expectation is the plain one's for a single subset at beta 1; over
a mixture, whose density is not that of the one subset drawn from, that holds for K = 1 alone.

Axes: A subsets of weight above 0, B batch, K importance sample, M modality,
R row (a sample, or a pair of subset and sample), W and Z latents.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from mopoe.model import MoPoE
from mopoe.objective import (
    Draws,
    Terms,
    Weights,
    active_weights,
    chosen_posterior,
    draw_style,
    presence,
    private_kl,
    repeated,
)


def importance_weighted_bound(
    model: MoPoE,
    x: Mapping[str, Tensor],
    draws: Draws,
    weights: Weights,
    gradient: Literal["iwae", "dreg"],
    present_MB: Tensor | None = None,
) -> Terms:
    """Return the negative importance-weighted bound of a batch; its parts are means over the K latents.

    Args:
        model: the model.
        x: samples by modality name, [B, ...].
        draws: the noise, with K first: noise [K, B, Z], or [K, A, B, Z] without components; style noise
            [M, K B, W] or [M, K A B, W].
        weights: the weights of the parts.
        gradient: how the encoders' gradient is estimated; the value is the same.
        present_MB: which modality of which sample is there, as booleans; None if all are.
    """
    q = model.encode(x, present_MB)
    here, factors = presence(model, q), weights.factors(model.names)
    active_A, weights_AB = active_weights(model, q)
    mu_ABZ, precision_ABZ = model.posteriors(q, active_A)
    if draws.component_B is None:
        noise_KABZ, share_AB, chosen = draws.noise, weights_AB, (mu_ABZ, precision_ABZ)
    else:
        noise_KABZ, share_AB = draws.noise[:, None], torch.ones_like(weights_AB[:1])
        mu_BZ, precision_BZ = chosen_posterior(model, q, draws.component_B)
        chosen = (mu_BZ[None], precision_BZ[None])
    z_KABZ = model.family.draw_exactly(*chosen, noise_KABZ)
    style_MRW = draw_style(model, q, draws, exactly=True)
    known: tuple[Tensor, ...] = (mu_ABZ, precision_ABZ, q.style_mu_MBW, q.style_precision_MBW)
    if gradient == "dreg":
        known = tuple(t.detach() for t in known)
    shape = z_KABZ.shape[:3]
    log_p = {
        name: rows.view(shape) * here[name]
        for name, rows in model.log_prob(
            z_KABZ.flatten(0, 2).to(q.mu_MBZ.dtype),
            repeated(x, shape[0] * shape[1]),
            None if style_MRW is None else style_MRW.to(q.mu_MBZ.dtype),
        ).items()
    }
    z_BRZ = z_KABZ.flatten(0, 1).transpose(0, 1)
    log_q_BR = model.family.log_mixture(z_BRZ, known[0], known[1], weights_AB)
    log_ratio_KAB = model.family.log_prior(z_KABZ) - log_q_BR.t().view(shape)
    if style_MRW is not None:
        log_ratio_KAB = log_ratio_KAB + _style_ratio(
            model, style_MRW, known[2], known[3], weights, here
        ).view(shape)
    log_w_KAB = weights.beta * log_ratio_KAB + sum(factors[name] * value for name, value in log_p.items())
    bound_AB = torch.logsumexp(log_w_KAB, 0) - math.log(shape[0])
    loss = -(share_AB * bound_AB).sum(0).mean()
    if gradient == "dreg":
        share_KAB = torch.softmax(log_w_KAB.detach(), 0)
        for latents, share in ((z_KABZ, share_KAB[..., None]), (style_MRW, share_KAB.flatten()[:, None])):
            if latents is not None and latents.requires_grad:
                latents.register_hook(lambda g, share=share: g * share.to(g.dtype))
        surrogate = -(share_AB * (share_KAB * log_w_KAB).sum(0)).sum(0).mean()
        loss = surrogate + (loss - surrogate).detach()
    kl = (weights_AB * model.family.kl_to_prior(mu_ABZ, precision_ABZ)).sum(0).mean()
    style_kl, _ = private_kl(model, q, weights.style)
    reconstruction = {name: -(share_AB * value.mean(0)).sum(0).mean() for name, value in log_p.items()}
    return Terms(loss=loss.to(kl.dtype), reconstruction=reconstruction, kl=kl + style_kl)


def _style_ratio(
    model: MoPoE,
    style_MRW: Tensor,
    mu_MBW: Tensor,
    precision_MBW: Tensor,
    weights: Weights,
    here: Mapping[str, Tensor | float],
) -> Tensor:
    """Return sum_m style_m (log p(w_m) - log q(w_m | x_m)) of the modalities that are there: float64 [R]."""
    n = mu_MBW.shape[1]
    total_R = style_MRW.new_zeros(style_MRW.shape[1], dtype=torch.float64)
    for m, name in enumerate(model.names):
        w_BKW = style_MRW[m].view(-1, n, model.style_dim).transpose(0, 1)
        one = mu_MBW.new_ones(1)
        log_q_BK = model.family.log_mixture(w_BKW, mu_MBW[m : m + 1], precision_MBW[m : m + 1], one)
        ratio_KB = (model.family.log_prior(w_BKW) - log_q_BK).t()
        total_R = (
            total_R + (1.0 if weights.style is None else weights.style[m]) * (ratio_KB * here[name]).flatten()
        )
    return total_R
