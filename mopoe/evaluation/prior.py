"""A Gaussian mixture fitted to the aggregate posterior, to generate from in place of the prior.

What a model makes of N(0, I) suffers from regions that no sample's posterior reaches; latents from a density
fitted afterwards show what the decoders can do (Ghosh et al. 2020; MultiVae's samplers). Axes: C component,
N latent, Z shared latent.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.errors import DataError
from mopoe.evaluation.latents import source_latents
from mopoe.model import MoPoE
from mopoe.noise import generator, sample_noise

ROWS = 64
"""Samples encoded at a time."""


@dataclass(frozen=True, slots=True)
class FittedPrior:
    """A mixture of Gaussians with covariances of their own."""

    weights_C: Tensor
    """Sum to one: [C]."""
    mean_CZ: Tensor
    """[C, Z]."""
    cholesky_CZZ: Tensor
    """Lower triangular roots of the covariances: [C, Z, Z]."""

    def sample(self, n: int, seed: int, *, start: int = 0) -> Tensor:
        """Return the n latents [n, Z] at the positions from `start`, each a function of its position."""
        stop, device = start + n, self.mean_CZ.device
        pick_N = torch.special.ndtr(sample_noise(seed, "fitted prior pick", start, stop, (), device).double())
        noise_NZ = sample_noise(seed, "fitted prior", start, stop, self.mean_CZ.shape[1:], device)
        edges_C = self.weights_C.double().cumsum(0)
        component_N = torch.searchsorted(edges_C[:-1] / edges_C[-1], pick_N, right=True)
        # A component at a time: a root for every latent would be [N, Z, Z].
        z_NZ = self.mean_CZ[component_N]
        for c, root_ZZ in enumerate(self.cholesky_CZZ):
            mine_N = component_N == c
            z_NZ[mine_N] += noise_NZ[mine_N] @ root_ZZ.t()
        return z_NZ


def fit_prior(model: MoPoE, split: Split, n: int, components: int = 10, seed: int = 0) -> FittedPrior:
    """Return a Gaussian mixture fitted to a latent of the full set's posterior of each of n samples.

    Private latents keep their prior.

    Args:
        model: the model, in eval mode.
        split: the training split; samples with a missing modality are left out.
        n: how many samples, drawn without replacement: many times the latent dimensions and components.
        components: number of Gaussians.
        seed: fixes the draw, the latents and the fit.

    Raises:
        DataError: there are fewer samples than components.
    """
    from sklearn.mixture import GaussianMixture

    split = split.complete()
    split = split.take(torch.randperm(len(split), generator=generator(seed, "fit prior order"))[:n])
    if len(split) < max(components, 2):
        raise DataError(f"{len(split)} samples are too few to fit a mixture of {components} Gaussians")
    with torch.inference_mode():
        z = [
            source_latents(model, split, model.masks[-1], seed, "fit prior", i, min(i + ROWS, len(split)))[0]
            for i in range(0, len(split), ROWS)
        ]
    fitted = GaussianMixture(components, random_state=seed).fit(torch.cat(z).cpu().double().numpy())
    found = (fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))
    return FittedPrior(
        *(torch.from_numpy(array).to(model.members_SM.device, torch.float32) for array in found)
    )
