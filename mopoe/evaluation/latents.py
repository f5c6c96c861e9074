"""Latents to generate from, each a function of its sample's position: of every posterior, of the prior.

Private latents come from their prior, also those of observed modalities (Sutter et al. 2021, released code):
what a subset says of a modality is in the shared latents. Axes: B batch, M modality, R row (a pair of subset
and sample, subsets outermost, or a sample), S subset, W private latent, Z shared latent.
"""

import torch
from torch import Tensor

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

    pick_SB = torch.special.ndtr(noise(" pick")) if model.bound.mixture_of_experts else None
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


def _style(model: MoPoE, noise_SBMW: Tensor | None) -> Tensor | None:
    return None if noise_SBMW is None else model.family.standard(noise_SBMW.flatten(0, 1).transpose(0, 1))
