"""The generalized ELBO of MoPoE (Sutter et al. 2021, section 4) and its relatives, as they are trained.

    L(X) = E_z [ sum_m log p(x_m | z) ] - beta * sum_A w_A KL( q(z | X_A) || p(z) )

with z drawn from the mixture sum_A w_A q(z | X_A). By convexity the weighted sum of KLs is an upper bound of
the mixture's KL, so L(X) is a lower bound of log p(X) for beta >= 1. A `MethodSpec` may add to it:

- unimodal ELBOs (MVAE, Wu & Goodman 2018), after which it is no longer a bound of log p(X):
  sum_m E_z [ log p(x_m | z) ] - beta * KL( q(z | x_m) || p(z) ), with z drawn from q(z | x_m);
- learned mixture weights (CoDE-VAE, Mancisidor et al. 2025), whose entropy is one more term;
- the total correlation (MVTCAE, Hwang et al. 2021): for a share a of it, (M - a) / M of the reconstruction
  and, in place of the KL, (1 - a) KL( q(z | X) || p(z) ) + a / M sum_m KL( q(z | X) || q(z | x_m) ), where M
  counts all modalities. For a > 0 this is no bound of log p(X), at beta = 1 either.

Private latents w_m add - beta * style_m * KL( q(w_m | x_m) || p(w_m) ) (`mopoe.private_latents`). A missing
modality is in no product and is not reconstructed, and the mixture is over the remaining subsets. Axes: A
subsets of weight above 0, B batch, K importance sample, M modality, R row of latents (K A B), S subset, W
private latent, Z shared latent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mopoe.data.registry import COVARIATES
from mopoe.distributions import GAUSSIAN, kl_between
from mopoe.experts import aggregate_chosen
from mopoe.model import Encoded, MoPoE
from mopoe.private_latents import draw_private, from_posterior, private_kl, private_log_ratio
from mopoe.subset_kl import weighted_kl


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The loss of one batch and its parts, as means per sample in nats."""

    loss: Tensor
    """The minimised quantity, a scalar: weighted reconstruction + beta * kl + what the method adds."""
    reconstruction: Mapping[str, Tensor]
    """Negative log-likelihood under the mixture by modality name, unweighted scalars."""
    kl: Tensor
    """sum_A w_A KL_A, or mmJSD's divergence, plus the private latents' KL: an unweighted scalar."""

    def summed(self, n: int) -> "LossTerms":
        """Return the sums over the n samples of the batch, detached from the graph."""
        parts = {name: value.detach() * n for name, value in self.reconstruction.items()}
        return LossTerms(self.loss.detach() * n, parts, self.kl.detach() * n)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """The weights of the loss's parts."""

    beta: float | Tensor
    """Weight of every KL term."""
    likelihood: Mapping[str, float] | None = None
    """Weight of each modality's log-likelihood by name, in unimodal ELBOs too (unlike the released code);
    None for 1 each."""
    style: Sequence[float] | None = None
    """Weight of each modality's private KL, multiplied by beta; None for 1 each."""
    entropy: float = 0.0
    """Weight of the entropy of learned mixture weights."""

    def factors(self, names: Sequence[str]) -> dict[str, float]:
        """Return the weight of each modality's log-likelihood by name, 1 where none is given."""
        return dict.fromkeys(names, 1.0) | dict(self.likelihood or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random numbers of one step."""

    component_B: Tensor | None
    """Index of the subset from whose posterior each sample's latent is drawn. None decodes one latent of
    every subset of weight above 0 and weights the log-likelihoods by the subsets' weights."""
    noise: Tensor
    """Standard normal noise for that draw: [B, Z], or [A, B, Z] without components."""
    unimodal_MBZ: Tensor | None = None
    """Noise for the unimodal ELBOs [M, B, Z]; needed exactly if the method has them."""
    style_MBW: Tensor | None = None
    """Noise for the private latents, needed exactly if there are any: [M, B, W], or [M, A B, W] without
    components."""


def generalized_elbo(
    model: MoPoE,
    x: Mapping[str, Tensor],
    draws: Draws,
    weights: LossWeights,
    present_MB: Tensor | None = None,
) -> LossTerms:
    """Return the negative generalized ELBO of a batch and its parts.

    Args:
        model: the model.
        x: samples by modality name, [B, ...]; any finite values where a modality is missing.
        draws: the random numbers.
        weights: the weights of the parts.
        present_MB: whether the modality of the sample is present, as booleans; None if all are.
    """
    q, latents = model.encode(x, present_MB), model.distribution
    active_A, weights_AB = active_weights(model, q)
    kl = _mixture_kl(model, q, active_A, weights_AB)
    own_MR = from_posterior(model, draws.component_B, active_A, draws.noise.shape[:-1])
    style = draw_private(model, q, draws.style_MBW, own_MR)
    if draws.component_B is None:
        z_RZ = latents.draw(*model.posteriors(q, active_A), draws.noise).flatten(0, 1)
        log_p_by_subset = model.log_prob(z_RZ, repeated(x, len(active_A)), style)
        log_p = {n: (weights_AB * t.view(len(weights_AB), -1)).sum(0) for n, t in log_p_by_subset.items()}
    else:
        z_BZ = latents.draw(*chosen_posterior(model, q, draws.component_B), draws.noise)
        log_p = model.log_prob(z_BZ, x, style)
    present, factors = presence(model, q), weights.factors(model.names)
    log_p_MB = torch.stack([log_p[name] for name in model.names])
    here_MB = log_p_MB if q.present_MB is None else log_p_MB * q.present_MB
    reconstruction_M = -here_MB.mean(1)
    reconstruction = dict(zip(model.names, reconstruction_M.unbind(), strict=True))
    style_kl, weighted_style_kl = private_kl(model, q, weights.style, active_A, weights_AB)
    fit = sum((value * factors[name] for name, value in reconstruction.items()), start=torch.zeros_like(kl))
    penalty = kl + weighted_style_kl
    if (share := model.method.tc_ratio) is not None:
        fit, penalty = fit * (1 - share / len(model.names)), penalty - share * kl
        penalty = penalty + share / len(model.names) * _kl_to_unimodal(model, q, active_A)
    loss = fit + weights.beta * penalty
    if model.method.unimodal_elbos:
        assert draws.unimodal_MBZ is not None, "the method has unimodal ELBOs, but there is no noise for them"
        mu_MBZ, precision_MBZ = model.posteriors(q, slice(len(model.names)))
        z_MBZ = latents.draw(mu_MBZ, precision_MBZ, draws.unimodal_MBZ)
        kl_MB = latents.kl_to_prior(mu_MBZ, precision_MBZ)
        loss = loss + weights.beta * weighted_style_kl
        for name, z_BZ, kl_B in zip(model.names, z_MBZ, kl_MB, strict=True):
            log_p_B = model.log_prob(z_BZ, {n: x[n] for n in (name, COVARIATES) if n in x}, style)[name]
            loss = loss + ((weights.beta * kl_B - factors[name] * log_p_B) * present[name]).mean()
    if model.method.learned_weights:
        pi_S = model.weights_S
        loss = loss + weights.entropy * (pi_S * pi_S.log()).sum().to(loss.dtype)
    return LossTerms(loss=loss, reconstruction=reconstruction, kl=kl + style_kl)


def active_weights(model: MoPoE, q: Encoded) -> tuple[Tensor, Tensor]:
    """Return the indices [A] of the subsets of weight above 0, and their mixture weights.

    The weights are [A, 1], or [A, B] where modalities are missing.
    """
    active_A = model.components(missing=q.present_MB is not None)
    weights = model.weights_S[:, None] if q.present_MB is None else model.weights_given(q.present_MB)
    return active_A, weights[active_A].to(q.mu_MBZ.dtype)


def chosen_posterior(model: MoPoE, q: Encoded, component_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and precision [B, Z] of the posterior of each sample's subset."""
    members_BM, prior_B = model.members_SM[component_B], model.prior_S[component_B]
    return aggregate_chosen(model.method.aggregation, q.mu_MBZ, q.precision_MBZ, members_BM, prior_B)


def presence(model: MoPoE, q: Encoded) -> dict[str, Tensor | float]:
    """Return by modality name 1 where it is present and 0 where it is missing: [B], or 1.0 if all are."""
    if q.present_MB is None:
        return dict.fromkeys(model.names, 1.0)
    return dict(zip(model.names, q.present_MB.to(q.mu_MBZ.dtype), strict=True))


def repeated(x: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """Return n copies of the batch, one after the other: [n B, ...]."""
    return {name: values.repeat(n, *(1,) * (values.dim() - 1)) for name, values in x.items()}


def _mixture_kl(model: MoPoE, q: Encoded, active_A: Tensor, weights_AB: Tensor) -> Tensor:
    """Return sum_A w_A KL( q(z | X_A) || p(z) ), or mmJSD's divergence, as the mean over the batch."""
    if model.method.dynamic_prior:
        return _jensen_shannon(q).mean()
    # The compiler fuses the plain formula by itself.
    products = model.distribution is GAUSSIAN and model.method.aggregation == "product"
    if products and not torch.compiler.is_compiling() and not model.method.learned_weights:
        return weighted_kl(q.mu_MBZ, q.precision_MBZ, *model.products(q, active_A), weights_AB).mean()
    kl_AB = model.distribution.kl_to_prior(*model.posteriors(q, active_A))
    return (weights_AB * kl_AB).sum(0).mean()


def _jensen_shannon(q: Encoded) -> Tensor:
    """Return sum_m pi KL( q(z | x_m) || f ) + pi KL( p || f ) of each sample in nats, [B].

    The dynamic prior f is the geometric mean of the K - 1 present posteriors and of the prior p, pi = 1 / K
    (mmJSD, Sutter et al. 2020). The released code also reconstructs a share pi of the samples from latents of
    the prior, which is not done here.
    """
    present_MB = (
        torch.ones_like(q.mu_MBZ[..., 0]) if q.present_MB is None else q.present_MB.to(q.mu_MBZ.dtype)
    )
    share_KB = torch.cat([present_MB, torch.ones_like(present_MB[:1])])
    share_KB = share_KB / share_KB.sum(0)
    mu_KBZ = torch.cat([q.mu_MBZ, torch.zeros_like(q.mu_MBZ[:1])])
    # What is missing has the share 0, but its term must be finite.
    known_MBZ = torch.where(present_MB[..., None] > 0, q.precision_MBZ, 1)
    precision_KBZ = torch.cat([known_MBZ, torch.ones_like(known_MBZ[:1])])
    weighted_KBZ = share_KB[..., None] * precision_KBZ
    precision_BZ = weighted_KBZ.sum(0)
    mu_BZ = (weighted_KBZ * mu_KBZ).sum(0) / precision_BZ
    return (share_KB * kl_between(mu_KBZ, precision_KBZ, mu_BZ, precision_BZ)).sum(0)


def _kl_to_unimodal(model: MoPoE, q: Encoded, active_A: Tensor) -> Tensor:
    """Return sum_m KL( q(z | X) || q(z | x_m) ) over the present modalities, averaged over the batch."""
    mu_1BZ, precision_1BZ = model.posteriors(q, active_A)
    if q.present_MB is None:
        return kl_between(mu_1BZ, precision_1BZ, q.mu_MBZ, q.precision_MBZ).sum(0).mean()
    # Missing modalities do not count, but their terms must be finite.
    precision_MBZ = q.precision_MBZ.where(q.present_MB[:, :, None], 1)
    return (kl_between(mu_1BZ, precision_1BZ, q.mu_MBZ, precision_MBZ) * q.present_MB).sum(0).mean()


def importance_weighted_bound(
    model: MoPoE,
    x: Mapping[str, Tensor],
    draws: Draws,
    weights: LossWeights,
    present_MB: Tensor | None = None,
    *,
    gradient: Literal["iwae", "dreg"],
) -> LossTerms:
    """Return the negative importance-weighted bound of a batch; its parts are means over the K latents.

    The bound is that of Burda et al. 2016, for mixtures as in MMVAE (Shi et al. 2019).

    Args:
        model: the model.
        x: samples by modality name, [B, ...]; any finite values where a modality is missing.
        draws: the random numbers, with K first: noise [K, B, Z], or [K, A, B, Z] without components; style
            noise [M, K B, W] or [M, K A B, W].
        weights: the weights of the parts.
        present_MB: whether the modality of the sample is present, as booleans; None if all are.
        gradient: the estimator of the encoders' gradient, plain (iwae) or doubly reparameterised (dreg,
            Tucker et al. 2019); the value is the same.
    """
    q, latents = model.encode(x, present_MB), model.distribution
    present, factors = presence(model, q), weights.factors(model.names)
    active_A, weights_AB = active_weights(model, q)
    mu_ABZ, precision_ABZ = model.posteriors(q, active_A)
    if draws.component_B is None:
        noise_KABZ, share_AB, chosen = draws.noise, weights_AB, (mu_ABZ, precision_ABZ)
    else:
        noise_KABZ, share_AB = draws.noise[:, None], torch.ones_like(weights_AB[:1])
        mu_BZ, precision_BZ = chosen_posterior(model, q, draws.component_B)
        chosen = (mu_BZ[None], precision_BZ[None])
    z_KABZ = latents.draw_float64(*chosen, noise_KABZ)
    own_MR = from_posterior(model, draws.component_B, active_A, draws.noise.shape[:-1])
    style_MRW = draw_private(model, q, draws.style_MBW, own_MR, float64=True)
    density: tuple[Tensor, ...] = (mu_ABZ, precision_ABZ, q.style_mu_MBW, q.style_precision_MBW)
    if gradient == "dreg":
        density = tuple(t.detach() for t in density)
    shape = z_KABZ.shape[:3]
    log_p = {
        name: log_p_R.view(shape) * present[name]
        for name, log_p_R in model.log_prob(
            z_KABZ.flatten(0, 2).to(q.mu_MBZ.dtype),
            repeated(x, shape[0] * shape[1]),
            None if style_MRW is None else style_MRW.to(q.mu_MBZ.dtype),
        ).items()
    }
    z_BRZ = z_KABZ.flatten(0, 1).transpose(0, 1)
    log_q_BR = latents.log_mixture(z_BRZ, density[0], density[1], weights_AB)
    log_ratio_KAB = latents.log_prior(z_KABZ) - log_q_BR.t().view(shape)
    if style_MRW is not None:
        style_ratio_R = private_log_ratio(
            model, style_MRW, density[2], density[3], weights.style, present, own_MR
        )
        log_ratio_KAB = log_ratio_KAB + style_ratio_R.view(shape)
    log_w_KAB = weights.beta * log_ratio_KAB + sum(factors[name] * value for name, value in log_p.items())
    bound_AB = torch.logsumexp(log_w_KAB, 0) - math.log(shape[0])
    loss = -(share_AB * bound_AB).sum(0).mean()
    if gradient == "dreg":
        share_KAB = torch.softmax(log_w_KAB.detach(), 0)
        # The auxiliary prior's scale is not in the density ratio, so its gradient is the plain one.
        style_share_MR1 = share_KAB.flatten().where(own_MR, 1)[..., None]
        for drawn, share in ((z_KABZ, share_KAB[..., None]), (style_MRW, style_share_MR1)):
            if drawn is not None and drawn.requires_grad:
                drawn.register_hook(lambda g, share=share: g * share.to(g.dtype))
        surrogate = -(share_AB * (share_KAB * log_w_KAB).sum(0)).sum(0).mean()
        loss = surrogate + (loss - surrogate).detach()
    kl = (weights_AB * latents.kl_to_prior(mu_ABZ, precision_ABZ)).sum(0).mean()
    style_kl, _ = private_kl(model, q, weights.style, active_A, weights_AB)
    reconstruction = {name: -(share_AB * value.mean(0)).sum(0).mean() for name, value in log_p.items()}
    return LossTerms(loss=loss.to(kl.dtype), reconstruction=reconstruction, kl=kl + style_kl)
