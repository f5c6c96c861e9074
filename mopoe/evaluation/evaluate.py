"""All held-out measurements of one epoch, as plain records.

Axes: B batch, M modality (target), N held-out sample, S subset (source).
"""

import math
import time
from collections.abc import Collection

import torch
from torch import Tensor

from mopoe.config import EvaluationConfig
from mopoe.data.container import MultimodalData
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import Conditional, conditional_coherence, joint_coherence
from mopoe.evaluation.log_likelihood import joint_log_likelihood
from mopoe.evaluation.pictures import draw_pictures
from mopoe.model import MoPoE
from mopoe.records import Evaluation, PairCoherence, SubsetMetric


class Evaluator:
    """Measures a model when an epoch is due; pass it to `mopoe.train` as `evaluate`.

    Every trial sees the same held-out samples and the same noise, so that differences between trials are
    not luck of the draw.

    Args:
        data: the data set.
        classifiers: its classifiers.
        config: what to measure, when, and on how much.
        epochs: epochs of the trial; the last one is always due.
        also: further epochs that are due.
        device: where the model lives.
    """

    def __init__(
        self,
        data: MultimodalData,
        classifiers: Classifiers,
        config: EvaluationConfig,
        *,
        epochs: int,
        also: Collection[int] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.data = data
        self.device = torch.device(device)
        self.classifiers = classifiers.to(self.device)
        self.config = config
        self.epochs = epochs
        self.also = also

    def __call__(self, model: MoPoE, epoch: int) -> Evaluation | None:
        """Return the measurements, or None if the epoch is not due."""
        last = epoch >= self.epochs
        due = last or epoch in self.also or (self.config.every > 0 and epoch % self.config.every == 0)
        return self.measure(model, pictures=last) if due else None

    def measure(self, model: MoPoE, *, pictures: bool) -> Evaluation:
        """Return all measurements of a model, which is left in eval mode."""
        started = time.perf_counter()
        c, split = self.config, self.data.split(self.config.split).complete()
        model.eval()
        conditional = conditional_coherence(
            model, split, self.classifiers, c.coherence_samples, c.seed, self.device
        )
        joint = joint_coherence(model, self.classifiers, c.joint_samples, c.seed, self.device)
        log_p_N = joint_log_likelihood(
            model, split, c.likelihood_samples, c.importance_samples, c.seed, self.device
        )
        outside_SM = targets_outside(model.masks, len(model.names))
        per_sample_N = conditional.correct_NSM.double()[:, outside_SM].mean(1)
        shown = (
            draw_pictures(model, split, self.classifiers, c.pictures, c.seed, self.device)
            if pictures and c.pictures
            else ()
        )
        labels = split.labels[: len(conditional.correct_NSM)]
        return Evaluation(
            split=c.split,
            objectives={
                "conditional_coherence": float(per_sample_N.mean()),
                "joint_coherence": joint,
                "log_likelihood": float(log_p_N.mean()),
            },
            stderr={
                "conditional_coherence": _stderr(per_sample_N),
                "joint_coherence": math.sqrt(joint * (1 - joint) / c.joint_samples),
                "log_likelihood": _stderr(log_p_N),
            },
            subset_metrics=_subset_metrics(model, conditional, outside_SM),
            pair_coherence=_pairs(model, conditional, float(torch.bincount(labels).max()) / len(labels)),
            pictures=shown,
            seconds=time.perf_counter() - started,
            n_parameters=sum(p.numel() for p in model.parameters()),
        )


def targets_outside(masks: tuple[int, ...], n_modalities: int) -> Tensor:
    """Return which targets are not in which subset: bool [S, M].

    >>> targets_outside((1, 2, 3), 2).tolist()
    [[False, True], [True, False], [False, False]]
    """
    return torch.tensor([[not mask >> m & 1 for m in range(n_modalities)] for mask in masks])


def _subset_metrics(model: MoPoE, found: Conditional, outside_SM: Tensor) -> tuple[SubsetMetric, ...]:
    correct_NSM = found.correct_NSM.double()
    metrics = []
    for s, mask in enumerate(model.masks):
        series = {"kl": found.kl_NS[:, s].double(), "coherence_all": correct_NSM[:, s].mean(1)}
        if outside_SM[s].any():
            series["coherence"] = correct_NSM[:, s, outside_SM[s]].mean(1)
        for name, values_N in sorted(series.items()):
            metrics.append(
                SubsetMetric(
                    subset_mask=mask,
                    metric=name,
                    value=float(values_N.mean()),
                    stderr=_stderr(values_N),
                    n=len(values_N),
                )
            )
    return tuple(metrics)


def _pairs(model: MoPoE, found: Conditional, chance: float) -> tuple[PairCoherence, ...]:
    n = len(found.correct_NSM)
    share_SM = found.coherence_SM().tolist()
    return tuple(
        PairCoherence(
            source_mask=mask,
            target=name,
            value=share_SM[s][m],
            stderr=math.sqrt(share_SM[s][m] * (1 - share_SM[s][m]) / n),
            n=n,
            chance=chance,
        )
        for s, mask in enumerate(model.masks)
        for m, name in enumerate(model.names)
    )


def _stderr(values_N: Tensor) -> float:
    """Return the standard error of the mean; NaN for a single sample."""
    return float(values_N.std()) / math.sqrt(len(values_N)) if len(values_N) > 1 else math.nan
