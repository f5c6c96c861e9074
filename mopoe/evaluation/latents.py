"""Latents to generate from, each a function of its sample's position: of every posterior, of the prior.

Private latents come from their prior, also those of observed modalities (Sutter et al. 2021, released code):
what a subset says of a modality is in the shared latents. Axes: B batch, M modality, R row (a pair of subset
and sample, subsets outermost, or a sample), S subset, W private latent, Z shared latent.
"""

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.model import Encoded, MoPoE
from mopoe.noise import sample_noise


def conditional_latents(
    model: MoPoE, q: Encoded, seed: int, purpose: str, start: int, stop: int, *, same_noise: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return a latent [S, B, Z] from every subset's posterior, and private latents [M, S B, W] if there are.

    Args:
        model: the model.
        q: the unimodal posteriors of the samples from `start` to `stop`.
        seed: fixes the noise, together with the purpose.
        purpose: what the latents are for.
        start: position of the first sample.
        stop: position after the last.
        same_noise: whether all subsets share a sample's noise, so that they differ by what they saw alone.
    """
    device, n_subsets = q.mu_MBZ.device, len(model.masks)
    n_draws = 1 if same_noise else n_subsets

    def noise(what: str, *shape: int) -> Tensor:
        drawn = sample_noise(seed, purpose + what, start, stop, (n_draws, *shape), device)
        return drawn.transpose(0, 1).expand(n_subsets, *(-1,) * (len(shape) + 1))

    # In float64: that of a number above 5.4 is 1 in float32, which picks no modality.
    pick_SB = torch.special.ndtr(noise(" pick").double()) if model.bound.mixture_of_experts else None
    z_SBZ = model.family.draw(*model.conditionals(q, pick_SB), noise("", model.latent_dim))
    return z_SBZ, _style(
        model, noise(" style", len(model.names), model.style_dim) if model.style_dim else None
    )


def prior_latents(
    model: MoPoE, seed: int, purpose: str, start: int, stop: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, Z] from the prior, and private latents [M, B, W] if there are."""
    z_BZ = model.family.standard(sample_noise(seed, purpose, start, stop, (model.latent_dim,), device))
    shape = (1, len(model.names), model.style_dim)
    style = sample_noise(seed, purpose + " style", start, stop, shape, device) if model.style_dim else None
    return z_BZ, _style(model, None if style is None else style.transpose(0, 1))


def source_latents(
    model: MoPoE, split: Split, source_mask: int, seed: int, purpose: str, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, Z], and private ones if there are, of a subset's posterior; for 0 of the prior."""
    device = model.members_SM.device
    if not source_mask:
        return prior_latents(model, seed, purpose, start, stop, device)
    q = model.encode(split.batch(slice(start, stop), device))
    z_SBZ, style_MRW = conditional_latents(model, q, seed, purpose, start, stop, same_noise=True)
    s = model.masks.index(source_mask)
    return z_SBZ[s], None if style_MRW is None else style_MRW.unflatten(1, z_SBZ.shape[:2])[:, s]


def _style(model: MoPoE, noise_SBMW: Tensor | None) -> Tensor | None:
    return None if noise_SBMW is None else model.family.standard(noise_SBMW.flatten(0, 1).transpose(0, 1))
