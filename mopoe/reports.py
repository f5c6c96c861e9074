"""What a trial reports: plain numbers and bytes, which can be stored and plotted without torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

OBJECTIVES: Mapping[str, str] = {
    "conditional_coherence": "mean over all (subset, target) pairs whose subset lacks the target, 0..1",
    "joint_coherence": "share of prior draws that all modalities' classifiers give one label, 0..1",
    "log_likelihood": "importance-weighted estimate of log p(X) per held-out sample, nats",
}
"""The objectives of every evaluation, with their meaning; `mopoe.quantities` has the others of a sweep."""


NEED_LABELS = (
    *("conditional_coherence", "joint_coherence", "representation", "frechet", "mixture_prior", "coherence"),
    *("coherence_all", "coherence_balanced", "joint_coherence_balanced", "joint_coherence_mixture"),
    "mmd",
)
"""The metrics and final metrics that a data set without labels does not have."""

METRICS: Mapping[str, str] = {
    "coherence": "mean over the targets outside the subset, as a pair's coherence",
    "coherence_all": "mean over all targets, those that were observed included",
    "coherence_balanced": "per target: mean over classes of the share of right samples within the class",
    "joint_coherence": "of the prior: the objective of that name",
    "conditional_coherence": "of subset 0, on a split other than the sweep's: the objective of that name",
    "joint_coherence_balanced": "of the prior: mean over classes of the agreement on draws of the class",
    "kl": "KL of the subset's posterior to the prior, nats",
    "active_units": "latents whose posterior mean has a variance over samples above 0.01 (Burda et al. 2016)",
    "idle_latents": "share of latents whose KL to the prior averages below 0.01 nats",
    "collapsed": "of single modalities: 1 if the KL of their posterior averages below 0.1 nats, else 0",
    "ess": "effective sample size of the log-likelihood's weights, from 1 to its importance samples",
    "looseness": "rise of log p(X_A) from half its importance samples to all, nats: to first order what "
    "is still missing, and less than that where ess is near 1",
    "representation": "final metric: accuracy (or mean average precision) of logistic regression on latents",
    "frechet": "final metric, per target: Frechet distance in its classifier's features (subset 0: prior)",
    "mmd": "final metric, per target: squared MMD with a cubic kernel in its classifier's features, without "
    "bias and so perhaps below 0 (subset 0: prior)",
    "fid": "final metric, per target: Frechet distance in Inception v3's features (subset 0: prior)",
    "kid": "final metric, per target: the mmd in Inception v3's features (subset 0: prior)",
    "log_likelihood": "final metric: log p(X_A) of the subset A, nats; of subset 0, on a split other than "
    "the sweep's: the objective of that name",
    "log_likelihood_conditional": "final metric: log p(x_m | X_A) of a target m (without one, of all others) "
    "given the subset A, nats; the difference of two estimates, log p(x_m, X_A) and log p(X_A)",
    "joint_coherence_mixture": "final metric, of the prior: with a Gaussian mixture fitted to the latents",
    "non_finite": "share of posterior means and KLs that are not finite numbers",
    "nll": "per target: negative log-likelihood given a latent of the full set's posterior, nats",
    "explained": "per target: share that the model takes off what a constant leaves of the nll, at most 1",
    "predicted": "final metric, per target: the same share, but given all other modalities alone",
    "mixture_weight": "of learned weights: the subset's weight in the mixture",
    "likelihood_scale": "of learned scales, per target: the likelihood's scale, a mean over several",
    "pictures": "there only if no pictures could be drawn, as NaN with the reason",
}
"""The metrics of subsets, with their meaning. Subset mask 0 is the prior, for which nothing is observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetMetric:
    """One measured value of a subset of modalities, or of a target given that subset."""

    subset_mask: int
    """The subset as bits: bit m is modality m; 0 for the prior."""
    metric: str
    """The name of the metric: one of `METRICS`, or of a user's own."""
    target: str | None = None
    """The generated modality, if the value is of one."""
    value: float
    """The value, usually a mean over samples."""
    stderr: float | None = None
    """Standard error of the value over samples, if there is one."""
    n: int
    """Number of held-out samples or of draws; 0 if the value is not an estimate."""
    error: str | None = None
    """Why the metric could not be measured, in which case the value is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCoherence:
    """How often a target generated from a source subset has the true class, or the true attributes."""

    source_mask: int
    """The observed subset, as bits."""
    target: str
    """Name of the generated modality."""
    value: float
    """Share of generated samples whose predicted label is true; for attributes, mean average precision."""
    stderr: float
    """Standard error of the value."""
    n: int
    """Number of held-out samples."""
    chance: float
    """The value of always guessing the most frequent class; for attributes, of random scores."""
    measure: str = "accuracy"
    """The kind of value: `accuracy`, or `average_precision` where samples have attributes."""


Z_95 = 1.959964
"""Quantile of the standard normal distribution that leaves 2.5 % above it."""


def pair_interval(value: float, stderr: float, n: int, measure: str | None) -> tuple[float, float]:
    """Return the 95 % interval of a pair's coherence: Wilson's of an accuracy, else from the standard error.

    Wilson's (1927) has a width even if all samples are right. A measure of None is an accuracy.

    >>> [round(end, 3) for end in pair_interval(1.0, 0.0, 10, "accuracy")]
    [0.722, 1.0]
    """
    if measure in (None, "accuracy"):
        scale = 1 + Z_95**2 / n
        middle = (value + Z_95**2 / (2 * n)) / scale
        half = Z_95 / scale * math.sqrt(value * (1 - value) / n + (Z_95 / (2 * n)) ** 2)
    else:
        middle, half = value, Z_95 * stderr
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A strip of samples of one modality; all strips show the same held-out samples from left to right."""

    kind: str
    """`input` (held-out data), `conditional` (generated from a subset) or `joint` (from the prior)."""
    source_mask: int
    """The observed subset; 0 for `input` and `joint`."""
    target: str
    """Name of the modality that is shown."""
    png: bytes | None = None
    """The strip as a PNG file; null if the modality is no image."""
    texts: tuple[str, ...] = ()
    """The samples as texts, or as the numbers of their symbols; empty for images and vectors."""
    values: tuple[float, ...] = ()
    """Elements of a vector in the data's own units, one sample after the other; empty for all else."""
    features: tuple[str, ...] = ()
    """Names of these elements, or their numbers from 1; of many, 24 that vary or 128 places of a curve."""
    labels: tuple[int, ...]
    """True labels (`input`) or the classifier's predictions, from left to right; empty for attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleValues:
    """What each held-out sample contributed to an objective, whose value is their mean."""

    metric: str
    """The objective, the mean over all pairs of a final metric, or the metric of a user's own."""
    values: tuple[float, ...]
    """Its value on each sample, in order, or on each draw from the prior; the same ones for every trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All measurements on held-out data after one epoch."""

    split: str
    """The split that was measured on."""
    objectives: Mapping[str, float]
    """Value by name: every one of `OBJECTIVES` (without labels those that need none), and in a sweep those of
    its own that were measured."""
    stderr: Mapping[str, float]
    """Standard error by objective name, over held-out samples."""
    subset_metrics: tuple[SubsetMetric, ...]
    """All metrics of all measured subsets, and of the prior."""
    pair_coherence: tuple[PairCoherence, ...]
    """All measured (source subset, target) pairs, including targets that belong to the source."""
    pictures: tuple[Picture, ...]
    """Held-out and generated samples, if they were asked for."""
    seconds: float
    """Wall time of the evaluation."""
    n_parameters: int | None = None
    """Number of the model's trained parameters."""
    classifiers: str | None = None
    """Hash of the classifiers that measured coherence; null without labels."""
    sample_values: tuple[SampleValues, ...] = ()
    """The contributions to those objectives that are means over samples, after the last epoch."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """By objective name, why it is NaN although a number was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """The result of one epoch of training. Losses are means per sample, in nats."""

    epoch: int
    """The epoch, counted from 1."""
    step: int
    """Optimiser steps taken since the start of the trial."""
    examples: int
    """Training samples seen since the start of the trial."""
    seconds: float
    """Wall time in seconds of this epoch's training, without evaluation."""
    loss: float
    """The minimised quantity: weighted reconstruction + each step's beta * KL (+ unimodal ELBOs)."""
    elbo: float
    """The mixture's ELBO at beta = 1, without weights or unimodal ELBOs: -(reconstruction + KL)."""
    reconstruction: Mapping[str, float]
    """Unweighted negative log-likelihood under the mixture, by modality."""
    kl: float
    """Sum of the subsets' KL divergences to the prior, weighted by the mixture."""
    lr: float
    """Learning rate of the epoch's last step."""
    grad_norm: float
    """Euclidean norm of the last step's gradient, before any clipping."""
    evaluation: Evaluation | None = None
    """Held-out measurements, if the epoch was due for them."""
    total_seconds: float = 0.0
    """Wall time of training and evaluation of this and all earlier epochs, summed over processes."""
