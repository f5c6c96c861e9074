"""Coherence: does a generated modality show what the observed ones show?

One encoding pass serves all subsets; each sample's latents are drawn for all subsets and decoded together.
Axes: B batch, M modality (target), S subset (source), Z latent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.latents import conditional_latents, prior_latents
from mopoe.model import Encoded, MoPoE

ROWS = 512
"""Latents decoded at a time: enough to keep a core busy, small enough for its caches."""


@dataclass(frozen=True, slots=True)
class Conditional:
    """What the decoders made of every subset's posterior."""

    correct_NSM: Tensor
    """Whether the target generated from the source shows the true class: bool [N, S, M]."""
    kl_NS: Tensor
    """KL of every subset's posterior to the prior, in nats: [N, S]."""

    def coherence_SM(self) -> Tensor:
        """Return the share of coherent samples for every (source, target) pair: float64 [S, M]."""
        return self.correct_NSM.double().mean(0)


def conditional_coherence(
    model: MoPoE, split: Split, classifiers: Classifiers, n: int, seed: int, device: torch.device
) -> Conditional:
    """Return the coherence of the first n samples of a split, for every (source subset, target) pair.

    One latent is drawn from each subset's posterior (a sample, not its mean), every modality is decoded, and
    the mean of its likelihood classified (Sutter et al. 2021, section 5).
    """
    correct: list[Tensor] = []
    kl: list[Tensor] = []
    n_subsets = len(model.masks)
    with torch.inference_mode():
        for start, stop in _chunks(min(n, len(split)), max(1, ROWS // n_subsets)):
            x = split.batch(slice(start, stop), device)
            q = model.encode(x)
            z_SBZ, style_MRW = conditional_latents(model, q, seed, "conditional coherence", start, stop)
            labels_B = split.labels[start:stop].to(device)
            means = model.means(z_SBZ.flatten(0, 1), style_MRW)
            predicted = [classifiers.predict(name, means[name]).view(n_subsets, -1) for name in model.names]
            correct.append((torch.stack(predicted, -1) == labels_B[:, None]).transpose(0, 1))
            kl.append(subset_kl(model, q).t())
    return Conditional(torch.cat(correct).cpu(), torch.cat(kl).cpu())


def joint_coherence(model: MoPoE, classifiers: Classifiers, n: int, seed: int, device: torch.device) -> float:
    """Return the share of n draws from the prior that all modalities' classifiers give the same label."""
    agreed = 0
    with torch.inference_mode():
        for start, stop in _chunks(n, ROWS):
            means = model.means(*prior_latents(model, seed, "joint coherence", start, stop, device))
            labels_MB = torch.stack([classifiers.predict(name, means[name]) for name in model.names])
            agreed += int((labels_MB == labels_MB[0]).all(0).sum())
    return agreed / n


def subset_kl(model: MoPoE, q: Encoded) -> Tensor:
    """Return the KL of every subset's posterior to the prior, in nats: [S, B].

    For a mixture of experts it is the mean over the modalities, which bounds the mixture's from above.
    """
    if model.bound.mixture_of_experts:
        kl_MB = model.family.kl_to_prior(q.mu_MBZ, q.precision_MBZ)
        return model.members_SM @ kl_MB / model.members_SM.sum(1, keepdim=True)
    return model.family.kl_to_prior(*model.posteriors(q))


def _chunks(n: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, n)) for start in range(0, n, size))
