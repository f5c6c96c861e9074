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
from mopoe.gaussian import log_mixture, log_prior
from mopoe.model import MoPoE
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
    shares_S = component_shares(importance_samples, len(model.masks))
    component_K = torch.repeat_interleave(torch.arange(len(shares_S)), shares_S).to(device)
    weights_S = (shares_S.double() / importance_samples).to(device)
    rows = max(1, ROWS // importance_samples)
    estimates = []
    with torch.inference_mode():
        n = min(n, len(split))
        for start in range(0, n, rows):
            stop = min(start + rows, n)
            x = split.batch(slice(start, stop), device)
            mu_SBZ, precision_SBZ = model.posteriors(*model.encode(x))
            shape = (importance_samples, model.latent_dim)
            noise_BKZ = sample_noise(seed, "log-likelihood", start, stop, shape, device)
            mu_BKZ, precision_BKZ = (
                mu_SBZ[component_K].transpose(0, 1),
                precision_SBZ[component_K].transpose(0, 1),
            )
            z_BKZ = mu_BKZ + noise_BKZ * precision_BKZ.rsqrt()
            log_q_BK = log_mixture(z_BKZ, mu_SBZ, precision_SBZ, weights_S)
            log_p_BK = log_prior(z_BKZ.double()) + _log_prob(model, z_BKZ, x)
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


def _log_prob(model: MoPoE, z_BKZ: Tensor, x: dict[str, Tensor]) -> Tensor:
    """Return sum_m log p(x_m | z): float64 [B, K], decoding ROWS latents at a time."""
    n_batch, n_samples, _ = z_BKZ.shape
    flat_z = z_BKZ.flatten(0, 1)
    parts = []
    for start in range(0, len(flat_z), ROWS):
        stop = min(start + ROWS, len(flat_z))
        sample_of_row = torch.arange(start, stop, device=flat_z.device) // n_samples
        terms = model.log_prob(flat_z[start:stop], {name: a[sample_of_row] for name, a in x.items()})
        parts.append(torch.stack(list(terms.values())).double().sum(0))
    return torch.cat(parts).view(n_batch, n_samples)
