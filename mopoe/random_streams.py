"""Random numbers as pure functions of a seed, a purpose and a position.

A trial's noise and data order depend on nothing that ran before: a resumed trial draws what it would have
drawn, and two purposes never share a stream.
"""

import hashlib

import torch
from torch import Tensor

from mopoe.config import Mixture


def generator(seed: int, purpose: str, *position: int, device: torch.device | None = None) -> torch.Generator:
    """Return a generator seeded by the seed, the purpose ("order", "latent", ...) and the position."""
    text = "/".join([str(seed), purpose, *map(str, position)])
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
    # Of a device without numbers only shapes are asked for.
    known = device is not None and device.type != "meta"
    return torch.Generator(device if known else "cpu").manual_seed(key)


def sample_noise(
    seed: int, purpose: str, start: int, stop: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Return standard normal noise [stop - start, *shape], each row a function of its own position."""
    return torch.stack(
        [
            torch.randn(shape, generator=generator(seed, purpose, i, device=device), device=device)
            for i in range(start, stop)
        ]
    )


def draw_components(kind: Mixture, weights: Tensor, n: int, rng: torch.Generator) -> Tensor | None:
    """Return the mixture component of each of n samples, int64 [n], or None where each sample takes all.

    The weights are the same for all samples, [S], or (but for batch_split) each sample's own, [S, n].
    """
    match kind:
        case "stratified":
            return stratified_components(weights, n, rng)
        case "categorical":
            points_B = torch.rand(n, generator=rng, dtype=torch.float64, device=weights.device)
            return _components_at(points_B, weights)
        case "batch_split":
            return block_components(weights, n)
        case "all":
            return None


def block_components(weights_S: Tensor, n: int) -> Tensor:
    """Return the component of each of n samples as the released MoPoE code has it: int64 [n].

    Blocks of floor(n w_s) neighbours in the order of the subsets; the rest goes to the last component whose
    weight is not zero. The weights are rounded to float32 as released: 248 / 31 is then a little below 8 and
    its floor 7.
    """
    device = weights_S.device
    ends_S = (n * weights_S.float().double()).floor().long().cumsum(0)
    block_B = torch.searchsorted(ends_S, torch.arange(n, device=device), right=True)
    last = (torch.arange(len(weights_S), device=device) * (weights_S > 0)).max()
    return torch.minimum(block_B, last)


def stratified_components(weights: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Return the mixture component of each of n samples, whose weights are [S] or [S, n]: int64 [n].

    Systematic sampling: n equally spaced points with one random offset, in random order. Component s occurs
    floor(n w_s) or ceil(n w_s) times, and n w_s times in expectation, however small w_s and n are. (The
    released MoPoE code splits the batch by floor(n w_s) and gives the rest to the full set, so that its
    weights move with the batch size.)
    """
    device = weights.device
    offset = torch.rand(1, generator=rng, dtype=torch.float64, device=device)
    points_B = (torch.arange(n, dtype=torch.float64, device=device) + offset) / n
    # The last point may round to 1, which lies in no component.
    order_B = torch.randperm(n, generator=rng, device=device)
    return _components_at(points_B.clamp_(max=1 - 2**-53)[order_B], weights)


def _components_at(points_B: Tensor, weights: Tensor) -> Tensor:
    """Return the component in whose part of the unit interval each point of [0, 1) lies."""
    edges = weights.double().cumsum(0)
    edges = edges / edges[-1]
    if edges.dim() == 1:
        return torch.searchsorted(edges, points_B, right=True)
    return torch.searchsorted(edges.t().contiguous(), points_B[:, None], right=True).squeeze(1)
