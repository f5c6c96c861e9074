"""Log-likelihoods by importance sampling: joint log p(X), marginal log p(X_A), conditional log p(X_B | X_A).

The default proposal is a stratified mixture: each subset's posterior gives a fixed share of the K samples,
and the weights divide by the density of the whole mixture in those shares (deterministic-mixture or
"balance" weighting, Veach & Guibas 1995; Shi et al. 2019 use it over single modalities). It does not use the
model's mixture weights: a trial is not judged by how well its own weights happen to propose. One subset's
posterior may propose alone, which is what the released MoPoE code does.

Whatever proposes, the estimate of p(X) is unbiased for every K, so that its logarithm lies below log p(X) in
expectation, by var(w) / (2 K mean(w)^2) to first order, and rises towards it with K.
Axes: B batch, M modality, P proposing posterior, W private latent, Z shared latent, K importance sample.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.errors import ConfigError
from mopoe.gaussian import full_precision
from mopoe.laplace import LAPLACE
from mopoe.model import Encoded, MoPoE
from mopoe.random_streams import sample_noise
from mopoe.subsets import subset_label, subset_members

ROWS = 512
"""Latents decoded at a time."""

Proposal = Literal["mixture", "full"] | int
"""What latents come from: all subsets' posteriors, that of all observed modalities, or of a subset mask."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimates of a log-likelihood, one for each of N samples."""

    log_p_N: Tensor
    """In nats: float64 [N]."""
    ess_N: Tensor
    """Effective sample size (sum w)^2 / sum w^2 of the weights, from 1 to K: float64 [N]."""


@dataclass(frozen=True, slots=True)
class Conditional:
    """Estimates of what the modalities of a subset A say about the others."""

    rest: Estimate
    """log p(X_rest | X_A) of all others together."""
    modalities: Mapping[str, Estimate]
    """log p(x_m | X_A) of each of the others, by name."""


def joint_log_likelihood(
    model: MoPoE, split: Split, n: int, importance_samples: int, seed: int, device: torch.device
) -> Tensor:
    """Return the default estimate of log p(X) in nats for each of the first n samples: float64 [n]."""
    return log_likelihood(model, split, n, importance_samples, seed, device).log_p_N


def log_likelihood(
    model: MoPoE,
    split: Split,
    n: int,
    importance_samples: int,
    seed: int,
    device: torch.device,
    *,
    observed: int | None = None,
    proposal: Proposal = "mixture",
) -> Estimate:
    """Return the estimates of log p(X), or of log p(X_A), for the first n samples of a split.

    Args:
        model: the model; its likelihoods count as they are, without beta or any weight.
        split: held-out samples, complete ones.
        n: how many of them.
        importance_samples: K, at least 1; a multiple of the number of subsets uses all equally.
        seed: fixes the noise.
        device: where to compute.
        observed: the mask of the modalities A; None for all. The proposals see no other.
        proposal: what latents are drawn from. Private latents come from the posterior of their modality.

    Raises:
        ConfigError: `observed` or the proposal is not a subset of what there is.
    """
    log_p, ess = [], []
    with torch.inference_mode():
        for log_w_BK in _log_weights(
            model, split, n, importance_samples, seed, device, observed=observed, proposal=proposal
        ):
            total_B = torch.logsumexp(log_w_BK, 1)
            log_p.append(total_B - math.log(importance_samples))
            ess.append(torch.exp(2 * total_B - torch.logsumexp(2 * log_w_BK, 1)))
    return Estimate(torch.cat(log_p).cpu(), torch.cat(ess).cpu())


def conditional_log_likelihood(
    model: MoPoE, split: Split, n: int, importance_samples: int, seed: int, device: torch.device, given: int
) -> Conditional:
    """Return the estimates of log p(X_rest | X_A) and of each log p(x_m | X_A), A being the mask `given`.

    Each is log p(X_A, X_target) - log p(X_A), the first term's proposals seeing A and the target, the
    second's only A; both have K latents and share the noise. Both terms lie below the truth in expectation,
    so the difference is off by less than the worse of them, on either side. (Weighting p(X_target | z) over
    latents that saw A alone estimates the same quantity, but hardly any latent serves its first term once the
    target has many elements.) The effective sample size is that of the worse term.

    Raises:
        ConfigError: `given` is no subset of the modalities, or leaves none over.
    """
    full = model.masks[-1]
    if given == full:
        raise ConfigError(f"given is {subset_label(given, model.names)}, which leaves no modality over")

    def of(mask: int) -> Estimate:
        return log_likelihood(model, split, n, importance_samples, seed, device, observed=mask)

    marginal = of(given)

    def relative(joint: Estimate) -> Estimate:
        return Estimate(joint.log_p_N - marginal.log_p_N, torch.minimum(joint.ess_N, marginal.ess_N))

    rest = relative(of(full))
    others = subset_members(full & ~given)
    alone = [rest] if len(others) == 1 else [relative(of(given | 1 << m)) for m in others]
    return Conditional(rest, {model.names[m]: found for m, found in zip(others, alone, strict=True)})


def legacy_log_likelihood(
    model: MoPoE, split: Split, n: int, seed: int, device: torch.device, *, k: int = 12, batch_size: int = 64
) -> Tensor:
    """Return log p(X) as the released MoPoE code computes it, to compare with published tables: float64 [n].

    Latents come from the full set's posterior. The weights are laid out as (K, B) but read as (B, K), so that
    each number averages the weights of K different samples and not one sample's: it is near the greatest of K
    likelihoods, far too high. A last batch that is not full counts too (released: it is dropped).
    """
    with torch.inference_mode():
        log_w_NK = torch.cat(list(_log_weights(model, split, n, k, seed, device, proposal="full")))
        read = [log_w_BK.t().reshape(log_w_BK.shape) for log_w_BK in log_w_NK.split(batch_size)]
        return (torch.logsumexp(torch.cat(read), 1) - math.log(k)).cpu()


def proposing(model: MoPoE, observed: int, proposal: Proposal) -> list[int]:
    """Return the positions in `model.masks` of the subsets whose posteriors propose, in equal shares.

    A posterior that is a mixture of single modalities' (method moe), or a product of another kind (Laplace),
    is proposed by those.

    Raises:
        ConfigError: `observed` or the proposal is not a subset of what there is.
    """
    full = model.masks[-1]
    if not 0 < observed <= full:
        raise ConfigError(f"the subset mask is {observed}, but must be from 1 to {full}")
    mask = proposal if isinstance(proposal, int) else observed
    if not mask or mask & ~observed:
        raise ConfigError(
            f"the proposal's subset mask is {mask}, but must be a subset of what is observed, "
            f"{subset_label(observed, model.names)} (mask {observed})"
        )
    mixture = proposal == "mixture"
    if model.family is LAPLACE or (model.bound.mixture_of_experts and not mixture):
        return list(subset_members(mask))
    return [s for s, other in enumerate(model.masks) if other == mask or (mixture and not other & ~mask)]


def component_shares(n: int, n_components: int) -> Tensor:
    """Return how many of n samples each component gives, as equal as possible.

    The last components (the larger subsets) are first in line for the rest.

    >>> component_shares(8, 3)
    tensor([2, 3, 3])
    """
    shares_S = torch.full((n_components,), n // n_components)
    rest = n % n_components
    if rest:
        shares_S[-rest:] += 1
    return shares_S


def _log_weights(
    model: MoPoE,
    split: Split,
    n: int,
    importance_samples: int,
    seed: int,
    device: torch.device,
    *,
    observed: int | None = None,
    proposal: Proposal,
) -> Iterator[Tensor]:
    """Give log p(X_A, z, w) - log q(z, w) of some samples at a time: float64 [B, K]."""
    observed = model.masks[-1] if observed is None else observed
    index_P = torch.tensor(proposing(model, observed, proposal), device=device)
    names = [model.names[m] for m in subset_members(observed)]
    shares_P = component_shares(importance_samples, len(index_P))
    component_K = torch.repeat_interleave(torch.arange(len(index_P)), shares_P).to(device)
    weights_P = (shares_P.double() / importance_samples).to(device)
    rows, n = max(1, ROWS // importance_samples), min(n, len(split))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        batch = split.batch(slice(start, stop), device)
        x = {name: batch[name] for name in names}
        with full_precision(model.members_SM):
            q = model.encode(x)
        mu_PBZ, precision_PBZ = model.posteriors(q, index_P)
        shape = (importance_samples, model.latent_dim)
        noise_BKZ = sample_noise(seed, "log-likelihood", start, stop, shape, device)
        mu_BKZ = mu_PBZ[component_K].transpose(0, 1)
        z_BKZ = model.family.draw_exactly(mu_BKZ, precision_PBZ[component_K].transpose(0, 1), noise_BKZ)
        log_q_BK = model.family.log_mixture(z_BKZ, mu_PBZ, precision_PBZ, weights_P)
        log_p_BK = model.family.log_prior(z_BKZ)
        style_MBKW = None
        if model.style_dim:
            private = (importance_samples, len(model.names), model.style_dim)
            noise_BKMW = sample_noise(seed, "log-likelihood style", start, stop, private, device)
            style_MBKW, log_ratio_BK = _private(model, q, noise_BKMW)
            log_p_BK = log_p_BK + log_ratio_BK
        yield log_p_BK + _log_prob(model, z_BKZ.to(mu_PBZ.dtype), x, style_MBKW) - log_q_BK


def _private(model: MoPoE, q: Encoded, noise_BKMW: Tensor) -> tuple[Tensor, Tensor]:
    """Return private latents [M, B, K, W] of each modality's posterior, and sum_m log p(w_m) - log q(w_m)."""
    noise_MBKW = noise_BKMW.permute(2, 0, 1, 3)
    mu_MBW, precision_MBW = q.style_mu_MBW, q.style_precision_MBW
    style_MBKW = model.family.draw_exactly(mu_MBW[:, :, None], precision_MBW[:, :, None], noise_MBKW)
    one = mu_MBW.new_ones(1)
    log_ratio = [
        model.family.log_prior(w_BKW) - model.family.log_mixture(w_BKW, mu_BW[None], p_BW[None], one)
        for w_BKW, mu_BW, p_BW in zip(style_MBKW, mu_MBW, precision_MBW, strict=True)
    ]
    return style_MBKW.to(mu_MBW.dtype), torch.stack(log_ratio).sum(0)


def _log_prob(model: MoPoE, z_BKZ: Tensor, x: dict[str, Tensor], style_MBKW: Tensor | None) -> Tensor:
    """Return sum_m log p(x_m | z, w_m): float64 [B, K], decoding ROWS latents at a time."""
    n_batch, n_samples, _ = z_BKZ.shape
    flat_z = z_BKZ.flatten(0, 1)
    style_MRW = None if style_MBKW is None else style_MBKW.flatten(1, 2)
    parts = []
    for start in range(0, len(flat_z), ROWS):
        stop = min(start + ROWS, len(flat_z))
        style = None if style_MRW is None else style_MRW[:, start:stop]
        one = start // n_samples
        if one == (stop - 1) // n_samples:  # a view, where a copy for every latent is not needed
            of_row = {name: a[one : one + 1].expand(stop - start, *a.shape[1:]) for name, a in x.items()}
        else:
            sample_of_row = torch.arange(start, stop, device=flat_z.device) // n_samples
            of_row = {name: a[sample_of_row] for name, a in x.items()}
        terms = model.log_prob(flat_z[start:stop], of_row, style)
        parts.append(torch.stack(list(terms.values())).double().sum(0))
    return torch.cat(parts).view(n_batch, n_samples)
