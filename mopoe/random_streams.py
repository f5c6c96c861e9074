"""Random streams: random numbers as pure functions of a seed, a purpose and a position.

A trial's noise and data order do not depend on what ran before: a resumed trial draws the same numbers as if
it had not been interrupted, and two purposes never share a stream.
"""

import hashlib

import torch
from torch import Tensor

from mopoe.config import Mixture


def generator(seed: int, purpose: str, *position: int, device: torch.device | None = None) -> torch.Generator:
    """Return a generator seeded with the seed, the purpose ("order", "latent", ...) and the position."""
    text = "/".join([str(seed), purpose, *map(str, position)])
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
    # There is no generator on the meta device, where only shapes matter.
    has_values = device is not None and device.type != "meta"
    return torch.Generator(device if has_values else "cpu").manual_seed(key)


def sample_noise(
    seed: int, purpose: str, start: int, stop: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Return standard normal noise [stop - start, *shape], each row a function of its position alone."""
    return torch.stack(
        [
            torch.randn(shape, generator=generator(seed, purpose, i, device=device), device=device)
            for i in range(start, stop)
        ]
    )


def draw_components(kind: Mixture, weights: Tensor, n: int, rng: torch.Generator) -> Tensor | None:
    """Return the mixture component of each of n samples, int64 [n], or None if each sample uses all.

    Args:
        kind: how components are drawn.
        weights: mixture weights [S], or [S, n] if they differ by sample (not with batch_split).
        n: number of samples.
        rng: the source of randomness.
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
    """Return the component of each of n samples as in the released MoPoE code: int64 [n].

    Component s gets a block of floor(n w_s) consecutive samples, in the order of the subsets, and the rest
    goes to the last component of non-zero weight. As released, weights are rounded to float32, in which 248 /
    31 is a little below 8, so that its floor is 7.
    """
    device = weights_S.device
    ends_S = (n * weights_S.float().double()).floor().long().cumsum(0)
    block_B = torch.searchsorted(ends_S, torch.arange(n, device=device), right=True)
    last = (torch.arange(len(weights_S), device=device) * (weights_S > 0)).max()
    return torch.minimum(block_B, last)


def stratified_components(weights: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Return the mixture component of each of n samples for weights [S] or [S, n]: int64 [n].

    This is systematic sampling: n equally spaced points with one random offset, in random order. Component s
    occurs floor(n w_s) or ceil(n w_s) times, and n w_s times in expectation, however small w_s and n are. (In
    the released MoPoE code, which gives the rest of floor(n w_s) to the full set, the effective weights
    depend on the batch size.)
    """
    device = weights.device
    offset = torch.rand(1, generator=rng, dtype=torch.float64, device=device)
    points_B = (torch.arange(n, dtype=torch.float64, device=device) + offset) / n
    # The last point may be rounded to 1, which belongs to no component.
    order_B = torch.randperm(n, generator=rng, device=device)
    return _components_at(points_B.clamp_(max=1 - 2**-53)[order_B], weights)


def _components_at(points_B: Tensor, weights: Tensor) -> Tensor:
    """Return for each point in [0, 1) the component to whose part of the unit interval it belongs."""
    edges = weights.double().cumsum(0)
    edges = edges / edges[-1]
    if edges.dim() == 1:
        return torch.searchsorted(edges, points_B, right=True)
    return torch.searchsorted(edges.t().contiguous(), points_B[:, None], right=True).squeeze(1)
