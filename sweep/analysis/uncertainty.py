"""How sure a front is: bootstraps of front and picks, and what the seeds attain."""

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

DRAWS = 1000
"""Bootstraps by default: a share of them is then known to within 0.03."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """What becomes of the front and of its picks in bootstraps."""

    draws: int
    """Number of bootstraps; 0 if something is unknown, and the shares are then NaN."""
    unknown: int
    """Configs of a single seed of which a standard error is not known."""
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
    """Return the shares of bootstraps that agree with the front as it is.

    Args:
        usable: the trials, from `usable_trials`.
        configs: the same trials as configs, from `by_config`.
        objectives: the objectives of both.
        draws: number of bootstraps.
        seed: fixes them.
    """
    now = points(configs, objectives)
    errors = [pl.col(STDERR + o.name).is_null() | pl.col(STDERR + o.name).is_nan() for o in objectives]
    # Unknown is not zero: with it nothing can be said of how sure anything is.
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
    """Give the configs' values [N, O] as they might have been, once per bootstrap.

    A config of several seeds is the mean over as many seeds drawn from its own with replacement, the
    objectives of a seed together. A config of one seed moves by its standard error over held-out samples,
    normally and each objective by itself. Of n seeds the bootstrap's
    variance is (n - 1) / n of the unbiased one, so that few seeds look surer than they are.
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


Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where one group of runs attains more than another, in two objectives."""

    x: Array
    """Goals in the first objective as gains, from easy to hard, [X]."""
    y: Array
    """Goals in the second objective as gains, from easy to hard, [Y]."""
    share: Array
    """Share of the left runs that attain a goal less that of the right, -1..1, [X, Y]; it holds for all goals
    that are harder than the grid's next easier one."""


def seed_sets(usable: pl.DataFrame, objectives: Sequence[Objective]) -> list[Array]:
    """Return the gains [P, O] of the replicated configs once per seed, by seed; the same configs for each.

    Counted are seeds that at least half of the configs with several have, and configs that have all of those.
    """
    rows = replicates(usable).filter(pl.len().over("config_id") > 1)
    rows = rows.filter(pl.len().over("seed") * 2 >= pl.col("config_id").n_unique())
    rows = rows.filter(pl.len().over("config_id") == pl.col("seed").n_unique()).sort("seed", "config_id")
    wanted = [OBJECTIVE + o.name for o in objectives]
    groups = rows.partition_by("seed", maintain_order=True)
    return [gains(group.select(wanted).to_numpy(), objectives) for group in groups]


def attainment_surface(sets: Sequence[Array], share: float) -> Array:
    """Return the hardest goals [P, O] that at least this share of the runs attains, by moocore; sorted.

    Args:
        sets: the gains [P, O] of each run, in two or three objectives.
        share: above 0 up to 1: 1 is what every run attains, 1 / len(sets) what at least one does.

    >>> one, other = np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])
    >>> attainment_surface([one, other], 1.0)
    array([[1., 1.]])
    """
    numbers = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    # moocore minimises.
    surface = -moocore.eaf(-np.concatenate(sets), numbers, percentiles=[100 * share])[:, :-1]
    return np.asarray(surface[np.lexsort(surface.T[::-1])], dtype=np.float64)


def attainment_difference(left: Sequence[Array], right: Sequence[Array]) -> Difference:
    """Return where the runs on the left attain more than those on the right, in two objectives.

    The groups may differ in size, which moocore's `eafdiff` does not allow for.

    Args:
        left: the gains [P, 2] of each run: of a sweep, those of `seed_sets`, or its configs as one run.
        right: those of the other group.

    >>> attainment_difference([np.array([[2.0, 1.0]])], [np.array([[1.0, 2.0]])]).share
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    # What a run attains is what its front does, and a grid of fronts is small.
    fronts = [[moocore.filter_dominated(run, maximise=True) for run in group] for group in (left, right)]
    pooled = np.concatenate([front for group in fronts for front in group])
    x, y = np.unique(pooled[:, 0]), np.unique(pooled[:, 1])
    shares = [np.mean([_attained(front, x, y) for front in group], axis=0) for group in fronts]
    return Difference(x=x, y=y, share=shares[0] - shares[1])


def _attained(gains_PO: Array, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return which goals [X, Y] a run attains."""
    reach_X = np.where(gains_PO[:, 0] >= x[:, None], gains_PO[:, 1], -np.inf).max(axis=1)
    return np.asarray(reach_X[:, None] >= y)
