"""The subset part of a training step: all subsets in one operation against a plain loop over subsets.

Run: python benchmarks/step.py      (about a minute on one core; prints a table and what it was measured on)

Both compute every subset's product of experts and its KL to the prior, forward and backward, on the same
inputs, with one thread, in turn; the ratio is taken round by round.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mopoe.gaussian import kl_to_prior, membership, product_of_experts
from mopoe.subsets import subset_masks, subset_members

SIZES = ((2, 256, 512), (3, 256, 512), (5, 256, 512), (5, 256, 64), (8, 256, 64))
ROUNDS = 15


def in_one_operation(mu_MBZ: Tensor, logvar_MBZ: Tensor, masks: tuple[int, ...]) -> Tensor:
    """Return sum_A mean KL_A by the project's own code."""
    members_SM = membership(masks, len(mu_MBZ))
    prior_S = torch.zeros(len(masks))
    return kl_to_prior(*product_of_experts(mu_MBZ, torch.exp(-logvar_MBZ), members_SM, prior_S)).mean(1).sum()


def in_a_loop(mu_MBZ: Tensor, logvar_MBZ: Tensor, masks: tuple[int, ...]) -> Tensor:
    """Return the same, subset by subset, as one would write it first."""
    total = torch.zeros(())
    for mask in masks:
        chosen = list(subset_members(mask))
        precision_mBZ = torch.exp(-logvar_MBZ[chosen])
        precision_BZ = precision_mBZ.sum(0)
        mu_BZ = (precision_mBZ * mu_MBZ[chosen]).sum(0) / precision_BZ
        kl_B = 0.5 * (mu_BZ.square() + 1 / precision_BZ + precision_BZ.log() - 1).sum(-1)
        total = total + kl_B.mean()
    return total


def seconds(function: Callable[..., Tensor], *inputs: object) -> float:
    """Return the CPU seconds of one forward and backward pass."""
    began = time.process_time()
    function(*inputs).backward()
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, 1 thread, CPU time")
    names = f"{'M':>3}{'subsets':>9}{'B x Z':>11}{'loop ms':>10}{'ours ms':>10}"
    print(names + f"{'loop / ours: median (min to max)':>36}")
    for m, b, z in SIZES:
        masks = subset_masks(m)
        rng = torch.Generator().manual_seed(0)
        mu, logvar = (torch.randn(m, b, z, generator=rng, requires_grad=True) for _ in range(2))
        fast, slow = in_one_operation(mu, logvar, masks), in_a_loop(mu, logvar, masks)
        assert torch.allclose(fast, slow, rtol=1e-4), "the two disagree"
        pairs = [
            (seconds(in_a_loop, mu, logvar, masks), seconds(in_one_operation, mu, logvar, masks))
            for _ in range(ROUNDS)
        ]
        ratios = [a / b for a, b in pairs]
        loop, ours = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{m:>3}{len(masks):>9}{f'{b} x {z}':>11}{loop:>10.1f}{ours:>10.1f}{spread:>36}")


if __name__ == "__main__":
    main()
