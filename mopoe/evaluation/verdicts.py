"""What classifiers' verdicts on generated samples amount to: shares or average precision, with their errors.

A sample has one class, or a row of attributes, each of which it has or not. Coherence is then the share of
samples of the right class, or the average precision with which an attribute's score finds the samples that
have it (Sutter et al. 2021), as a mean over the attributes that occur.
Axes: A attribute, M modality (target), N sample, R resample, S subset (source).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mopoe.noise import generator

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
