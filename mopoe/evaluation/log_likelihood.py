"""Log-likelihoods by importance sampling: joint log p(X), marginal log p(X_A), conditional log p(X_B | X_A).

The default proposal is a stratified mixture: each subset's posterior gives a fixed share of the K samples,
and the importance weights divide by the density of the whole mixture in those shares (deterministic-mixture
or "balance" weighting, Veach & Guibas 1995; Shi et al. 2019 use it over single modalities). The model's own
mixture weights play no part, so that they do not affect how accurately a trial is measured.

The estimate of p(X) is unbiased for every K. Its logarithm is therefore below log p(X) in
expectation, by c / K with c = var(w) / (2 mean(w)^2) to first order, and rises towards it with K. From
K / 2 to K it rises by c / K on average, so that the rise estimates what is still missing. This first order
holds where many weights count; at an effective sample size near 1 more is missing than the rise.
Axes: B batch, H half of K, M modality, P proposal, W private latent, Z shared latent, K importance sample.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mopoe.data.container import Split, chunks
from mopoe.data.registry import COVARIATES
from mopoe.distributions import LAPLACE
from mopoe.errors import ConfigError
from mopoe.model import Encoded, MoPoE
from mopoe.private_latents import log_density_ratio
from mopoe.random_streams import sample_noise
from mopoe.runtime import full_precision
from mopoe.subsets import subset_label, subset_members

ROWS = 512
"""Latents decoded at a time."""


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """Estimates of the log-likelihoods of N samples."""

    log_p_N: Tensor
    """The estimates in nats, float64."""
    ess_N: Tensor
    """Effective sample size (sum w)^2 / sum w^2 of the importance weights, from 1 to K: float64."""
    rise_N: Tensor
    """The estimate less the mean of those from either half of the K samples, in nats, float64: to first
    order what is still missing. NaN with fewer than two samples from each proposal, as halves then differ."""


@dataclass(frozen=True, slots=True)
class ConditionalLogLikelihood:
    """Estimates of the log-likelihoods of the other modalities, given those of a subset A."""

    rest: LogLikelihood
    """log p(X_rest | X_A) of all others together."""
    modalities: Mapping[str, LogLikelihood]
    """log p(x_m | X_A) of each of the others, by name."""


def joint_log_likelihood(model: MoPoE, split: Split, n: int, importance_samples: int, seed: int) -> Tensor:
    """Return the default estimate of log p(X) in nats of the first n samples: float64 [n]."""
    return log_likelihood(model, split, n, importance_samples, seed).log_p_N


def log_likelihood(
    model: MoPoE, split: Split, n: int, importance_samples: int, seed: int, *, observed: int | None = None
) -> LogLikelihood:
    """Return estimates of log p(X), or of log p(X_A), of the first n samples of a split.

    Args:
        model: the model; neither beta nor any weight of the loss enters its likelihoods.
        split: complete held-out samples.
        n: number of samples.
        importance_samples: K, at least 1; with a multiple of the number of subsets all get equal shares.
        seed: determines the noise.
        observed: the mask of the modalities A; None for all. The proposals depend on no other modality.

    Raises:
        ConfigError: `observed` is not a subset of the modalities.
    """
    log_p, ess, rise = [], [], []
    with torch.inference_mode():
        for log_w_BK, *halves in _log_weights(model, split, n, importance_samples, seed, observed):
            total_B = torch.logsumexp(log_w_BK, 1)
            log_p.append(total_B - math.log(importance_samples))
            ess.append(torch.exp(2 * total_B - torch.logsumexp(2 * log_w_BK, 1)))
            less = [torch.logsumexp(half_BH, 1) - math.log(half_BH.shape[1]) for half_BH in halves]
            rise.append(log_p[-1] - torch.stack(less).mean(0) if less else torch.full_like(total_B, math.nan))
    return LogLikelihood(torch.cat(log_p).cpu(), torch.cat(ess).cpu(), torch.cat(rise).cpu())


def conditional_log_likelihood(
    model: MoPoE, split: Split, n: int, importance_samples: int, seed: int, given: int
) -> ConditionalLogLikelihood:
    """Return estimates of log p(X_rest | X_A) and of each log p(x_m | X_A), where A is the mask `given`.

    Each is log p(X_A, X_target) - log p(X_A): the proposals of the first term depend on A and the target,
    those of the second on A alone; both terms use K latents and the same noise. Both terms are too low in
    expectation, so the error of the difference, of either sign, is at most that of the worse term; its
    `rise_N` is the difference of theirs. (Averaging p(X_target | z) over latents drawn given A estimates the
    same quantity, but if the target has many elements hardly any of these latents has weight.) The effective
    sample size is the smaller of the two terms'.

    Raises:
        ConfigError: `given` is not a subset of the modalities, or is all of them.
    """
    full = model.masks[-1]
    if given == full:
        label = subset_label(given, model.names)
        raise ConfigError(f"given is {label}, which leaves no other modality to score")

    def of(mask: int) -> LogLikelihood:
        return log_likelihood(model, split, n, importance_samples, seed, observed=mask)

    marginal = of(given)
    rest = conditional_on(of(full), marginal)
    others = subset_members(full & ~given)
    single = [rest] if len(others) == 1 else [conditional_on(of(given | 1 << m), marginal) for m in others]
    names = (model.names[m] for m in others)
    return ConditionalLogLikelihood(rest, dict(zip(names, single, strict=True)))


def conditional_on(joint: LogLikelihood, marginal: LogLikelihood) -> LogLikelihood:
    """Return log p(X_A, X_target) - log p(X_A), as `conditional_log_likelihood` says."""
    ess_N = torch.minimum(joint.ess_N, marginal.ess_N)
    return LogLikelihood(joint.log_p_N - marginal.log_p_N, ess_N, joint.rise_N - marginal.rise_N)


def proposing(model: MoPoE, observed: int) -> list[int]:
    """Return the positions in `model.masks` of the subsets whose posteriors are proposals, in equal shares.

    These are all subsets of what is observed; of Laplace posteriors, which have no products, the single
    modalities.

    Raises:
        ConfigError: `observed` is not a subset of the modalities.
    """
    full = model.masks[-1]
    if not 0 < observed <= full:
        raise ConfigError(f"the subset mask is {observed}, but must be from 1 to {full}")
    if model.distribution is LAPLACE:
        return list(subset_members(observed))
    return [s for s, mask in enumerate(model.masks) if not mask & ~observed]


def component_shares(n: int, n_components: int) -> Tensor:
    """Return how many of n samples each component gets: equal shares, the last components one more if needed.

    The last components are the larger subsets.

    >>> component_shares(8, 3)
    tensor([2, 3, 3])
    """
    return (n + torch.arange(n_components)) // n_components


def _log_weights(
    model: MoPoE, split: Split, n: int, importance_samples: int, seed: int, observed: int | None
) -> Iterator[list[Tensor]]:
    """Give log p(X_A, z, w) - log q(z, w), a few samples at a time: float64 [B, K], then [B, H] of each half.

    A half is every other latent, and its q the mixture in its own shares. With fewer than two latents from
    each proposal there are no halves.
    """
    device = model.device
    observed = model.masks[-1] if observed is None else observed
    index_P = torch.tensor(proposing(model, observed), device=device)
    names = [model.names[m] for m in subset_members(observed)]
    counts_P = component_shares(importance_samples, len(index_P))
    component_K = torch.repeat_interleave(torch.arange(len(index_P)), counts_P)
    parts = [slice(None), *(slice(i, None, 2) for i in (0, 1) if importance_samples >= 2 * len(index_P))]
    counts = [component_K[part].bincount(minlength=len(index_P)).double() for part in parts]
    shares, component_K = [counts_P / counts_P.sum() for counts_P in counts], component_K.to(device)
    rows, n = max(1, ROWS // importance_samples), min(n, len(split))
    for start, stop in chunks(n, rows):
        batch = split.batch(slice(start, stop), device)
        x = {name: batch[name] for name in (*names, COVARIATES) if name in batch}
        with full_precision(model.members_SM):
            q = model.encode(x)
        mu_PBZ, precision_PBZ = model.posteriors(q, index_P)
        shape = (importance_samples, model.latent_dim)
        noise_BKZ = sample_noise(seed, "log-likelihood", start, stop, shape, device)
        mu_BKZ = mu_PBZ[component_K].transpose(0, 1)
        z_BKZ = model.distribution.draw_float64(mu_BKZ, precision_PBZ[component_K].transpose(0, 1), noise_BKZ)
        log_p_BK = model.distribution.log_prior(z_BKZ)
        style_MBKW = None
        if model.style_dim:
            private = (importance_samples, len(model.names), model.style_dim)
            noise_BKMW = sample_noise(seed, "log-likelihood style", start, stop, private, device)
            style_MBKW, log_ratio_BK = _style(model, q, noise_BKMW)
            log_p_BK = log_p_BK + log_ratio_BK
        log_p_BK = log_p_BK + _log_prob(model, z_BKZ.to(mu_PBZ.dtype), x, style_MBKW)
        log_w: list[Tensor] = []
        for part, shares_P in zip(parts, shares, strict=True):
            if log_w and torch.equal(shares_P, shares[0]):  # the same mixture
                log_w.append(log_w[0][:, part])
            else:
                components = mu_PBZ, precision_PBZ, shares_P.to(device)
                log_w.append(log_p_BK[:, part] - model.distribution.log_mixture(z_BKZ[:, part], *components))
        yield log_w


def _style(model: MoPoE, q: Encoded, noise_BKMW: Tensor) -> tuple[Tensor, Tensor]:
    """Return private latents [M, B, K, W] of their posteriors, and sum_m log p(w_m) - log q(w_m | x_m)."""
    mu_MBW, precision_MBW = q.style_mu_MBW, q.style_precision_MBW
    style_MBKW = model.distribution.draw_float64(
        mu_MBW[:, :, None], precision_MBW[:, :, None], noise_BKMW.permute(2, 0, 1, 3)
    )
    return style_MBKW.to(mu_MBW.dtype), log_density_ratio(model, style_MBKW, mu_MBW, precision_MBW).sum(0)


def _log_prob(model: MoPoE, z_BKZ: Tensor, x: dict[str, Tensor], style_MBKW: Tensor | None) -> Tensor:
    """Return sum_m log p(x_m | z, w_m) in nats: float64 [B, K], decoding ROWS latents at a time."""
    n_batch, n_samples, _ = z_BKZ.shape
    z_RZ = z_BKZ.flatten(0, 1)
    style_MRW = None if style_MBKW is None else style_MBKW.flatten(1, 2)
    log_p = []
    for start, stop in chunks(len(z_RZ), ROWS):
        style = None if style_MRW is None else style_MRW[:, start:stop]
        first = start // n_samples
        if first == (stop - 1) // n_samples:  # one sample: a view, as no copy for every latent is needed
            x_R = {name: a[first : first + 1].expand(stop - start, *a.shape[1:]) for name, a in x.items()}
        else:
            sample_R = torch.arange(start, stop, device=z_RZ.device) // n_samples
            x_R = {name: a[sample_R] for name, a in x.items()}
        terms = model.log_prob(z_RZ[start:stop], x_R, style)
        log_p.append(torch.stack(list(terms.values())).double().sum(0))
    return torch.cat(log_p).view(n_batch, n_samples)
