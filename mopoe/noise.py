"""Random numbers as pure functions of a seed, a purpose and a position.

A trial's noise and data order depend on nothing that ran before: a resumed trial draws what it would have
drawn, and two purposes never share a stream.
"""

import hashlib

import torch
from torch import Tensor


def generator(seed: int, purpose: str, *position: int, device: torch.device | None = None) -> torch.Generator:
    """Return a generator seeded by the seed, the purpose ("order", "latent", ...) and the position."""
    text = "/".join([str(seed), purpose, *map(str, position)])
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
    return torch.Generator(device or "cpu").manual_seed(key)


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


def stratified_components(weights_S: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Return the mixture component of each of n samples: int64 [n].

    Systematic sampling: n equally spaced points with one random offset, in random order. Component s occurs
    floor(n w_s) or ceil(n w_s) times, and n w_s times in expectation, however small w_s and n are. (The
    released MoPoE code splits the batch by floor(n w_s) and gives the rest to the full set, so that its
    weights move with the batch size.)
    """
    edges_S = weights_S.double().cumsum(0)
    edges_S = edges_S / edges_S[-1]
    device = weights_S.device
    offset = torch.rand(1, generator=rng, dtype=torch.float64, device=device)
    points_B = (torch.arange(n, dtype=torch.float64, device=device) + offset) / n
    # The last point may round to 1, which lies in no component.
    component_B = torch.searchsorted(edges_S, points_B.clamp_(max=1 - 2**-53), right=True)
    return component_B[torch.randperm(n, generator=rng, device=device)]
