"""Coherence: does a generated modality show the same class as the observed ones?

One encoding pass serves all subsets; each sample's latents are drawn for all subsets and decoded together.
Axes: A attribute, B batch, C class, M modality (target), N sample, R resample or row, S subset (source),
T threshold, Z latent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from mopoe.data.container import Split, chunks
from mopoe.distributions import membership
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.diagnostics import (
    PosteriorDiagnostics,
    posterior_diagnostics,
    posterior_sums,
    subset_posteriors,
)
from mopoe.evaluation.generation import (
    FittedPrior,
    conditional_latents,
    generated_logits,
    prior_latents,
)
from mopoe.model import MoPoE
from mopoe.random_streams import generator
from mopoe.runtime import full_precision

RESAMPLES = 100
"""Number of bootstrap resamples for the standard error of an average precision."""
ROWS = 1024
"""Latents drawn at a time: enough to keep a core busy, small enough for its caches."""
LANES = 32
"""Samples are taken in multiples of this number, if not fewer at a time: they then fill every vector."""
Estimate = tuple[float, float]
"""A value and its standard error."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Coherence of every (source, target) pair, where every sample has one class."""

    correct_NSM: Tensor
    """Whether the target generated from the source is classified as the true class."""
    labels_N: Tensor
    """The true classes."""
    measure: str = "accuracy"
    """A pair's value is the share of samples that are classified correctly."""

    @property
    def chance(self) -> float:
        """The share of the most frequent class: what guessing it always would reach."""
        return float(torch.bincount(self.labels_N).max()) / len(self.labels_N)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return each pair's share of correct samples and its binomial standard error: [S, M] each."""
        share_SM = self.correct_NSM.double().mean(0)
        return share_SM, (share_SM * (1 - share_SM) / len(self.correct_NSM)).sqrt()

    def balanced(self) -> tuple[Tensor, Tensor]:
        """Return each pair's balanced share (`balanced_share`) and its standard error: [S, M] each."""
        return balanced_share(self.correct_NSM, self.labels_N)

    def mean_over(self, chosen_SM: Tensor) -> Estimate:
        """Return the mean over the chosen pairs and its standard error over samples."""
        return mean_estimate(self.by_sample(chosen_SM))

    def by_sample(self, chosen_SM: Tensor) -> Tensor:
        """Return each sample's share of the chosen pairs that are correct: float64 [N]."""
        return self.correct_NSM[:, chosen_SM].double().mean(1)


@dataclass(frozen=True, slots=True)
class AttributeScores:
    """Coherence of every (source, target) pair, where every sample has a row of attributes."""

    value_SM: Tensor
    """Mean average precision of every pair."""
    resampled_RSM: Tensor
    """The same on bootstrap resamples of the samples."""
    chance: float
    """Mean share of samples that have an attribute: the expected average precision of random scores."""
    measure: str = "average_precision"
    """A pair's value is the average precision, averaged over attributes."""

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return each pair's mean average precision and its bootstrap standard error: [S, M] each."""
        return self.value_SM, self.resampled_RSM.std(0)

    def balanced(self) -> None:
        """Return None: there are no classes, and attributes already have equal weight."""

    def by_sample(self, chosen_SM: Tensor) -> None:
        """Return None: an average precision is no mean over samples."""

    def mean_over(self, chosen_SM: Tensor) -> Estimate:
        """Return the mean over the chosen pairs and its bootstrap standard error."""
        resampled_R = self.resampled_RSM[:, chosen_SM].mean(1)
        return float(self.value_SM[chosen_SM].mean()), float(resampled_R.std())


CoherenceScores = ClassScores | AttributeScores


def attribute_scores(logits_NSMA: Tensor, labels_NA: Tensor, seed: int) -> AttributeScores:
    """Return the coherence of every pair from classifier logits; attributes that no sample has are skipped.

    Args:
        logits_NSMA: higher means that the attribute is more likely; NaN counts as the lowest.
        labels_NA: 1 where a sample has the attribute, else 0.
        seed: determines the resamples, which are the same for all models measured on the same samples.
    """
    occurs_A = labels_NA.any(0)
    labels_NA, logits_NSMA = labels_NA[:, occurs_A].bool(), logits_NSMA[..., occurs_A]
    n, n_subsets, n_targets, n_attributes = logits_NSMA.shape
    rows = torch.randint(n, (RESAMPLES, n), generator=generator(seed, "bootstrap"))
    counts = torch.stack([torch.bincount(row, minlength=n) for row in rows])
    weights_RN = torch.cat([torch.ones(1, n), counts]).double()
    value_RSM = torch.empty(RESAMPLES + 1, n_subsets, n_targets, dtype=torch.float64)
    value_AR = torch.empty(n_attributes, RESAMPLES + 1, dtype=torch.float64)
    for s, m in product(range(n_subsets), range(n_targets)):
        for a in range(n_attributes):
            value_AR[a] = average_precision(logits_NSMA[:, s, m, a], labels_NA[:, a], weights_RN)
        # An attribute may not occur in a resample: its average precision is then NaN.
        value_RSM[:, s, m] = value_AR.nanmean(0)
    return AttributeScores(value_RSM[0], value_RSM[1:], float(labels_NA.double().mean()))


def average_precision(scores_N: Tensor, positive_N: Tensor, weights_RN: Tensor) -> Tensor:
    """Return the average precision of scores under each row of sample weights: float64 [R].

    This is the sum over thresholds of precision times the gain in recall, where equal scores share a
    threshold, as in scikit-learn, which cannot apply many weightings after sorting once. It is NaN without
    positive samples.
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
    """Return the share of correct samples [N, ...] within a class, averaged over classes, and its error.

    Both are float64 [...]. Every class that occurs has equal weight, however many samples it has.
    """
    shares, variances = [], []
    for label in labels_N.unique():
        of_class = correct[labels_N == label].double()
        shares.append(of_class.mean(0))
        variances.append(shares[-1] * (1 - shares[-1]) / max(len(of_class) - 1, 1))
    return torch.stack(shares).mean(0), torch.stack(variances).sum(0).sqrt() / len(shares)


def mean_estimate(values_N: Tensor) -> Estimate:
    """Return the mean and its standard error, which is NaN for a single sample."""
    stderr = float(values_N.std()) / math.sqrt(len(values_N)) if len(values_N) > 1 else math.nan
    return float(values_N.mean()), stderr


@dataclass(frozen=True, slots=True)
class ConditionalCoherence:
    """The coherence of samples generated from subsets' posteriors, and diagnostics of these posteriors."""

    masks: tuple[int, ...]
    """The S observed subsets."""
    scores: CoherenceScores | None
    """The coherence of every measured (source, target) pair; None without labels."""
    measured_SM: Tensor
    """Whether the pair was measured, as booleans."""
    kl_NS: Tensor
    """KL of every subset's posterior to the prior, in nats."""
    diagnostics: PosteriorDiagnostics
    """Diagnostics of the same posteriors."""


@dataclass(frozen=True, slots=True)
class JointCoherence:
    """The agreement of the classifiers on draws from the prior."""

    agreed_N: Tensor
    """Whether all modalities are given one class; for attributes, the share on which all modalities agree."""
    predicted_MN: Tensor | None
    """The predicted classes; None for attributes."""

    def plain(self) -> Estimate:
        """Return the share of agreement and its standard error over draws."""
        if self.predicted_MN is None:
            return mean_estimate(self.agreed_N)
        share = float(self.agreed_N.double().mean())
        return share, math.sqrt(share * (1 - share) / len(self.agreed_N))

    def balanced(self) -> Estimate | None:
        """Return the share of agreement within a class, averaged over classes, and its standard error.

        The class of a draw is the prediction of one modality's classifier, and the result is averaged over
        modalities. The standard error is that of a single modality, as all share the draws.
        """
        if self.predicted_MN is None:
            return None
        by_modality = [balanced_share(self.agreed_N, predicted_N) for predicted_N in self.predicted_MN]
        share, error = torch.tensor(by_modality, dtype=torch.float64).mean(0).tolist()
        return share, error


def conditional_coherence(
    model: MoPoE,
    split: Split,
    classifiers: Classifiers,
    n: int,
    seed: int,
    sizes: Sequence[int] = (),
    *,
    own_targets: bool = True,
) -> ConditionalCoherence:
    """Return the coherence of every (source subset, target) pair on the first n samples of a split.

    One latent is drawn from each subset's posterior (a sample, not its mean), every modality is decoded, and
    the mean of its likelihood is classified (Sutter et al. 2021, section 5).

    Args:
        model: the model.
        split: held-out samples, each with a class or with a row of attributes. Without labels no pair is
            measured, and only the diagnostics are.
        classifiers: classifiers of the same data set.
        n: number of samples.
        seed: determines the noise; a subset's noise does not depend on which other subsets are measured.
        sizes: sizes of the source subsets; empty for all.
        own_targets: whether targets that belong to the source are measured too: half of all pairs.
    """
    chosen = [s for s, mask in enumerate(model.masks) if not sizes or mask.bit_count() in sizes]
    masks = tuple(model.masks[s] for s in chosen)
    outside_SM = targets_outside(masks, len(model.names))
    measured_SM = torch.ones_like(outside_SM) if own_targets else outside_SM
    kl: list[Tensor] = []
    sums: list[Tensor] = []
    n = min(n, len(split))
    labels = split.labels[:n]
    classes, labelled = labels.dim() == 1, labels.numel() > 0
    measured_SM = measured_SM & labelled
    logits_of = generated_logits(model, classifiers)
    at_once = max(1, ROWS // len(chosen))
    at_once -= at_once % min(LANES, at_once)
    result_NSM = torch.zeros(n, *measured_SM.shape, *labels.shape[1:])
    with torch.inference_mode():
        for start, stop in chunks(n, at_once):
            x = split.batch(slice(start, stop), model.device)
            with full_precision(model.members_SM):
                q = model.encode(x)
                mu_SBZ, kl_SBZ = (part[chosen] for part in subset_posteriors(model, q))
            sums.append(posterior_sums(mu_SBZ, kl_SBZ))
            kl.append(kl_SBZ.sum(2).t().cpu())
            z_SBZ, style_MSBW = conditional_latents(model, q, seed, "conditional coherence", start, stop)
            c_BC = q.covariates_BC
            z_SBZ, style_MSBW = z_SBZ[chosen], None if style_MSBW is None else style_MSBW[:, chosen]
            for m, name in enumerate(model.names):
                if not (rows_S := measured_SM[:, m]).any():
                    continue
                style_MRW = None if style_MSBW is None else style_MSBW[:, rows_S].flatten(1, 2)
                c_RC = None if c_BC is None else c_BC.repeat(int(rows_S.sum()), 1)
                logits = logits_of(name, z_SBZ[rows_S].flatten(0, 1), style_MRW, c_RC)
                result = logits.unflatten(0, (-1, stop - start))
                if classes:
                    result = _classes(result) == labels[start:stop].to(model.device)
                result_NSM[start:stop, rows_S, m] = result.transpose(0, 1).float().cpu()
    scores: CoherenceScores | None = None
    if labelled:
        own = ClassScores(result_NSM.bool(), labels) if classes else None
        scores = own or attribute_scores(result_NSM, labels, seed)
    return ConditionalCoherence(
        masks=masks,
        scores=scores,
        measured_SM=measured_SM,
        kl_NS=torch.cat(kl),
        diagnostics=posterior_diagnostics(torch.stack(sums).sum(0), n),
    )


def joint_coherence(
    model: MoPoE,
    classifiers: Classifiers,
    n: int,
    seed: int,
    *,
    attributes: bool = False,
    prior: FittedPrior | None = None,
    covariates_NC: Tensor | None = None,
) -> JointCoherence:
    """Return on which of n draws from the prior the classifiers of all modalities agree.

    Args:
        model: the model.
        classifiers: classifiers of the same data set.
        n: number of draws.
        seed: determines the draws.
        attributes: whether samples have attributes, each predicted above a probability of 1/2, and no class.
        prior: replaces the model's prior over the shared latents.
        covariates_NC: of samples, which condition the draws in turn; needed if the model is conditioned.
    """
    parts: list[Tensor] = []
    logits_of = generated_logits(model, classifiers)
    with torch.inference_mode():
        for start, stop in chunks(n, ROWS):
            z_NZ, style_MNW = prior_latents(model, seed, "joint coherence", start, stop)
            if prior is not None:
                z_NZ = prior.sample(stop - start, seed, start=start).to(model.device)
            c_NC = covariates_NC
            if c_NC is not None:
                c_NC = c_NC[torch.arange(start, stop) % len(c_NC)].to(model.device)
            logits_MBC = torch.stack([logits_of(name, z_NZ, style_MNW, c_NC) for name in model.names])
            parts.append((logits_MBC > 0 if attributes else _classes(logits_MBC)).cpu())
    predicted = torch.cat(parts, 1)
    agreed = (predicted == predicted[0]).all(0)
    if attributes:
        return JointCoherence(agreed.double().mean(1), None)
    return JointCoherence(agreed & (predicted[0] >= 0), predicted)


def targets_outside(masks: tuple[int, ...], n_modalities: int) -> Tensor:
    """Return whether the target does not belong to the subset, as booleans [S, M].

    >>> targets_outside((1, 2, 3), 2).tolist()
    [[False, True], [True, False], [False, False]]
    """
    return membership(masks, n_modalities) == 0


def _classes(logits: Tensor) -> Tensor:
    """Return the class of the largest logit, or -1 where a logit is not finite."""
    return logits.argmax(-1).where(logits.isfinite().all(-1), -1)
