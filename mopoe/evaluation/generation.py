"""Generation: latents of a posterior or a prior, a prior fitted to latents, and what classifiers say of them.

Axes: B batch, C component or number of covariates, M modality, N sample, S subset, W private latent, Z shared
latent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mopoe.data.container import Split, chunks
from mopoe.data.registry import COVARIATES
from mopoe.errors import DataError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.likelihoods import Likelihood
from mopoe.model import Encoded, Given, MoPoE
from mopoe.random_streams import generator, sample_noise
from mopoe.runtime import full_precision

ROWS = 64
"""Samples encoded at a time."""


def conditional_latents(
    model: MoPoE, q: Encoded, seed: int, purpose: str, start: int, stop: int, *, same_noise: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return latents [S, B, Z] drawn from every subset's posterior, and private latents [M, S, B, W], if any.

    Args:
        model: the model.
        q: the unimodal posteriors of the samples from `start` to `stop`.
        seed: determines the noise, together with the purpose.
        purpose: the name of the random stream.
        start: position of the first sample.
        stop: position after the last sample.
        same_noise: whether all subsets share a sample's noise and so differ only by what they observe.
    """
    device, n_subsets = q.mu_MBZ.device, len(model.masks)
    n_draws = 1 if same_noise else n_subsets

    def noise(what: str, *shape: int) -> Tensor:
        drawn = sample_noise(seed, purpose + what, start, stop, (n_draws, *shape), device)
        return drawn.transpose(0, 1).expand(n_subsets, *(-1,) * (len(shape) + 1))

    # In float64: in float32 the probability of a number above 5.4 is 1, which picks no modality.
    pick_SB = torch.special.ndtr(noise(" pick").double()) if model.method.mixture_of_experts else None
    z_SBZ = model.distribution.draw(*picked_posteriors(model, q, pick_SB), noise("", model.latent_dim))
    if not model.style_dim:
        return z_SBZ, None
    noise_SBMW = noise(" style", len(model.names), model.style_dim)
    return z_SBZ, model.distribution.standard(noise_SBMW.movedim(2, 0))


def picked_posteriors(model: MoPoE, q: Encoded, pick_SB: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and precision [S, B, Z] of the posterior from which each subset's latent is drawn.

    Under a mixture of experts (method moe) the posterior given several modalities is the mixture of their
    posteriors (Shi et al. 2019), and one is picked for each sample; otherwise it is their product.

    Args:
        model: the model.
        q: the unimodal posteriors of complete samples.
        pick_SB: numbers in [0, 1) that pick the modality under a mixture of experts; otherwise None.
    """
    if pick_SB is None:
        return model.posteriors(q)
    edges_SM = model.expert_shares_SM.double().cumsum(1)
    at_SB = (pick_SB.double() * edges_SM[:, -1:]).contiguous()  # else torch copies it, with a warning
    chosen_SB = torch.searchsorted(edges_SM, at_SB, right=True)
    sample_B = torch.arange(pick_SB.shape[1], device=pick_SB.device)
    return q.mu_MBZ[chosen_SB, sample_B], q.precision_MBZ[chosen_SB, sample_B]


def prior_latents(
    model: MoPoE, seed: int, purpose: str, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, Z] drawn from the prior, and private latents [M, B, W], if any."""
    device = model.device
    z_BZ = model.distribution.standard(sample_noise(seed, purpose, start, stop, (model.latent_dim,), device))
    if not model.style_dim:
        return z_BZ, None
    shape = (len(model.names), model.style_dim)
    noise_BMW = sample_noise(seed, purpose + " style", start, stop, shape, device)
    return z_BZ, model.distribution.standard(noise_BMW.movedim(1, 0))


def generated_logits(
    model: MoPoE, classifiers: Classifiers
) -> Callable[[str, Tensor, Tensor | None, Tensor | None], Tensor]:
    """Return a function of what `MoPoE.mean` takes that returns the classifier's logits of this mean.

    If decoders and classifiers are computed together and the mean is the decoder's output, they are joined,
    and the images between them are not kept.
    """
    joined = {
        name: decoders.then(networks)
        for decoders in model.banks[1]
        for networks in classifiers.banks
        for name in decoders.names
        if networks.names == decoders.names and type(model.likelihood(name)).mean is Likelihood.mean
    }

    def logits_of(name: str, z_RZ: Tensor, style_MRW: Tensor | None, c_RC: Tensor | None) -> Tensor:
        bank = joined.get(name)
        at = bank.find([name]) if bank else None
        if bank is None or at is None or not bank.ready(z_RZ) or classifiers.networks[name].training:
            return classifiers.logits(name, model.mean(name, z_RZ, style_MRW, c_RC))
        return bank(model.latents(name, z_RZ, style_MRW, c_RC).t()[None], at)[0].t()

    return logits_of


def source_latents(
    model: MoPoE, split: Split, source_mask: int, seed: int, purpose: str, start: int, stop: int
) -> Given:
    """Return latents [B, Z] of a subset's posterior, or of the prior for 0, with what is decoded with them.

    These are private latents and the samples' covariates, if there are any.
    """
    if not source_mask:
        c_NC = split.x.get(COVARIATES)
        c_BC = None if c_NC is None else c_NC[start:stop].to(model.device)
        return *prior_latents(model, seed, purpose, start, stop), c_BC
    with full_precision(model.members_SM):
        q = model.encode(split.batch(slice(start, stop), model.device))
    s_B = torch.full((stop - start,), model.masks.index(source_mask), device=model.device)
    return subset_latents(model, q, s_B, seed, purpose, start, stop)


def subset_latents(
    model: MoPoE, q: Encoded, s_B: Tensor, seed: int, purpose: str, start: int, stop: int
) -> Given:
    """Return latents [B, Z] of the posterior of one subset for each sample, as `source_latents` does.

    Args:
        model: the model.
        q: the unimodal posteriors of the samples from `start` to `stop`.
        s_B: positions in `model.masks` of their subsets.
        seed: determines the noise, together with the purpose.
        purpose: the name of the random stream.
        start: position of the first sample.
        stop: position after the last sample.
    """
    z_SBZ, style_MSBW = conditional_latents(model, q, seed, purpose, start, stop, same_noise=True)
    at = s_B, torch.arange(stop - start, device=s_B.device)
    return z_SBZ[at], None if style_MSBW is None else style_MSBW[:, *at], q.covariates_BC


@dataclass(frozen=True, slots=True)
class FittedPrior:
    """A mixture of Gaussians with full covariances."""

    weights_C: Tensor
    """Mixture weights, which sum to one."""
    mean_CZ: Tensor
    """Means."""
    cholesky_CZZ: Tensor
    """Lower Cholesky factors of the covariances."""

    def sample(self, n: int, seed: int, *, start: int = 0) -> Tensor:
        """Return n latents [n, Z] from position `start`, each a function of the seed and its position."""
        stop, device = start + n, self.mean_CZ.device
        pick_N = torch.special.ndtr(sample_noise(seed, "fitted prior pick", start, stop, (), device).double())
        noise_NZ = sample_noise(seed, "fitted prior", start, stop, self.mean_CZ.shape[1:], device)
        edges_C = self.weights_C.double().cumsum(0)
        component_N = torch.searchsorted(edges_C[:-1] / edges_C[-1], pick_N, right=True)
        # One component at a time: a factor for every latent would take [N, Z, Z].
        z_NZ = self.mean_CZ[component_N]
        for c, root_ZZ in enumerate(self.cholesky_CZZ):
            of_c_N = component_N == c
            z_NZ[of_c_N] += noise_NZ[of_c_N] @ root_ZZ.t()
        return z_NZ


def fit_prior(model: MoPoE, split: Split, n: int, components: int = 10, seed: int = 0) -> FittedPrior:
    """Return a Gaussian mixture fitted to latents of the full set's posterior, one for each of n samples.

    Private latents keep their prior.

    Args:
        model: the model, in eval mode.
        split: the training split; samples with a missing modality are skipped.
        n: number of samples, drawn without replacement; it should be many times Z and the components.
        components: number of Gaussians.
        seed: determines the samples, the latents and the fit.

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
            source_latents(model, split, model.masks[-1], seed, "fit prior", start, stop)[0]
            for start, stop in chunks(len(split), ROWS)
        ]
    fitted = GaussianMixture(components, random_state=seed).fit(torch.cat(z).cpu().double().numpy())
    arrays = (fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))
    return FittedPrior(*(torch.from_numpy(array).to(model.device, torch.float32) for array in arrays))
