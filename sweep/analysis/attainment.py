"""What share of repeated runs attains a goal: over the seeds of a sweep, and between two sweeps.

A run attains a goal if one of its points is at least as good in every objective (Fonseca and Fleming 1996).
Axes: P point, O objective, X and Y goals along the first and the second objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.points import replicates
from sweep.store.records import Objective
from sweep.store.schema import OBJECTIVE

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where one group of runs attains more than another, in two objectives."""

    x: Array
    """Goals in the first objective, from easy to hard, [X]."""
    y: Array
    """Goals in the second objective, from easy to hard, [Y]."""
    share: Array
    """Share of the left runs that attain a goal less that of the right, -1..1, [X, Y]; it holds for all goals
    that are harder than the grid's next easier one."""


def seed_sets(usable: pl.DataFrame, objectives: Sequence[Objective]) -> list[Array]:
    """Return the values [P, O] of the replicated configs once per seed, by seed; the same configs for each.

    Counted are seeds that at least half of the configs with several have, and configs that have all of those.
    """
    rows = replicates(usable).filter(pl.len().over("config_id") > 1)
    rows = rows.filter(pl.len().over("seed") * 2 >= pl.col("config_id").n_unique())
    rows = rows.filter(pl.len().over("config_id") == pl.col("seed").n_unique()).sort("seed", "config_id")
    wanted = [OBJECTIVE + o.name for o in objectives]
    return [group.select(wanted).to_numpy() for group in rows.partition_by("seed", maintain_order=True)]


def attainment_surface(sets: Sequence[Array], maximize: Sequence[bool], share: float) -> Array:
    """Return the hardest goals [P, O] that at least this share of the runs attains, by moocore; sorted.

    Args:
        sets: the points [P, O] of each run, in two or three objectives.
        maximize: whether larger is better, for each objective.
        share: above 0 up to 1: 1 is what every run attains, 1 / len(sets) what at least one does.

    >>> one, other = np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])
    >>> attainment_surface([one, other], (True, True), 1.0)
    array([[1., 1.]])
    """
    sign = np.where(maximize, -1.0, 1.0)
    numbers = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    found = moocore.eaf(np.concatenate(sets) * sign, numbers, percentiles=[100 * share])[:, :-1] * sign
    return np.asarray(found[np.lexsort(found.T[::-1])], dtype=np.float64)


def attainment_difference(
    left: Sequence[Array], right: Sequence[Array], maximize: Sequence[bool]
) -> Difference:
    """Return where the runs on the left attain more than those on the right, in two objectives.

    The groups may differ in size, which moocore's `eafdiff` does not allow for.

    Args:
        left: the points [P, 2] of each run: of a sweep, those of `seed_sets`, or its configs as one run.
        right: those of the other group.
        maximize: whether larger is better, for each objective.

    >>> found = attainment_difference([np.array([[2.0, 1.0]])], [np.array([[1.0, 2.0]])], (True, True))
    >>> found.share
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    sign = np.where(maximize, 1.0, -1.0)
    # What a run attains is what its front does, and a grid of fronts is small.
    gains = [[moocore.filter_dominated(p * sign, maximise=True) for p in group] for group in (left, right)]
    pooled = np.concatenate([points for group in gains for points in group])
    x, y = np.unique(pooled[:, 0]), np.unique(pooled[:, 1])
    shares = [np.mean([_attained(points, x, y) for points in group], axis=0) for group in gains]
    return Difference(x=x * sign[0], y=y * sign[1], share=shares[0] - shares[1])


def _attained(gains_PO: Array, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return whether goals [X, Y] are attained by points that are to be maximised."""
    reach_X = np.where(gains_PO[:, 0] >= x[:, None], gains_PO[:, 1], -np.inf).max(axis=1)
    return np.asarray(reach_X[:, None] >= y)
