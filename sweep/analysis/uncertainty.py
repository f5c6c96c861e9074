"""Uncertainty of a front: bootstraps of front and picks, and attainment over seeds."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import moocore
import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.points import Points, points, replicates
from sweep.analysis.tradeoff import best_at_levels, choices, front_order, level_axes, levels
from sweep.config.objectives import Objective, gains
from sweep.store.layout import OBJECTIVE, STDERR

Array = NDArray[np.float64]

DRAWS = 1000
"""Bootstraps by default: the standard error of a share is then at most 0.016."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How often the front and its picks recur in bootstraps."""

    draws: int
    """Number of bootstraps; 0 if a standard error is unknown, and the shares are then NaN."""
    unknown: int
    """Number of configs with a single seed and an unknown standard error."""
    on_front: NDArray[np.float64]
    """Share of bootstraps in which a config is on the front, [N]."""
    agree: Mapping[str, float]
    """Share of bootstraps in which the same config is picked, by the pick's label."""
    levels: pl.DataFrame
    """Columns c (round bounds between the ends of the front, from easy to hard, on the first objective of
    `level_axes`), row
    (of the config with the best second one that keeps it), agree and keeps (shares of bootstraps in which the
    same config is chosen, and in which this config keeps the bound). No rows with a single objective."""


def stability(
    usable: pl.DataFrame,
    configs: pl.DataFrame,
    objectives: Sequence[Objective],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Stability:
    """Return the shares of bootstraps that agree with the observed front and picks.

    Args:
        usable: the trials, from `usable_trials`.
        configs: the same trials as configs, from `by_config`.
        objectives: the objectives of both.
        draws: number of bootstraps.
        seed: of their random numbers.
    """
    now = points(configs, objectives)
    errors = [pl.col(STDERR + o.name).is_null() | pl.col(STDERR + o.name).is_nan() for o in objectives]
    # Unknown is not zero: with an unknown standard error no share is known.
    unknown = configs.filter(pl.any_horizontal(errors), seeds=1).height
    rows = front_order(now)
    chosen, bounds = choices(now, rows), _bounds(now, rows)
    at_level = best_at_levels(now, rows, bounds) if bounds else np.zeros(0, dtype=np.intp)
    on_front, agree = np.zeros(len(now.trial_ids)), Counter[str]()
    level_agree, level_keeps = np.zeros(len(bounds)), np.zeros(len(bounds))
    draws = 0 if unknown or not rows.size else draws
    bounded = level_axes(now.names)[0]
    sign = now.objectives[bounded].sign
    for values_NO in resamples(usable, configs, objectives, draws=draws, seed=seed):
        drawn = replace(now, values=values_NO)
        front = front_order(drawn)
        on_front[front] += 1
        agree.update(label for label, row in choices(drawn, front).items() if row == chosen.get(label))
        if bounds:
            level_agree += best_at_levels(drawn, front, bounds) == at_level
            level_keeps += sign * values_NO[at_level, bounded] >= sign * np.array(bounds)
    share = 1 / draws if draws else math.nan
    return Stability(
        draws=draws,
        unknown=unknown,
        on_front=on_front * share,
        agree={label: agree[label] * share for label in chosen},
        levels=pl.DataFrame(
            {"c": bounds, "row": at_level, "agree": level_agree * share, "keeps": level_keeps * share}
        ),
    )


def resamples(
    usable: pl.DataFrame, configs: pl.DataFrame, objectives: Sequence[Objective], *, draws: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the configs' resampled values [N, O], once per bootstrap.

    A config of several seeds becomes the mean over as many of its seeds, drawn with replacement and with all
    objectives of a seed together. A config of one seed gets normal noise of its standard error over held-out
    samples, independent between objectives. With n seeds the bootstrap's variance is (n - 1) / n of the
    unbiased one, so that few seeds look more certain than they are.
    """
    random = np.random.default_rng(seed)
    numbered = configs.select("config_id").with_row_index("_row")
    mine = replicates(usable).join(numbered, on="config_id").sort("_row", "seed")
    values = mine.select(OBJECTIVE + o.name for o in objectives).to_numpy()
    config, seeds_N = mine["_row"].to_numpy(), configs["seeds"].to_numpy().astype(np.intp)
    first_N = np.cumsum(seeds_N) - seeds_N
    errors = configs.select(STDERR + o.name for o in objectives)
    error_NO = np.where(seeds_N[:, None] == 1, errors.to_numpy(), 0.0)
    for _ in range(draws):
        drawn = first_N[config] + (random.random(len(config)) * seeds_N[config]).astype(np.intp)
        mean_NO = np.add.reduceat(values[drawn], first_N) / seeds_N[:, None]
        # Drawn as gains, so that the direction of an objective decides nothing.
        yield mean_NO + gains(error_NO * random.standard_normal(error_NO.shape), objectives)


def _bounds(now: Points, rows: NDArray[np.intp]) -> list[float]:
    if len(now.names) < 2 or not rows.size:
        return []
    bounded = level_axes(now.names)[0]
    gain, sign = now.gains[rows, bounded], now.objectives[bounded].sign
    return [sign * level for level in levels(float(gain.min()), float(gain.max()))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Difference between the attainment of two groups of runs, in two objectives."""

    x: Array
    """Goals in the first objective as gains, from easy to hard, [X]."""
    y: Array
    """Goals in the second objective as gains, from easy to hard, [Y]."""
    share: Array
    """Share of the left runs that attain a goal minus that of the right, -1..1, [X, Y]; it also holds for all
    goals between this one and the next easier one of the grid."""


def seed_sets(usable: pl.DataFrame, objectives: Sequence[Objective]) -> list[Array]:
    """Return the gains [P, O] of the replicated configs by seed, with the same configs for every seed.

    It includes the seeds that at least half of the configs with several seeds have, and the configs that have
    all of these.
    """
    rows = replicates(usable).filter(pl.len().over("config_id") > 1)
    rows = rows.filter(pl.len().over("seed") * 2 >= pl.col("config_id").n_unique())
    rows = rows.filter(pl.len().over("config_id") == pl.col("seed").n_unique()).sort("seed", "config_id")
    wanted = [OBJECTIVE + o.name for o in objectives]
    groups = rows.partition_by("seed", maintain_order=True)
    return [gains(group.select(wanted).to_numpy(), objectives) for group in groups]


def attainment_surface(sets: Sequence[Array], share: float) -> Array:
    """Return the hardest goals [P, O] that at least this share of the runs attains, sorted; by moocore.

    Args:
        sets: the gains [P, O] of each run, in two or three objectives.
        share: above 0 up to 1; with 1 every run attains the goals, with 1 / len(sets) at least one does.

    >>> one, other = np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])
    >>> attainment_surface([one, other], 1.0)
    array([[1., 1.]])
    """
    numbers = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    # moocore minimises.
    surface = -moocore.eaf(-np.concatenate(sets), numbers, percentiles=[100 * share])[:, :-1]
    return np.asarray(surface[np.lexsort(surface.T[::-1])], dtype=np.float64)


def attainment_difference(left: Sequence[Array], right: Sequence[Array]) -> Difference:
    """Return the difference between the attainment of two groups of runs, in two objectives.

    The groups may differ in size, which moocore's `eafdiff` does not support.

    Args:
        left: the gains [P, 2] of each run of one group, for instance from `seed_sets`.
        right: those of the other group.

    >>> attainment_difference([np.array([[2.0, 1.0]])], [np.array([[1.0, 2.0]])]).share
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    # A run attains what its front attains, and the grid of the fronts is small.
    fronts = [[moocore.filter_dominated(run, maximise=True) for run in group] for group in (left, right)]
    pooled = np.concatenate([front for group in fronts for front in group])
    x, y = np.unique(pooled[:, 0]), np.unique(pooled[:, 1])
    shares = [np.mean([_attained(front, x, y) for front in group], axis=0) for group in fronts]
    return Difference(x=x, y=y, share=shares[0] - shares[1])


def _attained(gains_PO: Array, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return which goals [X, Y] a run attains."""
    reach_X = np.where(gains_PO[:, 0] >= x[:, None], gains_PO[:, 1], -np.inf).max(axis=1)
    return np.asarray(reach_X[:, None] >= y)
