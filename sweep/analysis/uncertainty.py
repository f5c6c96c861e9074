"""Uncertainty of a front: probabilities of front and picks, and attainment over seeds."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import moocore
import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.points import Points, replicates
from sweep.analysis.posterior import Array
from sweep.analysis.tradeoff import Tradeoff, best_at_levels, choices, front_order, level_axes, levels
from sweep.config.objectives import Objective, gains
from sweep.store.layout import OBJECTIVE

FEW_SEEDS = 3
"""With fewer seeds a probability holds only roughly, as a rare bad seed cannot show: see `has_few_seeds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How probable it is that the configs on the front, and its picks, truly are the best."""

    draws: int
    """Draws from the posterior; 0 if there is none, and the probabilities are then NaN."""
    on_front: NDArray[np.float64]
    """Probability that a config is on the front of the true means, [N]."""
    few_seeds: NDArray[np.bool_]
    """Whether a config's probabilities hold only roughly, [N]; see `has_few_seeds`."""
    agree: Mapping[str, float]
    """Probability that the same config is picked from the true means, by the pick's label."""
    levels: pl.DataFrame
    """Columns c (round bounds between the ends of the front, from easy to hard, on the first objective of
    `level_axes`), row (of the config with the best second one that keeps it), agree and keeps (probabilities
    that the same config is chosen from the true means, and that this config keeps the bound). No rows with a
    single objective."""


def stability(trade: Tradeoff) -> Stability:
    """Return how probable a sweep's front, picks and choices are, by the posterior of the true means."""
    now, posterior = trade.points, trade.inference.posterior
    rows = front_order(now)
    chosen, bounds = choices(now, rows), _bounds(now, rows)
    at_level = best_at_levels(now, rows, bounds) if bounds else np.zeros(0, dtype=np.intp)
    counts, agree = np.zeros(len(now.trial_ids)), Counter[str]()
    level_agree, level_keeps = np.zeros(len(bounds)), np.zeros(len(bounds))
    bounded, some = level_axes(now.names)[0], trade.inference.rows
    sign, place = now.objectives[bounded].sign, {int(row): at for at, row in enumerate(some)}
    drawn_DCO = np.zeros((0, 0, 0)) if posterior is None else gains(posterior.mean_DCO, now.objectives)
    for values_CO in drawn_DCO:
        drawn = replace(now, trial_ids=tuple(now.trial_ids[i] for i in some), values=values_CO)
        front = front_order(drawn)
        counts[some[front]] += 1
        agree.update(label for label, at in choices(drawn, front).items() if some[at] == chosen.get(label))
        if bounds:
            best = best_at_levels(drawn, front, bounds)
            level_agree += np.where(best < 0, -1, some[best]) == at_level
            own = values_CO[[place[int(row)] for row in at_level], bounded]
            level_keeps += sign * own >= sign * np.array(bounds)
    share = 1 / len(drawn_DCO) if len(drawn_DCO) else math.nan
    return Stability(
        draws=len(drawn_DCO),
        on_front=counts * share,
        few_seeds=has_few_seeds(trade.configs["seeds"].to_numpy()),
        agree={label: agree[label] * share for label in chosen},
        levels=pl.DataFrame(
            {"c": bounds, "row": at_level, "agree": level_agree * share, "keeps": level_keeps * share}
        ),
    )


def has_few_seeds(seeds_C: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which configs' probabilities hold only roughly, and are told in classes, by their seeds.

    These are the configs with fewer than FEW_SEEDS seeds, and all where that is most of them: too few others
    then tell how much spreads between seeds differ.

    >>> has_few_seeds(np.array([3, 3, 1])), has_few_seeds(np.array([3, 1, 1]))
    (array([False, False,  True]), array([ True,  True,  True]))
    """
    few_C = seeds_C < FEW_SEEDS
    return np.asarray(few_C | (2 * few_C.sum() > len(few_C)))


def coarse(probability: float, *, few_seeds: bool) -> str:
    """Return a probability for people; where it holds only roughly (`has_few_seeds`) as one of three classes.

    In simulations, up to a fifth of the claims that few seeds gave less than 0.1 were true.

    >>> coarse(0.934, few_seeds=False), coarse(0.934, few_seeds=True), coarse(0.5, few_seeds=True)
    ('0.93', 'above 0.8', 'undecided')
    """
    middle = "undecided" if few_seeds else f"{probability:.2f}"
    low, high = (0.1, 0.9) if few_seeds else (0.01, 0.99)
    below, above = ("below 0.2", "above 0.8") if few_seeds else ("below 0.01", "above 0.99")
    return below if probability < low else above if probability > high else middle


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
