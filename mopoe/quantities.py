"""The quantities that a sweep can optimise or limit: their names, and their values in what a trial reports.

A name is a metric, perhaps with the subset of modalities that was observed, perhaps with the target:
`coherence`, `coherence.2:m0`, `log_likelihood.m0.m1`, `frechet.prior:m1`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from mopoe.errors import ConfigError
from mopoe.evaluation_config import FinalMetric
from mopoe.reports import METRICS, OBJECTIVES, Evaluation, PairCoherence, SubsetMetric
from mopoe.subsets import subset_masks
from mopoe.wording import did_you_mean

Direction = Literal["maximize", "minimize"]
Parts = Literal["", "subset", "target", "pair"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be asked of a metric."""

    direction: Direction = "maximize"
    """Which of its values are better."""
    parts: Parts = ""
    """What a name may choose: nothing, the observed subset, the target, or a pair of both."""
    final: FinalMetric | None = None
    """The final metric by which it is measured; None for what every evaluation measures."""
    unit: str = ""
    """Its unit; empty for shares and counts."""
    whole: bool = False
    """Whether the metric alone is that of all modalities together, and `final` concerns other subsets."""


KINDS: Mapping[str, Kind] = {
    "conditional_coherence": Kind(),
    "joint_coherence": Kind(),
    "log_likelihood": Kind(parts="subset", final="conditional_likelihood", unit="nats", whole=True),
    "log_likelihood_conditional": Kind(parts="pair", final="conditional_likelihood", unit="nats"),
    "coherence": Kind(parts="pair"),
    "coherence_all": Kind(parts="subset"),
    "coherence_balanced": Kind(parts="pair"),
    "joint_coherence_balanced": Kind(),
    "joint_coherence_mixture": Kind(final="mixture_prior"),
    "representation": Kind(parts="subset", final="representation"),
    "frechet": Kind("minimize", "pair", "frechet"),
    "mmd": Kind("minimize", "pair", "frechet"),
    "fid": Kind("minimize", "pair", "fid"),
    "kid": Kind("minimize", "pair", "fid"),
    "nll": Kind("minimize", "target", unit="nats"),
    "explained": Kind(parts="target"),
    "predicted": Kind(parts="target", final="conditional_likelihood"),
    "kl": Kind("minimize", "subset", unit="nats"),
    "active_units": Kind(parts="subset"),
    "idle_latents": Kind("minimize", "subset"),
    "collapsed": Kind("minimize", "subset"),
    "non_finite": Kind("minimize", "subset"),
    "ess": Kind(parts="subset", final="conditional_likelihood", whole=True),
    "looseness": Kind("minimize", "subset", "conditional_likelihood", "nats", whole=True),
    "parameters": Kind("minimize"),
    "seconds": Kind("minimize", unit="s"),
    "epoch_seconds": Kind("minimize", unit="s"),
}
"""What an evaluation records and has better and worse values, by name."""


OWN = Kind(parts="pair")
"""What can be asked of a metric of the user's own."""


OF_TRIAL: Mapping[str, str] = {
    "parameters": "trained parameters of the model",
    "seconds": "wall time of all epochs and evaluations",
    "epoch_seconds": "wall time of all epochs and evaluations, divided by the number of epochs",
}
"""The quantities of a trial that are no metrics, with their meaning."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A quantity in what a trial reports."""

    value: float
    """The value; NaN if it was measured and is not a number."""
    stderr: float | None = None
    """Its standard error over held-out samples, or a bound on it; None if nothing is known of it."""
    fault: str | None = None
    """Why it is NaN."""


def metric_of(name: str) -> str:
    """Return the metric that a quantity is of, as `coherence` of `coherence.2:m0`."""
    return _split(name)[0]


def kind_of(name: str) -> Kind | None:
    """Return the kind of a quantity; None if its metric is none of the project's."""
    return KINDS.get(_split(name)[0])


def final_metric(name: str) -> FinalMetric | None:
    """Return the final metric that a quantity needs, if it is measured after the last epoch alone.

    >>> final_metric("frechet:m0"), final_metric("log_likelihood"), final_metric("log_likelihood.m0")
    ('frechet', None, 'conditional_likelihood')
    """
    kind = kind_of(name) or Kind()
    return None if kind.whole and "." not in name else kind.final


def check_name(name: str, modalities: Sequence[str], own: Collection[str] = ()) -> None:
    """Check that a name is that of a quantity of this data set.

    Args:
        name: the name.
        modalities: the data set's modalities.
        own: the metrics of the user's own, of which a name may choose any part.

    Raises:
        ConfigError: there is no such metric, subset or target, or the metric has no such part.
    """
    metric, subset, target = _split(name)
    kind = OWN if metric in own else KINDS.get(metric)
    if kind is None or name[-1] in ".:":
        raise ConfigError(f"unknown quantity {name!r}; {did_you_mean(metric, (*KINDS, *own))}")
    if subset and kind.parts not in ("subset", "pair"):
        raise ConfigError(
            f"{name!r} names a subset, but {metric} is of no single subset; leave out .{subset}"
        )
    if target and kind.parts not in ("target", "pair"):
        raise ConfigError(f"{name!r} names a target, but {metric} is of no single one; leave out :{target}")
    if target and target not in modalities:
        raise ConfigError(f"{name!r} names no target; {did_you_mean(target, modalities)}")
    generated = metric in own or kind.final in ("frechet", "fid")
    if subset and not any(_masks(subset, modalities)) and not (subset == "prior" and generated):
        possible = (*modalities, *map(str, range(1, len(modalities) + 1)), *["prior"] * generated)
        raise ConfigError(f"{name!r} names no subset; {did_you_mean(subset, possible)}")


def sizes_of(name: str, modalities: Sequence[str]) -> set[int]:
    """Return the sizes of the observed subsets that a name chooses; none if it chooses none.

    >>> sizes_of("coherence.m0.m1", ["m0", "m1", "m2"]), sizes_of("coherence", ["m0", "m1", "m2"])
    ({2}, set())
    """
    subset = _split(name)[1]
    return {mask.bit_count() for mask in _masks(subset, modalities)} if subset else set()


def measured(
    name: str, evaluation: Evaluation, modalities: Sequence[str], epoch: int, seconds: float
) -> Measured | None:
    """Return a quantity of a trial, or None if this evaluation has not measured it.

    It is the mean over all that the name leaves open: with targets, over the pairs of a subset and a target
    outside of it if there are any. The standard error of such a mean is that over samples, where their values
    are known, else at most the mean of its parts' own, however these depend on each other (Cauchy-Schwarz).

    Args:
        name: the name, from `check_name`.
        evaluation: the measurements.
        modalities: the data set's modalities.
        epoch: epochs trained.
        seconds: the time of these and of their evaluations.
    """
    if name in evaluation.objectives:
        value, error = evaluation.objectives[name], evaluation.stderr.get(name)
        return Measured(value, error, evaluation.faults.get(name))
    of_trial = {"parameters": evaluation.n_parameters, "seconds": seconds, "epoch_seconds": seconds / epoch}
    if (number := of_trial.get(name)) is not None:
        return Measured(float(number))
    metric, subset, target = _split(name)
    kind, masks = KINDS.get(metric, OWN), subset_masks(len(modalities))
    found = [m for m in evaluation.subset_metrics if m.metric == metric]
    rows: list[tuple[int, str | None, SubsetMetric | PairCoherence]]
    rows = [(m.subset_mask, m.target, m) for m in found]
    if metric == "coherence":  # of a subset it is the mean over targets
        rows = [(p.source_mask, p.target, p) for p in evaluation.pair_coherence]
    masks = _masks(subset, modalities) if subset else masks[-1:] if kind.whole else masks
    rows = [row for row in rows if (row[0] in masks or not kind.parts) and target in ("", row[1])]
    rows = [row for row in rows if row[1] is not None] or rows
    bits = {None: 0} | {modality: 1 << m for m, modality in enumerate(modalities)}
    rows = [row for row in rows if not row[0] & bits[row[1]]] or rows
    faults = [m.error for m in found if m.error is not None]
    if not rows:
        return Measured(math.nan, None, faults[0]) if faults else None
    value = fmean(row.value for _, _, row in rows)
    if math.isnan(value):
        return Measured(value, None, next(iter(faults), None))
    values_N = next((own.values for own in evaluation.sample_values if own.metric == name), ())
    if len(rows) > 1 and len(values_N) > 1:
        return Measured(value, stdev(values_N) / math.sqrt(len(values_N)))
    errors = [row.stderr for _, _, row in rows if row.stderr is not None]
    return Measured(value, fmean(errors) if len(errors) == len(rows) else None)


def with_quantities(
    evaluation: Evaluation, names: Sequence[str], modalities: Sequence[str], epoch: int, seconds: float
) -> Evaluation:
    """Return the evaluation with those of some quantities that it has measured among its objectives."""
    found = {name: measured(name, evaluation, modalities, epoch, seconds) for name in names}
    known = {name: m for name, m in found.items() if m is not None}
    return replace(
        evaluation,
        objectives={**evaluation.objectives, **{name: m.value for name, m in known.items()}},
        stderr={**evaluation.stderr, **{n: m.stderr for n, m in known.items() if m.stderr is not None}},
        faults={**evaluation.faults, **{n: m.fault for n, m in known.items() if m.fault is not None}},
    )


def meaning(name: str) -> str:
    """Return what a quantity is, as a part of a sentence; empty if nothing is known of it."""
    return {**OBJECTIVES, **OF_TRIAL}.get(name) or METRICS.get(_split(name)[0], "")


def _split(name: str) -> tuple[str, str, str]:
    """Return a name's metric, subset and target; the latter two may be empty."""
    head, _, target = name.partition(":")
    metric, _, subset = head.partition(".")
    return metric, subset, target


def _masks(subset: str, modalities: Sequence[str]) -> tuple[int, ...]:
    """Return the masks of the subsets that part of a name chooses: by names, else by size, or the prior."""
    parts = subset.split(".")
    if all(part in modalities for part in parts):
        return (sum(1 << modalities.index(part) for part in set(parts)),)
    if subset == "prior":
        return (0,)
    return tuple(mask for mask in subset_masks(len(modalities)) if str(mask.bit_count()) == subset)
