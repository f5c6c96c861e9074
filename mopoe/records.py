"""What a trial reports: plain numbers and bytes, so that whoever stores or plots them needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

OBJECTIVES: Mapping[str, str] = {
    "conditional_coherence": "mean over all (subset, target) pairs whose subset lacks the target, 0..1",
    "joint_coherence": "share of prior draws that all modalities' classifiers give one label, 0..1",
    "log_likelihood": "importance-weighted estimate of log p(X) per held-out sample, nats",
}
"""The quantities a sweep can optimise, with their meaning. All are better when larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetMetric:
    """One number about one subset of modalities."""

    subset_mask: int
    """The subset as bits: bit m is modality m."""
    metric: str
    """What was measured: `coherence` (targets outside the subset), `coherence_all` or `kl`."""
    value: float
    """The mean over samples (and targets)."""
    stderr: float
    """Standard error of the value over samples."""
    n: int
    """Number of held-out samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCoherence:
    """How often the target generated from a source subset shows the right class."""

    source_mask: int
    """The subset that was observed, as bits."""
    target: str
    """Name of the generated modality."""
    value: float
    """Share of generated samples whose predicted label is the true one."""
    stderr: float
    """Standard error of the share."""
    n: int
    """Number of held-out samples."""
    chance: float
    """The share that always guessing the most frequent class would reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A strip of images of one modality, left to right the same held-out samples in every strip."""

    kind: str
    """`input` (held-out data), `conditional` (generated from a subset) or `joint` (from the prior)."""
    source_mask: int
    """The observed subset; 0 for `input` and `joint`."""
    target: str
    """Name of the modality shown."""
    png: bytes
    """The strip as a PNG file."""
    labels: tuple[int, ...]
    """True labels (`input`) or the classifier's predictions, left to right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything measured on held-out data after one epoch."""

    split: str
    """The split measured on."""
    objectives: Mapping[str, float]
    """Value by objective name; every name of `OBJECTIVES` is present."""
    stderr: Mapping[str, float]
    """Standard error by objective name, over held-out samples."""
    subset_metrics: tuple[SubsetMetric, ...]
    """All metrics of all subsets."""
    pair_coherence: tuple[PairCoherence, ...]
    """All (source subset, target) pairs, targets inside the source included."""
    pictures: tuple[Picture, ...]
    """Generated images; empty unless asked for."""
    seconds: float
    """Wall time of the evaluation."""
    n_parameters: int | None = None
    """Trained parameters of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What one epoch of training did. Losses are means per sample, in nats."""

    epoch: int
    """Epochs finished, counted from 1."""
    step: int
    """Optimiser steps taken since the start of the trial."""
    examples: int
    """Training samples seen since the start of the trial."""
    seconds: float
    """Wall time of this epoch's training, without evaluation."""
    loss: float
    """Minimised quantity: weighted reconstruction + each step's beta * KL (+ unimodal ELBOs)."""
    elbo: float
    """The mixture's bound at beta = 1, without weights or unimodal ELBOs: -(reconstruction + KL)."""
    reconstruction: Mapping[str, float]
    """Negative log-likelihood by modality, under the mixture and without weights."""
    kl: float
    """Weighted sum of the subsets' KL divergences to the prior."""
    lr: float
    """Learning rate of the epoch's last step."""
    grad_norm: float
    """Euclidean norm of the last step's gradient."""
    evaluation: Evaluation | None
    """Held-out measurements, if this epoch was due for them."""
