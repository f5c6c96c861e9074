"""Diagonal Gaussians: products of experts for all subsets at once, KL divergences, log densities.

Axes: B batch, M modality, S subset, Z latent, K importance sample.
Gaussians are kept as mean and precision (1 / variance), the natural form for products.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from mopoe.family import Family

LOG_2PI = math.log(2 * math.pi)


def full_precision(near: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast on the device of a tensor: half precision is too coarse here."""
    # On tensors without numbers there is no autocast.
    return nullcontext() if near.is_meta else torch.autocast(near.device.type, enabled=False)


def at_least_float32(t: Tensor) -> Tensor:
    """Return the tensor in float32 if it is in half precision, else as it is."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


def membership(masks: tuple[int, ...], n_modalities: int) -> Tensor:
    """Return the 0/1 matrix [S, M] that says which modality is in which subset."""
    return torch.tensor([[float(mask >> m & 1) for m in range(n_modalities)] for mask in masks])


def product_of_experts(
    mu_MBZ: Tensor, precision_MBZ: Tensor, members_SM: Tensor, prior_S: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and precision [S, B, Z] of every subset's product of Gaussian experts.

    The precision of a product is the sum of its experts' precisions, its mean their precision-weighted mean
    (Cao & Fleet 2014; MoPoE eq. 4). One matrix product serves all subsets.

    Args:
        mu_MBZ: means of the unimodal posteriors.
        precision_MBZ: their precisions.
        members_SM: 0/1 matrix of subsets; any other rows make other products, e.g. one row per sample.
        prior_S: 1 where the product includes the prior N(0, I) as one more expert, else 0; [S] or [S, B].
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)
    n_modalities, *rest = mu_MBZ.shape
    flat = (n_modalities, -1)
    with full_precision(mu_MBZ):
        prior_SB1 = prior_S[..., None] if prior_S.dim() == 2 else prior_S[:, None, None]
        precision_SBZ = (members_SM @ precision_MBZ.reshape(flat)).view(-1, *rest) + prior_SB1
        mu_SBZ = (members_SM @ (precision_MBZ * mu_MBZ).reshape(flat)).view(-1, *rest) / precision_SBZ
    return mu_SBZ, precision_SBZ


def chosen_product(
    mu_MBZ: Tensor, precision_MBZ: Tensor, members_BM: Tensor, prior_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and precision [B, Z] of one product per sample, the subset differing by sample.

    Cheaper than picking from [S, B, Z]: nothing is scattered in the backward pass.
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)
    members_MB1 = members_BM.t()[:, :, None]
    precision_BZ = (members_MB1 * precision_MBZ).sum(0) + prior_B[:, None]
    mu_BZ = (members_MB1 * precision_MBZ * mu_MBZ).sum(0) / precision_BZ
    return mu_BZ, precision_BZ


def standard(noise: Tensor) -> Tensor:
    """Return standard normal noise as it is."""
    return noise


def kl_to_prior(mu: Tensor, precision: Tensor) -> Tensor:
    """Return KL(N(mu, 1/precision) || N(0, I)) in nats, summed over the last axis."""
    mu, precision = at_least_float32(mu), at_least_float32(precision)
    return 0.5 * (mu.square() + precision.reciprocal() + precision.log() - 1).sum(-1)


def kl_between(mu_q: Tensor, precision_q: Tensor, mu_p: Tensor, precision_p: Tensor) -> Tensor:
    """Return KL(N(mu_q, 1/precision_q) || N(mu_p, 1/precision_p)) in nats, summed over the last axis."""
    mu_q, precision_q, mu_p, precision_p = map(at_least_float32, (mu_q, precision_q, mu_p, precision_p))
    ratio = precision_p / precision_q
    return 0.5 * ((mu_q - mu_p).square() * precision_p + ratio - ratio.log() - 1).sum(-1)


def log_prior(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) in nats, summed over the last axis."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI)


def log_mixture(z_BKZ: Tensor, mu_SBZ: Tensor, precision_SBZ: Tensor, weights: Tensor) -> Tensor:
    """Return log sum_s w_s N(z; mu_s, 1/precision_s) in nats: float64 [B, K]; weights are [S] or [S, B].

    Centred before it is squared: expanded into matrix products the square would cancel, even in float64, once
    a posterior is very narrow.
    """
    z_BKZ, mu_SBZ, precision_SBZ = z_BKZ.double(), mu_SBZ.double(), precision_SBZ.double()
    # One buffer for all components where no gradient wants what is in it.
    known = not (torch.is_grad_enabled() and (z_BKZ.requires_grad or mu_SBZ.requires_grad))
    buffer = torch.empty_like(z_BKZ) if known else None
    squares = []
    for mu_BZ, precision_BZ in zip(mu_SBZ, precision_SBZ, strict=True):
        apart_BKZ = torch.sub(z_BKZ, mu_BZ[:, None], out=buffer)
        squares.append((torch.square(apart_BKZ, out=buffer) @ precision_BZ[:, :, None]).squeeze(-1))
    square_SBK = torch.stack(squares)
    log_norm_SB1 = (precision_SBZ.log().sum(-1) - z_BKZ.shape[-1] * LOG_2PI)[:, :, None]
    log_density_SBK = 0.5 * (log_norm_SB1 - square_SBK)
    return torch.logsumexp(log_density_SBK + log_weights(weights), dim=0)


def log_weights(weights: Tensor) -> Tensor:
    """Return the logarithms of mixture weights [S] or [S, B], in float64, to be added to [S, B, K]."""
    return weights.double().log().reshape(len(weights), -1, 1)


GAUSSIAN = Family(standard, kl_to_prior, log_prior, log_mixture)
