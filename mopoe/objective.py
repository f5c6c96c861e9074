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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
