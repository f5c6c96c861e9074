"""All held-out measurements of one epoch, as plain records.

Axes: B batch, M modality (target), N held-out sample, S subset (source).
"""

import math
import time
from collections.abc import Collection, Iterator
from typing import Literal

import torch
from torch import Tensor

from mopoe.data.container import MultimodalData
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import (
    Conditional,
    Joint,
    conditional_coherence,
    joint_coherence,
    mean_estimate,
    targets_outside,
)
from mopoe.evaluation.final_metrics import (
    Materials,
    check_extras,
    extra_metrics,
    guarded,
    reconstruction_metrics,
    record,
    trained_numbers,
)
from mopoe.evaluation.generation import draw_pictures
from mopoe.evaluation.log_likelihood import log_likelihood
from mopoe.evaluation_config import EvaluationConfig
from mopoe.model import MoPoE
from mopoe.reports import Evaluation, PairCoherence, Picture, SubsetMetric
from mopoe.runtime import prepared


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

    Raises:
        ConfigError: an extra cannot be measured with these classifiers.
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
        check_extras(config, classifiers)
        self.data = data
        self.device = prepared(device)
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
            what: at a rung the smaller amounts; all that the last epoch has; or that but pictures and extras.
        """
        started = time.perf_counter()
        c = self.config.for_rung() if what == "rung" else self.config
        split = self.data.split(c.split).complete()
        model.eval()
        # One context for all, so that it casts every weight once.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.precision == "bfloat16"):
            conditional = conditional_coherence(
                model,
                split,
                self.classifiers,
                c.coherence_samples,
                c.seed,
                self.device,
                c.subset_sizes,
                own_targets=c.own_targets,
            )
            attributes = split.labels.dim() > 1
            joint = joint_coherence(
                model, self.classifiers, c.joint_samples, c.seed, self.device, attributes=attributes
            )
            joint_p = log_likelihood(
                model, split, c.likelihood_samples, c.importance_samples, c.seed, self.device
            )
            shown: tuple[Picture, ...] = ()
            with guarded("pictures") as failed:
                if what == "all" and c.pictures:
                    shown = draw_pictures(model, split, self.classifiers, c.pictures, c.seed, self.device)
        outside_SM = targets_outside(conditional.masks, len(model.names))
        materials = Materials(data=self.data, classifiers=self.classifiers, config=c, device=self.device)
        extras = extra_metrics(model, materials) if what == "all" else ()
        found = {
            "conditional_coherence": conditional.verdicts.mean_over(outside_SM),
            "joint_coherence": joint.plain(),
            "log_likelihood": mean_estimate(joint_p.log_p_N),
        }
        faults = {}
        value, most = found["log_likelihood"][0], most_likely(model, self.data)
        if value > most + 1e-6 * abs(most):
            found["log_likelihood"] = math.nan, math.nan
            faults["log_likelihood"] = (
                f"log_likelihood would be {value:.6g}, but the likelihoods allow {most:.6g} at most: the "
                "posteriors are too narrow to estimate it, as of a model that has diverged; lower lr"
            )
        return Evaluation(
            split=c.split,
            objectives={name: value for name, (value, _) in found.items()},
            stderr={name: error for name, (_, error) in found.items()},
            subset_metrics=(
                *_coherence_metrics(model.names, conditional, outside_SM),
                *_joint_metrics(joint),
                *_health_metrics(conditional),
                record(model.masks[-1], "ess", mean_estimate(joint_p.ess_N), len(joint_p.ess_N)),
                *reconstruction_metrics(model, materials, split),
                *trained_numbers(model),
                *extras,
                *failed,
            ),
            pair_coherence=_pairs(model, conditional),
            pictures=shown,
            seconds=time.perf_counter() - started,
            n_parameters=sum(p.numel() for p in model.parameters()),
            classifiers=self.classifiers.hash,
            faults=faults,
        )


def most_likely(model: MoPoE, data: MultimodalData) -> float:
    """Return the largest log p(X) in nats that a model's likelihoods allow; inf if one cannot tell."""
    return sum(model.likelihood(m.name).most(math.prod(m.shape)) for m in data.modalities)


def _coherence_metrics(
    names: tuple[str, ...], found: Conditional, outside_SM: Tensor
) -> Iterator[SubsetMetric]:
    n = len(found.kl_NS)
    for s, mask in enumerate(found.masks):
        row_SM = torch.zeros_like(outside_SM)
        row_SM[s] = True
        for metric, chosen_SM in (("coherence", row_SM & outside_SM), ("coherence_all", row_SM)):
            if chosen_SM.any() and found.measured_SM[chosen_SM].all():
                yield record(mask, metric, found.verdicts.mean_over(chosen_SM), n)
    if (balanced := found.verdicts.balanced()) is not None:
        value_SM, error_SM = (part.tolist() for part in balanced)
        for s, m in found.measured_SM.nonzero().tolist():
            estimate = value_SM[s][m], error_SM[s][m]
            yield record(found.masks[s], "coherence_balanced", estimate, n, names[m])


def _joint_metrics(found: Joint) -> Iterator[SubsetMetric]:
    each = {"joint_coherence": found.plain(), "joint_coherence_balanced": found.balanced()}
    for metric, estimate in each.items():
        if estimate is not None:
            yield record(0, metric, estimate, len(found.agreed_N))


def _health_metrics(found: Conditional) -> Iterator[SubsetMetric]:
    n, health = len(found.kl_NS), found.health
    columns = {
        "active_units": health.active_S,
        "collapsed": health.collapsed_S(),
        "idle_latents": health.idle_S,
        "non_finite": health.non_finite_S,
    }
    for s, mask in enumerate(found.masks):
        yield record(mask, "kl", mean_estimate(found.kl_NS[:, s].double()), n)
        for metric, values_S in columns.items():
            if metric != "collapsed" or mask.bit_count() == 1:
                yield record(mask, metric, (float(values_S[s]), None), n)


def _pairs(model: MoPoE, found: Conditional) -> tuple[PairCoherence, ...]:
    verdicts = found.verdicts
    value_SM, stderr_SM = (part.tolist() for part in verdicts.pairs())
    return tuple(
        PairCoherence(
            source_mask=found.masks[s],
            target=model.names[m],
            value=value_SM[s][m],
            stderr=stderr_SM[s][m],
            n=len(found.kl_NS),
            chance=verdicts.chance,
            measure=verdicts.measure,
        )
        for s, m in found.measured_SM.nonzero().tolist()
    )
