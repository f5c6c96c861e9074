"""Random Gaussian experts, and which of their subsets include the prior."""

import torch
from torch import Tensor


def experts(m: int, b: int = 4, z: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random means and precisions [M, B, Z] in float64, precisions over four orders of magnitude."""
    rng = torch.Generator().manual_seed(seed)
    mu = torch.randn(m, b, z, generator=rng, dtype=torch.float64)
    return mu, torch.exp(3 * torch.randn(m, b, z, generator=rng, dtype=torch.float64))


def prior_of(masks: tuple[int, ...], which: str) -> Tensor:
    """Return 1 for the subsets whose product includes the prior."""
    chosen = {"none": (), "all": masks, "full": masks[-1:]}[which]
    return torch.tensor([1.0 if mask in chosen else 0.0 for mask in masks], dtype=torch.float64)
