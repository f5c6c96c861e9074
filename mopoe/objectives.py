"""The generalized ELBO of MoPoE (Sutter et al. 2021, section 4) and its relatives, as trained.

    L(X) = E_z [ sum_m log p(x_m | z) ] - beta * sum_A w_A KL( q(z | X_A) || p(z) )

with z drawn from the mixture sum_A w_A q(z | X_A). The weighted sum of KLs bounds the mixture's KL from above
(convexity), so this is a lower bound of log p(X) for beta >= 1. What a `Bound` may add to it:

- unimodal ELBOs (MVAE, Wu & Goodman 2018), after which it is no bound of log p(X):
  sum_m E_z [ log p(x_m | z) ] - beta * KL( q(z | x_m) || p(z) ), z drawn from q(z | x_m);
- learned weights (CoDE-VAE, Mancisidor et al. 2025), with their entropy as a term;
- the total correlation (MVTCAE, Hwang et al. 2021): with share a, (M - a) / M of the reconstruction and, in
  place of the KL, (1 - a) KL( q(z | X) || p(z) ) + a / M sum_m KL( q(z | X) || q(z | x_m) ), M counting
  all modalities.

Private latents w_m add - beta * style_m * KL( q(w_m | x_m) || p(w_m) ). A missing modality is in no product
and not reconstructed, and the mixture is over the subsets that are left. Axes: A subsets of weight above 0,
B batch, M modality, S subset, W private latent, Z shared latent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mopoe.gaussian import GAUSSIAN, chosen_product, kl_between
from mopoe.model import Encoded, MoPoE
from mopoe.subset_kl import weighted_kl


@dataclass(frozen=True, slots=True)
class Terms:
    """The parts of the objective for one batch, as means per sample in nats."""

    loss: Tensor
    """Minimised, a scalar: weighted reconstruction + beta * kl, and what the method adds."""
    reconstruction: Mapping[str, Tensor]
    """Negative log-likelihood under the mixture by modality name, without any weight, scalars."""
    kl: Tensor
    """sum_A w_A KL_A, and the private latents' KL, without any weight; a scalar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights of the loss's parts."""

    beta: float | Tensor
    """Of all KL terms."""
    likelihood: Mapping[str, float | Tensor] | None = None
    """Of each modality's log-likelihood, also in unimodal ELBOs (where the released code has none)."""
    style: Sequence[float] | Tensor | None = None
    """Of each modality's private KL, on top of beta; None for 1 each."""
    entropy: float | Tensor = 0.0
    """Of the entropy of learned mixture weights."""

    def factors(self, names: Sequence[str]) -> dict[str, float | Tensor]:
        """Return the weight of each modality's log-likelihood by name, 1 where none is given."""
        ones: dict[str, float | Tensor] = dict.fromkeys(names, 1.0)
        return ones | dict(self.likelihood or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random numbers of a step."""

    component_B: Tensor | None
    """Index of the subset whose posterior each sample's latent is drawn from; None decodes a latent of every
    subset of weight above 0 and weighs the log-likelihoods by the subsets' weights."""
    noise: Tensor
    """Standard normal noise for that draw: [B, Z], or [A, B, Z] without components."""
    unimodal_MBZ: Tensor | None = None
    """The same for the unimodal ELBOs, if the method has them."""
    style_MBW: Tensor | None = None
    """The same for the private latents, if there are any: [M, B, W], or [M, A B, W] without components."""


def generalized_elbo(
    model: MoPoE, x: Mapping[str, Tensor], draws: Draws, weights: Weights, present_MB: Tensor | None = None
) -> Terms:
    """Return the negative generalized ELBO of a batch and its parts.

    Args:
        model: the model.
        x: samples by modality name, [B, ...]; at places where they are missing, any finite values.
        draws: the noise.
        weights: the weights of the parts.
        present_MB: which modality of which sample is there, as booleans; None if all are.
    """
    q = model.encode(x, present_MB)
    active_A, weights_AB = active_weights(model, q)
    kl = _mixture_kl(model, q, active_A, weights_AB)
    if draws.component_B is None:
        mu_ABZ, precision_ABZ = model.posteriors(q, active_A)
        z = model.family.draw(mu_ABZ, precision_ABZ, draws.noise).flatten(0, 1)
        found = model.log_prob(z, repeated(x, len(active_A)), style := draw_style(model, q, draws))
        log_p = {n: (weights_AB * rows.view(len(weights_AB), -1)).sum(0) for n, rows in found.items()}
    else:
        z = model.family.draw(*chosen_posterior(model, q, draws.component_B), draws.noise)
        log_p = model.log_prob(z, x, style := draw_style(model, q, draws))
    here = presence(model, q)
    reconstruction = {name: -(log_p_B * here[name]).mean() for name, log_p_B in log_p.items()}
    factors = weights.factors(model.names)
    style_kl, weighted_style_kl = private_kl(model, q, weights.style)
    fit = sum((value * factors[name] for name, value in reconstruction.items()), start=torch.zeros_like(kl))
    penalty = kl + weighted_style_kl
    if (share := model.bound.tc_ratio) is not None:
        fit, penalty = fit * (1 - share / len(model.names)), penalty - share * kl
        mu_1BZ, precision_1BZ = model.posteriors(q, active_A)
        # Those of missing modalities do not count, and must be finite.
        precision_MBZ = q.precision_MBZ
        if q.present_MB is not None:
            precision_MBZ = precision_MBZ.where(q.present_MB[:, :, None], 1)
        kl_MB = kl_between(mu_1BZ, precision_1BZ, q.mu_MBZ, precision_MBZ)
        one_by_one = sum(kl_B * here[name] for name, kl_B in zip(model.names, kl_MB, strict=True))
        penalty = penalty + share / len(model.names) * one_by_one.mean()
    loss = fit + weights.beta * penalty
    if draws.unimodal_MBZ is not None:
        mu_MBZ, precision_MBZ = model.posteriors(q, slice(len(model.names)))
        z_MBZ = model.family.draw(mu_MBZ, precision_MBZ, draws.unimodal_MBZ)
        kl_MB = model.family.kl_to_prior(mu_MBZ, precision_MBZ)
        loss = loss + weights.beta * weighted_style_kl
        for name, z_BZ, kl_B in zip(model.names, z_MBZ, kl_MB, strict=True):
            log_p_B = model.log_prob(z_BZ, {name: x[name]}, style)[name]
            loss = loss + ((weights.beta * kl_B - factors[name] * log_p_B) * here[name]).mean()
    if model.bound.learned_weights:
        pi_S = model.weights_S
        loss = loss + weights.entropy * (pi_S * pi_S.log()).sum().to(loss.dtype)
    return Terms(loss=loss, reconstruction=reconstruction, kl=kl + style_kl)


def active_weights(model: MoPoE, q: Encoded) -> tuple[Tensor, Tensor]:
    """Return the indices [A] of the subsets of weight above 0, and their weights.

    The weights are [A, 1], or [A, B] where modalities are missing.
    """
    active_A = model.components(missing=q.present_MB is not None)
    weights = model.weights_S[:, None] if q.present_MB is None else model.weights_given(q.present_MB)
    return active_A, weights[active_A].to(q.mu_MBZ.dtype)


def chosen_posterior(model: MoPoE, q: Encoded, component_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and precision [B, Z] of the posterior of each sample's subset."""
    members_BM, prior_B = model.members_SM[component_B], model.prior_S[component_B]
    return chosen_product(q.mu_MBZ, q.precision_MBZ, members_BM, prior_B)


def draw_style(model: MoPoE, q: Encoded, draws: Draws, *, exactly: bool = False) -> Tensor | None:
    """Return private latents [M, rows, W] drawn from their posteriors, or None if there are none."""
    if draws.style_MBW is None:
        return None
    n_repeats = draws.style_MBW.shape[1] // q.style_mu_MBW.shape[1]
    mu, precision = q.style_mu_MBW.repeat(1, n_repeats, 1), q.style_precision_MBW.repeat(1, n_repeats, 1)
    draw = model.family.draw_exactly if exactly else model.family.draw
    return draw(mu, precision, draws.style_MBW)


def presence(model: MoPoE, q: Encoded) -> dict[str, Tensor | float]:
    """Return by modality name 1 where it is there and 0 where it is missing, [B]; the number 1 if all are."""
    if q.present_MB is None:
        return dict.fromkeys(model.names, 1.0)
    return dict(zip(model.names, q.present_MB.to(q.mu_MBZ.dtype), strict=True))


def repeated(x: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """Return the batch n times, one after the other."""
    return {name: values.repeat(n, *(1,) * (values.dim() - 1)) for name, values in x.items()}


def _mixture_kl(model: MoPoE, q: Encoded, active_A: Tensor, weights_AB: Tensor) -> Tensor:
    """Return sum_A w_A KL( q(z | X_A) || p(z) ), the mean over the batch."""
    # The compiler fuses the plain formula by itself.
    one_pass = model.family is GAUSSIAN and not torch.compiler.is_compiling()
    if one_pass and not model.bound.learned_weights:
        products = model.products(q, active_A)
        return weighted_kl(q.mu_MBZ, q.precision_MBZ, *products, weights_AB).mean()
    kl_AB = model.family.kl_to_prior(*model.posteriors(q, active_A))
    return (weights_AB * kl_AB).sum(0).mean()


def private_kl(
    model: MoPoE, q: Encoded, weights: Sequence[float] | Tensor | None
) -> tuple[Tensor | float, Tensor | float]:
    """Return the sum of the private latents' KL terms, without and with their weights."""
    if model.style_dim == 0:
        return 0.0, 0.0
    kl_M = model.family.kl_to_prior(q.style_mu_MBW, q.style_precision_MBW).mean(1)
    if weights is None:
        return kl_M.sum(), kl_M.sum()
    weights_M = weights if isinstance(weights, Tensor) else kl_M.new_tensor(weights)
    return kl_M.sum(), (kl_M * weights_M).sum()


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
