"""A sweep's trade-off in one object: its configs, which of them are on the front, and the picks."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.inference import Inference, infer
from sweep.analysis.points import Points, by_config, last_evaluation, points, usable_trials
from sweep.store.read import Store
from sweep.store.records import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A config of the front to look at first."""

    label: str
    """`best <objective>` or `knee`."""
    trial_id: str
    """The config's replicate of the lowest seed."""
    why: str
    """The reason, as the predicate of a sentence about the trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """What the trials of a sweep say about its objectives so far."""

    manifest: Manifest
    """The sweep's manifest."""
    trials: pl.DataFrame
    """One row per trial: its last attempt."""
    configs: pl.DataFrame
    """One row per config that can be compared, from `usable_trials`, `by_config` and `infer`."""
    points: Points
    """The same configs as points, in the same order."""
    inference: Inference
    """What is known of their true means."""
    on_front: NDArray[np.bool_]
    """Whether a config is on the front."""
    hypervolume: float
    """Volume between the front and the manifest's reference point."""
    picks: tuple[Pick, ...]
    """The configs to look at first."""

    @property
    def knee(self) -> str | None:
        """Return the trial of the knee, if there is one."""
        return next((pick.trial_id for pick in self.picks if pick.label == "knee"), None)


def tradeoff(store: Store) -> Tradeoff:
    """Return the trade-off of a sweep's trials so far.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    manifest = store.manifest
    trials = store.latest_trials().collect()
    usable = usable_trials(trials, manifest.objectives, manifest.limits)
    samples = last_evaluation(store.sample_values().collect())
    configs, inference = infer(
        usable,
        by_config(usable, manifest.objectives),
        manifest.objectives,
        samples,
        folds=bool(manifest.folds),
    )
    means = points(configs, manifest.objectives)
    return Tradeoff(
        manifest=manifest,
        trials=trials,
        configs=configs,
        points=means,
        inference=inference,
        on_front=front_mask(means),
        hypervolume=hypervolume(means, manifest.reference_point),
        picks=picks(means),
    )


def picks(points: Points) -> tuple[Pick, ...]:
    """Return the best point of each objective and, with two objectives, the knee of the front.

    The knee is the point farthest above the line between the two extremes, after scaling the front to 0..1 in
    each objective. A front of fewer than three points, or one with no point above that line, has none. Of
    equal points the first trial by name is picked. A point may be picked more than once.
    """
    rows = front_order(points)
    reasons = {}
    for o in points.objectives:
        reasons[f"best {o.name}"] = f"has the {'highest' if o.maximize else 'lowest'} {o.name}"
    reasons["knee"] = (
        "is the knee: it lies farthest above the line between the extremes of the front "
        f"({_height_above_line(points, rows).max(initial=0.0):.2f} with the front scaled to 0..1)"
    )
    return tuple(
        Pick(label=label, trial_id=points.trial_ids[row], why=reasons[label])
        for label, row in choices(points, rows).items()
    )


def front_order(points: Points) -> NDArray[np.intp]:
    """Return the rows of the front, sorted by the names of their trials."""
    rows = np.flatnonzero(front_mask(points))
    return rows[np.argsort(np.array([points.trial_ids[i] for i in rows]), kind="stable")]


def choices(points: Points, rows: NDArray[np.intp]) -> dict[str, int]:
    """Return the row of each pick by its label.

    Args:
        points: the points.
        rows: their front, from `front_order`.
    """
    if not rows.size:
        return {}
    best = points.gains[rows].argmax(axis=0)
    chosen = {f"best {name}": int(rows[i]) for name, i in zip(points.names, best, strict=True)}
    heights = _height_above_line(points, rows)
    # Rounding may put an extreme slightly above its own line.
    if heights.max() > 1e-9:
        chosen["knee"] = int(rows[heights.argmax()])
    return chosen


def _height_above_line(points: Points, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how far the front's points lie above the line between its extremes; 0 where there is none."""
    gains = points.gains[rows]
    if len(points.names) != 2 or not rows.size or not (spread := np.ptp(gains, axis=0)).all():
        return np.zeros(len(rows))
    # The extremes are at (0, 1) and (1, 0) of the scaled front, so the line between them is x + y = 1.
    scaled = (gains - gains.min(axis=0)) / spread
    return np.asarray((scaled.sum(axis=1) - 1) / math.sqrt(2))


def level_axes(names: tuple[str, ...]) -> tuple[int, int]:
    """Return the objective that gets a bound and the one to optimise: the likelihood, else the last.

    >>> level_axes(("conditional_coherence", "log_likelihood")), level_axes(("log_likelihood", "x"))
    ((0, 1), (1, 0))
    """
    best = names.index("log_likelihood") if "log_likelihood" in names else len(names) - 1
    return int(best == 0 and len(names) > 1), best


def levels(low: float, high: float) -> list[float]:
    """Return three to ten round numbers, evenly spaced from `low` to `high`; none if these are equal.

    >>> levels(0.51, 0.738), levels(-6950, -6610)
    ([0.55, 0.6, 0.65, 0.7], [-6950.0, -6900.0, -6850.0, -6800.0, -6750.0, -6700.0, -6650.0])
    """
    if not high > low:
        return []
    power = math.floor(math.log10((high - low) / 8))
    step = next(m for m in (1, 2, 5, 10) if m * 10.0**power >= (high - low) / 8 * (1 - 1e-9))
    first, last = math.ceil(low / (step * 10.0**power)), math.floor(high / (step * 10.0**power))
    return [round(k * step * 10.0**power, max(0, -power)) for k in range(first, last + 1)]


def best_at_levels(points: Points, rows: NDArray[np.intp], bounds: list[float]) -> NDArray[np.intp]:
    """Return, for each bound on one objective, the row with the best other one; -1 where no row keeps it.

    The objectives are those of `level_axes`. A bound is the worst value accepted.

    Args:
        points: the points, in two objectives or more.
        rows: their front, from `front_order`.
        bounds: the levels.
    """
    bounded, best = level_axes(points.names)
    gains = points.gains[rows]
    kept = gains[:, [bounded]] >= points.objectives[bounded].sign * np.array(bounds)
    worth = np.where(kept, gains[:, [best]], -np.inf)
    return np.where(kept.any(axis=0), rows[worth.argmax(axis=0)], -1)
