"""Coherence: does a generated modality show what the observed ones show?

One encoding pass serves all subsets; each sample's latents are drawn for all subsets and decoded together.
Axes: B batch, C class or attribute, M modality (target), N sample, R row, S subset (source), Z latent.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.health import Health, HealthMeter, subset_posteriors
from mopoe.evaluation.latents import conditional_latents, prior_latents
from mopoe.evaluation.prior import FittedPrior
from mopoe.evaluation.verdicts import (
    ClassVerdicts,
    Estimate,
    Verdicts,
    balanced_share,
    judge_attributes,
    mean_estimate,
)
from mopoe.gaussian import full_precision
from mopoe.model import MoPoE

ROWS = 512
"""Latents decoded at a time: enough to keep a core busy, small enough for its caches."""


@dataclass(frozen=True, slots=True)
class Conditional:
    """What the decoders made of subsets' posteriors."""

    masks: tuple[int, ...]
    """The S observed subsets."""
    verdicts: Verdicts
    """What the classifiers say of every (source, target) pair that was measured."""
    measured_SM: Tensor
    """Which pairs were: bool [S, M]."""
    kl_NS: Tensor
    """KL of every subset's posterior to the prior, in nats: [N, S]."""
    health: Health
    """Of the same posteriors."""


@dataclass(frozen=True, slots=True)
class Joint:
    """What the classifiers say of draws from the prior."""

    agreed_N: Tensor
    """Whether all modalities got one class; of attributes, the share that all modalities agree on."""
    predicted_MN: Tensor | None
    """The classes; None for attributes."""

    def plain(self) -> Estimate:
        """Return the share of agreement, with its standard error over draws."""
        if self.predicted_MN is None:
            return mean_estimate(self.agreed_N)
        share = float(self.agreed_N.double().mean())
        return share, math.sqrt(share * (1 - share) / len(self.agreed_N))

    def balanced(self) -> Estimate | None:
        """Return the mean over classes of the share of agreement among the draws that show the class.

        A draw shows the class that one modality's classifier sees; the mean is over modalities too. The
        standard error is that of one modality, as they share the draws.
        """
        if self.predicted_MN is None:
            return None
        each = [balanced_share(self.agreed_N, predicted_N) for predicted_N in self.predicted_MN]
        share, error = torch.tensor(each, dtype=torch.float64).mean(0).tolist()
        return share, error


def conditional_coherence(
    model: MoPoE,
    split: Split,
    classifiers: Classifiers,
    n: int,
    seed: int,
    device: torch.device,
    sizes: Sequence[int] = (),
    *,
    own_targets: bool = True,
) -> Conditional:
    """Return what the first n samples of a split say of every (source subset, target) pair.

    One latent is drawn from each subset's posterior (a sample, not its mean), every modality is decoded, and
    the mean of its likelihood classified (Sutter et al. 2021, section 5).

    Args:
        model: the model.
        split: held-out samples; labels [N], or a row of attributes each.
        classifiers: of the same data set.
        n: how many samples.
        seed: fixes the noise; that of a subset does not depend on which others are measured.
        device: where to compute.
        sizes: sizes of the source subsets; none for all.
        own_targets: whether targets that are in the source are decoded too: half of all pairs.
    """
    chosen = [s for s, mask in enumerate(model.masks) if not sizes or mask.bit_count() in sizes]
    masks = tuple(model.masks[s] for s in chosen)
    outside_SM = targets_outside(masks, len(model.names))
    measured_SM = torch.ones_like(outside_SM) if own_targets else outside_SM
    found: list[Tensor] = []
    kl: list[Tensor] = []
    meter = HealthMeter()
    n = min(n, len(split))
    labels = split.labels[:n]
    with torch.inference_mode():
        for start, stop in _chunks(n, max(1, ROWS // len(chosen))):
            x = split.batch(slice(start, stop), device)
            with full_precision(model.members_SM):
                q = model.encode(x)
                mu_SBZ, kl_SBZ = (part[chosen] for part in subset_posteriors(model, q))
            meter.add(mu_SBZ, kl_SBZ)
            kl.append(kl_SBZ.sum(2).t().cpu())
            z_SBZ, style_MRW = conditional_latents(model, q, seed, "conditional coherence", start, stop)
            z_SBZ = z_SBZ[chosen]
            style_MSBW = None if style_MRW is None else style_MRW.unflatten(1, (-1, stop - start))[:, chosen]
            shape = (*measured_SM.shape, stop - start, *labels.shape[1:])
            found_SMB = torch.zeros(shape, dtype=torch.bool if labels.dim() == 1 else torch.float32)
            for m, name in enumerate(model.names):
                if not (rows_S := measured_SM[:, m]).any():
                    continue
                style_MRW = None if style_MSBW is None else style_MSBW[:, rows_S].flatten(1, 2)
                mean_R = model.mean(name, z_SBZ[rows_S].flatten(0, 1), style_MRW)
                said = classifiers.logits(name, mean_R).unflatten(0, (-1, stop - start))
                if labels.dim() == 1:
                    said = _classes(said) == labels[start:stop].to(device)
                found_SMB[rows_S, m] = said.cpu()
            found.append(found_SMB.movedim(2, 0))
    all_found = torch.cat(found)
    return Conditional(
        masks=masks,
        verdicts=ClassVerdicts(all_found, labels)
        if labels.dim() == 1
        else judge_attributes(all_found, labels, seed),
        measured_SM=measured_SM,
        kl_NS=torch.cat(kl),
        health=meter.result(),
    )


def joint_coherence(
    model: MoPoE,
    classifiers: Classifiers,
    n: int,
    seed: int,
    device: torch.device,
    *,
    attributes: bool = False,
    prior: FittedPrior | None = None,
) -> Joint:
    """Return on which of n draws from the prior all modalities' classifiers agree.

    Args:
        model: the model.
        classifiers: of the same data set.
        n: how many draws.
        seed: fixes them.
        device: where to compute.
        attributes: whether a sample has a row of attributes, each there above a probability of 1/2, instead
            of a class.
        prior: what the shared latents are drawn from in place of the model's prior.
    """
    parts: list[Tensor] = []
    with torch.inference_mode():
        for start, stop in _chunks(n, ROWS):
            z_NZ, style_MNW = prior_latents(model, seed, "joint coherence", start, stop, device)
            if prior is not None:
                z_NZ = prior.sample(stop - start, seed, start=start).to(device)
            means = model.means(z_NZ, style_MNW)
            logits_MBC = torch.stack([classifiers.logits(name, means[name]) for name in model.names])
            parts.append((logits_MBC > 0 if attributes else _classes(logits_MBC)).cpu())
    predicted = torch.cat(parts, 1)
    agreed = (predicted == predicted[0]).all(0)
    return (
        Joint(agreed.double().mean(1), None) if attributes else Joint(agreed & (predicted[0] >= 0), predicted)
    )


def targets_outside(masks: tuple[int, ...], n_modalities: int) -> Tensor:
    """Return which targets are not in which subset: bool [S, M].

    >>> targets_outside((1, 2, 3), 2).tolist()
    [[False, True], [True, False], [False, False]]
    """
    return torch.tensor([[not mask >> m & 1 for m in range(n_modalities)] for mask in masks])


def _classes(logits: Tensor) -> Tensor:
    """Return the class of the largest logit; -1, which is none, where one of them is not a number."""
    return logits.argmax(-1).where(logits.isfinite().all(-1), -1)


def _chunks(n: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, n)) for start in range(0, n, size))
