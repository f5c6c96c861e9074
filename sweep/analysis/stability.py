"""How sure the front and its picks are: the trade-off drawn again and again from its own uncertainty.

Axes: N config, O objective.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.picks import best_at_levels, choices, front_order, level_axes, levels
from sweep.analysis.points import Points, points, replicates
from sweep.store.records import Objective
from sweep.store.schema import OBJECTIVE, STDERR

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
    """Columns c (a round bound between the ends of the front, on the first objective of `level_axes`), row
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
    sign = 1.0 if now.maximize[bounded] else -1.0
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
        yield mean_NO + error_NO * random.standard_normal(error_NO.shape)


def _bounds(now: Points, rows: NDArray[np.intp]) -> list[float]:
    if len(now.names) < 2 or not rows.size:
        return []
    values = now.values[rows, level_axes(now.names)[0]]
    return levels(float(values.min()), float(values.max()))
