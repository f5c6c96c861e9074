"""The weighted sum of all subsets' KL divergences, without storing a tensor of all subsets.

    kl = sum_A w_A KL( q(z | X_A) || N(0, I) ),   q(z | X_A) = N( h_A / p_A, 1 / p_A ),
    p_A = prior_A + sum_{m in A} p_m,   h_A = sum_{m in A} p_m mu_m.

The derivatives with respect to p_A and h_A are known in closed form, so the forward pass computes them too,
for a few samples at a time, within the caches; what it keeps is as large as the inputs. Axes: A subset,
B batch, M modality, X latents of a chunk of samples, Z latent.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mopoe.experts import multiply_experts
from mopoe.runtime import at_least_float32, full_precision

CHUNK = {"cpu": 2**18, "cuda": 2**26}
"""Numbers in a temporary tensor [A, X] by device type: they fit a core's caches, or keep a GPU busy."""


def weighted_kl(
    mu_MBZ: Tensor, precision_MBZ: Tensor, members_AM: Tensor, prior: Tensor, weights: Tensor
) -> Tensor:
    """Return sum_A w_A KL_A of each sample in nats: [B].

    Args:
        mu_MBZ: means of the unimodal posteriors.
        precision_MBZ: their precisions.
        members_AM: 0/1 matrix of the subsets in the mixture.
        prior: 1 where a product includes the prior N(0, I), else 0: [A], or [A, B] if it differs by sample.
        weights: the mixture weights, [A, 1] or [A, B]; they get no gradient.
    """
    mu_MBZ, precision_MBZ = at_least_float32(mu_MBZ), at_least_float32(precision_MBZ)
    prior_AB = prior if prior.dim() == 2 else prior[:, None]
    kl_B: Tensor
    kl_B, *_ = _WeightedKl.apply(mu_MBZ, precision_MBZ, members_AM, prior_AB, weights)  # type: ignore[no-untyped-call] # torch's stub lacks it
    return kl_B


class _WeightedKl(torch.autograd.Function):
    @staticmethod
    def forward(
        mu_MBZ: Tensor, precision_MBZ: Tensor, members_AM: Tensor, prior_AB: Tensor, weights_AB: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_modalities, n, n_latents = mu_MBZ.shape
        rows = max(1, CHUNK.get(mu_MBZ.device.type, 2**26) // (len(members_AM) * n_latents))
        kl_B = mu_MBZ.new_empty(n)
        by_mu_MBZ, by_precision_MBZ = torch.empty_like(mu_MBZ), torch.empty_like(precision_MBZ)
        members_MA = members_AM.t().contiguous()
        with full_precision(mu_MBZ):
            for start in range(0, n, rows):
                b = slice(start, min(start + rows, n))
                mu_MX, precision_MX = (t[:, b].reshape(n_modalities, -1) for t in (mu_MBZ, precision_MBZ))
                prior_A1, weight_A1 = (_columns(t, b, n_latents) for t in (prior_AB, weights_AB))
                h_AX, p_AX = multiply_experts(mu_MX, precision_MX, prior_A1, members_AM.matmul)
                log_p_AX = p_AX.log()
                variance_AX = p_AX.reciprocal_()
                mu_AX = h_AX.mul_(variance_AX)
                square_AX = mu_AX.square()
                kl_AX = log_p_AX.add_(square_AX).add_(variance_AX).sub_(1).mul_(weight_A1)
                kl_bZ = kl_AX.sum(0).view(-1, n_latents)
                kl_B[b] = 0.5 * kl_bZ.sum(1)
                weighted_AX = variance_AX * weight_A1
                by_h_MX = members_MA @ mu_AX.mul_(weighted_AX)
                # d KL / d p = variance (1 - variance) / 2 - variance mu^2, with h held fixed
                by_p_AX = variance_AX.neg_().add_(1).mul_(0.5).sub_(square_AX).mul_(weighted_AX)
                by_mu_MBZ[:, b] = (by_h_MX * precision_MX).view(n_modalities, -1, n_latents)
                by_precision_MBZ[:, b] = (by_h_MX.mul_(mu_MX) + members_MA @ by_p_AX).view(
                    n_modalities, -1, n_latents
                )
        return kl_B, by_mu_MBZ, by_precision_MBZ

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ARG004 - torch's interface
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad_B is None:
            return (None,) * 5
        by_mu_MBZ, by_precision_MBZ = ctx.saved_tensors
        grad_B1 = grad_B[:, None]
        return by_mu_MBZ * grad_B1, by_precision_MBZ * grad_B1, None, None, None


def _columns(t_AB: Tensor, b: slice, n_latents: int) -> Tensor:
    """Return the column of all samples, or each sample's own, repeated once per latent."""
    return t_AB if t_AB.shape[1] == 1 else t_AB[:, b].repeat_interleave(n_latents, 1)
