"""All held-out measurements of one epoch, as plain numbers.

Axes: B batch, M modality (target), N held-out sample, S subset (source).
"""

import math
import time
from collections.abc import Collection, Iterator
from typing import Literal

import torch
from torch import Tensor

from mopoe.data.container import MultimodalData
from mopoe.data.registry import COVARIATES
from mopoe.data.units import Units, kinds
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import (
    ConditionalCoherence,
    Estimate,
    JointCoherence,
    conditional_coherence,
    joint_coherence,
    mean_estimate,
    targets_outside,
)
from mopoe.evaluation.final_metrics import (
    EvalContext,
    check_final_metrics,
    final_metrics,
    guarded,
    impossible,
    largest_log_likelihood,
    likelihood_metrics,
    parameter_metrics,
    reconstruction_metrics,
    subset_metric,
)
from mopoe.evaluation.log_likelihood import log_likelihood
from mopoe.evaluation.own import own_metrics
from mopoe.evaluation.pictures import draw_pictures
from mopoe.evaluation_config import EvaluationConfig
from mopoe.model import MoPoE
from mopoe.reports import Evaluation, PairCoherence, Picture, SampleValues, SubsetMetric
from mopoe.runtime import prepared


class Evaluator:
    """Measures a model when an epoch is due; pass it to `mopoe.train` as `evaluate`.

    Every trial is measured on the same held-out samples with the same noise, so that differences between
    trials are not due to chance.

    Args:
        data: the data set.
        classifiers: its classifiers.
        config: what to measure, when, and on how many samples.
        epochs: epochs of the trial; the last one is always due.
        also: further epochs that are due.
        device: the model's device.

    Raises:
        ConfigError: a final metric cannot be measured with these classifiers, or the device is slow in the
            precision.
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
        check_final_metrics(config, classifiers)
        self.data = data
        held = kinds(data)
        self.units = {m.name: Units(m, held[m.name]) for m in data.modalities}
        self.device = prepared(device, config.precision)
        self.classifiers = classifiers.to(self.device)
        self.config = config
        self.epochs = epochs
        self.also = also

    def __call__(self, model: MoPoE, epoch: int) -> Evaluation | None:
        """Return the measurements, or None if the epoch is not due."""
        last = epoch >= self.epochs
        due = last or epoch in self.also or (self.config.every > 0 and epoch % self.config.every == 0)
        return self.measure(model, "all" if last else "rung") if due else None

    def measure(self, model: MoPoE, what: Literal["rung", "objectives", "all"] = "all") -> Evaluation:
        """Return the measurements of a model, which is left in eval mode.

        Args:
            model: the model.
            what: "all" for the last epoch's measurements, "objectives" for these without pictures and final
                metrics, "rung" for the smaller sample sizes of earlier epochs.
        """
        started = time.perf_counter()
        c = self.config.for_rung() if what == "rung" else self.config
        split = self.data.split(c.split).complete()
        model.eval()
        # A single autocast context casts every weight only once.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.precision == "bfloat16"):
            conditional = conditional_coherence(
                model,
                split,
                self.classifiers,
                c.coherence_samples,
                c.seed,
                c.subset_sizes,
                own_targets=c.own_targets,
            )
            attributes = split.labels.dim() > 1
            draws = (model, self.classifiers, c.joint_samples, c.seed)
            joint = None
            if self.data.n_classes:
                joint = joint_coherence(*draws, attributes=attributes, covariates_NC=split.x.get(COVARIATES))
            likelihood = log_likelihood(model, split, c.likelihood_samples, c.importance_samples, c.seed)
            pictures: tuple[Picture, ...] = ()
            with guarded("pictures") as failed:
                if what == "all" and c.pictures:
                    drawn = (self.classifiers, c.pictures, c.seed, self.units)
                    pictures = draw_pictures(model, split, *drawn)
        outside_SM = targets_outside(conditional.masks, len(model.names))
        context = EvalContext(data=self.data, classifiers=self.classifiers, config=c)
        own, own_by_sample = own_metrics(model, split, context)
        last_metrics, last_by_sample = final_metrics(model, context) if what == "all" else ((), ())
        estimates: dict[str, Estimate] = {}
        by_sample: dict[str, Tensor | None] = {}
        if conditional.scores and joint:
            estimates["conditional_coherence"] = conditional.scores.mean_over(outside_SM)
            by_sample["conditional_coherence"] = conditional.scores.by_sample(outside_SM)
            estimates["joint_coherence"], by_sample["joint_coherence"] = joint.plain(), joint.agreed_N
        estimates["log_likelihood"] = mean_estimate(likelihood.log_p_N)
        by_sample["log_likelihood"] = likelihood.log_p_N
        by_sample |= own_by_sample
        faults = {}
        value, largest = (
            estimates["log_likelihood"][0],
            largest_log_likelihood(model, self.data, model.masks[-1]),
        )
        if impossible(value, largest):
            estimates["log_likelihood"] = math.nan, math.nan
            faults["log_likelihood"] = (
                f"log_likelihood would be {value:.6g}, but the likelihoods allow {largest:.6g} at most: the "
                "posteriors are too narrow for an estimate, as in a model that has diverged; lower lr"
            )
        return Evaluation(
            split=c.split,
            objectives={name: value for name, (value, _) in estimates.items()},
            stderr={name: error for name, (_, error) in estimates.items()},
            subset_metrics=(
                *_coherence_metrics(model.names, conditional, outside_SM),
                *(_joint_metrics(joint) if joint else ()),
                *_diagnostics_metrics(conditional),
                *likelihood_metrics(model.masks[-1], likelihood),
                *reconstruction_metrics(model, context, split),
                *parameter_metrics(model),
                *last_metrics,
                *own,
                *failed,
            ),
            pair_coherence=_pairs(model, conditional),
            pictures=pictures,
            seconds=time.perf_counter() - started,
            n_parameters=sum(p.numel() for p in model.parameters()),
            classifiers=self.classifiers.hash,
            sample_values=(
                *(
                    SampleValues(metric=name, values=tuple(values.double().tolist()))
                    for name, values in by_sample.items()
                    if what == "all" and values is not None
                ),
                *last_by_sample,
            ),
            faults=faults,
        )


def _coherence_metrics(
    names: tuple[str, ...], coherence: ConditionalCoherence, outside_SM: Tensor
) -> Iterator[SubsetMetric]:
    n = len(coherence.kl_NS)
    if coherence.scores is None:
        return
    for s, mask in enumerate(coherence.masks):
        row_SM = torch.zeros_like(outside_SM)
        row_SM[s] = True
        for metric, chosen_SM in (("coherence", row_SM & outside_SM), ("coherence_all", row_SM)):
            if chosen_SM.any() and coherence.measured_SM[chosen_SM].all():
                yield subset_metric(mask, metric, coherence.scores.mean_over(chosen_SM), n)
    if (balanced := coherence.scores.balanced()) is not None:
        value_SM, error_SM = (part.tolist() for part in balanced)
        for s, m in coherence.measured_SM.nonzero().tolist():
            estimate = value_SM[s][m], error_SM[s][m]
            yield subset_metric(coherence.masks[s], "coherence_balanced", estimate, n, names[m])


def _joint_metrics(joint: JointCoherence) -> Iterator[SubsetMetric]:
    metrics = {"joint_coherence": joint.plain(), "joint_coherence_balanced": joint.balanced()}
    for metric, estimate in metrics.items():
        if estimate is not None:
            yield subset_metric(0, metric, estimate, len(joint.agreed_N))


def _diagnostics_metrics(coherence: ConditionalCoherence) -> Iterator[SubsetMetric]:
    n, diagnostics = len(coherence.kl_NS), coherence.diagnostics
    columns = {
        "active_units": diagnostics.active_S,
        "collapsed": diagnostics.collapsed_S(),
        "idle_latents": diagnostics.idle_S,
        "non_finite": diagnostics.non_finite_S,
    }
    for s, mask in enumerate(coherence.masks):
        yield subset_metric(mask, "kl", mean_estimate(coherence.kl_NS[:, s].double()), n)
        for metric, values_S in columns.items():
            if metric != "collapsed" or mask.bit_count() == 1:
                yield subset_metric(mask, metric, (float(values_S[s]), None), n)


def _pairs(model: MoPoE, coherence: ConditionalCoherence) -> tuple[PairCoherence, ...]:
    if (scores := coherence.scores) is None:
        return ()
    value_SM, stderr_SM = (part.tolist() for part in scores.pairs())
    return tuple(
        PairCoherence(
            source_mask=coherence.masks[s],
            target=model.names[m],
            value=value_SM[s][m],
            stderr=stderr_SM[s][m],
            n=len(coherence.kl_NS),
            chance=scores.chance,
            measure=scores.measure,
        )
        for s, m in coherence.measured_SM.nonzero().tolist()
    )
