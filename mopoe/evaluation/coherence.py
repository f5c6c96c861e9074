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
from mopoe.evaluation.diagnostics import Health, HealthMeter, subset_posteriors
from mopoe.evaluation.generation import FittedPrior, conditional_latents, prior_latents
from mopoe.gaussian import full_precision
from mopoe.model import MoPoE
from mopoe.random_streams import generator

RESAMPLES = 100
"""Bootstrap resamples behind the standard error of an average precision."""
Estimate = tuple[float, float]
"""A value and its standard error."""


@dataclass(frozen=True, slots=True)
class ClassVerdicts:
    """Verdicts where every sample has one class."""

    correct_NSM: Tensor
    """Whether the target generated from the source shows the true class: bool [N, S, M]."""
    labels_N: Tensor
    """The true classes."""
    measure: str = "accuracy"
    """A pair's value is the share of samples of the right class."""

    @property
    def chance(self) -> float:
        """Return the share of the most frequent class."""
        return float(torch.bincount(self.labels_N).max()) / len(self.labels_N)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return each pair's share, with its binomial standard error."""
        share_SM = self.correct_NSM.double().mean(0)
        return share_SM, (share_SM * (1 - share_SM) / len(self.correct_NSM)).sqrt()

    def balanced(self) -> tuple[Tensor, Tensor]:
        """Return each pair's mean over the classes that occur of the share within the class."""
        return balanced_share(self.correct_NSM, self.labels_N)

    def mean_over(self, chosen_SM: Tensor) -> Estimate:
        """Return the mean over chosen pairs, with its standard error over samples."""
        return mean_estimate(self.correct_NSM[:, chosen_SM].double().mean(1))


@dataclass(frozen=True, slots=True)
class AttributeVerdicts:
    """Verdicts where every sample has a row of attributes; `judge_attributes` makes them."""

    value_SM: Tensor
    """Mean average precision of every pair."""
    resampled_RSM: Tensor
    """The same on bootstrap resamples of the samples."""
    chance: float
    """Mean share of samples that have an attribute: the average precision of random scores."""
    measure: str = "average_precision"
    """A pair's value is the mean over attributes of their average precision."""

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return each pair's mean average precision, with its bootstrap standard error."""
        return self.value_SM, self.resampled_RSM.std(0)

    def balanced(self) -> None:
        """Return nothing: there are no classes, and attributes count alike already."""

    def mean_over(self, chosen_SM: Tensor) -> Estimate:
        """Return the mean over chosen pairs, with its bootstrap standard error."""
        resampled_R = self.resampled_RSM[:, chosen_SM].mean(1)
        return float(self.value_SM[chosen_SM].mean()), float(resampled_R.std())


Verdicts = ClassVerdicts | AttributeVerdicts


def judge_attributes(scores_NSMA: Tensor, labels_NA: Tensor, seed: int) -> AttributeVerdicts:
    """Return what the classifiers' scores say of attributes; one that no sample has is left out.

    Args:
        scores_NSMA: higher means more likely there; one that is no number counts as the lowest.
        labels_NA: 1 where a sample has the attribute, else 0.
        seed: fixes the resamples, which are the same for all models measured on the same samples.
    """
    n, n_subsets, n_targets, _ = scores_NSMA.shape
    occurs_A = labels_NA.any(0)
    labels_NA = labels_NA[:, occurs_A].bool()
    rows = torch.randint(n, (RESAMPLES, n), generator=generator(seed, "bootstrap"))
    counts = torch.stack([torch.bincount(row, minlength=n) for row in rows])
    weights_RN = torch.cat([torch.ones(1, n), counts]).double()
    found_RSM = torch.full((RESAMPLES + 1, n_subsets, n_targets), math.nan, dtype=torch.float64)
    for s in range(n_subsets):
        for m in range(n_targets):
            scores_NA = scores_NSMA[:, s, m, occurs_A]
            each = [
                average_precision(*pair, weights_RN)
                for pair in zip(scores_NA.t(), labels_NA.t(), strict=True)
            ]
            # An attribute may be missing from a resample.
            found_RSM[:, s, m] = torch.stack(each).nanmean(0) if each else math.nan
    return AttributeVerdicts(found_RSM[0], found_RSM[1:], float(labels_NA.double().mean()))


def average_precision(scores_N: Tensor, positive_N: Tensor, weights_RN: Tensor) -> Tensor:
    """Return the average precision of scores under each row of sample weights: float64 [R].

    The sum over thresholds of precision times the gain in recall, equal scores sharing one threshold, as in
    scikit-learn, which has no way to weigh the samples many times after one sorting. NaN without positives.
    """
    scores_N, order_N = scores_N.nan_to_num(-math.inf).sort(descending=True)
    _, size_T = scores_N.unique_consecutive(return_counts=True)
    last_T = size_T.cumsum(0) - 1
    weights_RN = weights_RN[:, order_N]
    true_RT = (weights_RN * positive_N[order_N]).cumsum(1)[:, last_T]
    all_RT = weights_RN.cumsum(1)[:, last_T]
    gain_RT = true_RT.diff(dim=1, prepend=true_RT.new_zeros(len(true_RT), 1))
    return (true_RT / all_RT.clamp(min=1e-300) * gain_RT).sum(1) / true_RT[:, -1]


def balanced_share(correct: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over the classes that occur of the share of correct samples [N, ...] in the class.

    With its standard error: float64 [...] each. Every class counts alike, however many samples it has.
    """
    shares, variances = [], []
    for label in labels_N.unique():
        mine = correct[labels_N == label].double()
        shares.append(mine.mean(0))
        variances.append(shares[-1] * (1 - shares[-1]) / max(len(mine) - 1, 1))
    return torch.stack(shares).mean(0), torch.stack(variances).sum(0).sqrt() / len(shares)


def mean_estimate(values_N: Tensor) -> Estimate:
    """Return the mean with its standard error."""
    return float(values_N.mean()), standard_error(values_N)


def standard_error(values_N: Tensor) -> float:
    """Return the standard error of the mean; NaN for a single sample."""
    return float(values_N.std()) / math.sqrt(len(values_N)) if len(values_N) > 1 else math.nan


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
