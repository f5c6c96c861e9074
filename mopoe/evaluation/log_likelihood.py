"""The joint log-likelihood log p(X), estimated by importance sampling with a stratified mixture proposal.

Each of the S subset posteriors gives a fixed share of the K samples, and the weights divide by the density
of the whole mixture in those shares (deterministic-mixture or "balance" weighting, Veach & Guibas 1995; Shi
et al. 2019 use it over single modalities). The estimate of p(X) is unbiased for every K, so its logarithm
lies below log p(X) in expectation and rises towards it with K. The proposal does not use the model's
mixture weights: a trial is not judged by how well its own weights happen to propose.
Axes: B batch, S subset, Z latent, K importance sample.
"""

import math

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.laplace import LAPLACE
from mopoe.model import Encoded, MoPoE
from mopoe.noise import sample_noise

ROWS = 512
"""Latents decoded at a time."""


def joint_log_likelihood(
    model: MoPoE, split: Split, n: int, importance_samples: int, seed: int, device: torch.device
) -> Tensor:
    """Return the estimate of log p(X) in nats for each of the first n samples of a split: float64 [n].

    Args:
        model: the model; its likelihoods count as they are, without beta or any weight.
        split: held-out samples.
        n: how many of them.
        importance_samples: K, at least 1; a multiple of the number of subsets uses all equally.
        seed: fixes the noise.
        device: where to compute.
    """
    n_proposals = len(model.names) if model.family is LAPLACE else len(model.masks)
    shares_P = component_shares(importance_samples, n_proposals)
    component_K = torch.repeat_interleave(torch.arange(n_proposals), shares_P).to(device)
    weights_P = (shares_P.double() / importance_samples).to(device)
    rows = max(1, ROWS // importance_samples)
    estimates = []
    with torch.inference_mode():
        n = min(n, len(split))
        for start in range(0, n, rows):
            stop = min(start + rows, n)
            x = split.batch(slice(start, stop), device)
            q = model.encode(x)
            mu_PBZ, precision_PBZ = model.proposals(q)
            shape = (importance_samples, model.latent_dim)
            noise_BKZ = sample_noise(seed, "log-likelihood", start, stop, shape, device)
            mu_BKZ = mu_PBZ[component_K].transpose(0, 1)
            z_BKZ = model.family.draw(mu_BKZ, precision_PBZ[component_K].transpose(0, 1), noise_BKZ)
            log_q_BK = model.family.log_mixture(z_BKZ, mu_PBZ, precision_PBZ, weights_P)
            log_p_BK = model.family.log_prior(z_BKZ.double())
            style_MBKW = None
            if model.style_dim:
                private = (importance_samples, len(model.names), model.style_dim)
                noise_BKMW = sample_noise(seed, "log-likelihood style", start, stop, private, device)
                style_MBKW, log_ratio_BK = _private(model, q, noise_BKMW)
                log_p_BK = log_p_BK + log_ratio_BK
            log_p_BK = log_p_BK + _log_prob(model, z_BKZ, x, style_MBKW)
            estimates.append(torch.logsumexp(log_p_BK - log_q_BK, 1) - math.log(importance_samples))
    return torch.cat(estimates).cpu()


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


def _private(model: MoPoE, q: Encoded, noise_BKMW: Tensor) -> tuple[Tensor, Tensor]:
    """Return private latents [M, B, K, W] of each modality's posterior, and sum_m log p(w_m) - log q(w_m)."""
    noise_MBKW = noise_BKMW.permute(2, 0, 1, 3)
    mu_MBW, precision_MBW = q.style_mu_MBW, q.style_precision_MBW
    style_MBKW = model.family.draw(mu_MBW[:, :, None], precision_MBW[:, :, None], noise_MBKW)
    one = mu_MBW.new_ones(1)
    log_ratio = [
        model.family.log_prior(w_BKW.double()) - model.family.log_mixture(w_BKW, mu_BW[None], p_BW[None], one)
        for w_BKW, mu_BW, p_BW in zip(style_MBKW, mu_MBW, precision_MBW, strict=True)
    ]
    return style_MBKW, torch.stack(log_ratio).sum(0)


def _log_prob(model: MoPoE, z_BKZ: Tensor, x: dict[str, Tensor], style_MBKW: Tensor | None) -> Tensor:
    """Return sum_m log p(x_m | z, w_m): float64 [B, K], decoding ROWS latents at a time."""
    n_batch, n_samples, _ = z_BKZ.shape
    flat_z = z_BKZ.flatten(0, 1)
    style_MRW = None if style_MBKW is None else style_MBKW.flatten(1, 2)
    parts = []
    for start in range(0, len(flat_z), ROWS):
        stop = min(start + ROWS, len(flat_z))
        sample_of_row = torch.arange(start, stop, device=flat_z.device) // n_samples
        style = None if style_MRW is None else style_MRW[:, start:stop]
        terms = model.log_prob(flat_z[start:stop], {name: a[sample_of_row] for name, a in x.items()}, style)
        parts.append(torch.stack(list(terms.values())).double().sum(0))
    return torch.cat(parts).view(n_batch, n_samples)
