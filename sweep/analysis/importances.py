"""Importance of the searched settings, for each objective and for being near the front.

PED-ANOVA (Watanabe, Bansal and Hutter 2023) compares the distribution of a setting's values in the best
configs with that in all configs. The values are those of Optuna's evaluator, computed for many permutations:
in a sweep of noise, too, some setting comes first, and they tell by how much.

Axes: P permutation (the first leaves the configs as they are), B best config, G cell of a setting's grid.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.points import Points
from sweep.store.layout import PARAMETER
from sweep.store.records import searched_by_logarithm

FEWEST = 10
"""Fewest configs for importances."""

NEAR_FRONT = "near the front"
"""The target besides the objectives: the rank of the config's front."""

_TOP, _SHARE = 5, 10
"""The best configs are one in ten, and at least five."""
_CELLS, _MOST_CONFIGS = 50, 10_000
_PERMUTATIONS, _LEVEL = 50, 0.05
"""Permutations for each setting and target, so that one in twenty of all is more than two of each."""
_SCHEMA: dict[str, type[pl.DataType]] = {"target": pl.String, "setting": pl.String}
_SCHEMA |= dict.fromkeys(("importance", "chance", "needed"), pl.Float64)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Grid:
    """A setting's values on a grid."""

    cells: NDArray[np.int64]
    """The cell of each config's value, or `size` where the config has none."""
    size: int
    """The number of cells."""
    ordered: bool
    """Whether neighbouring cells are alike, as those of numbers are."""


def importances(configs: pl.DataFrame, points: Points, search_space: Mapping[str, Any]) -> pl.DataFrame:
    """Return how important each searched setting is for being among the best 10 % (at least 5) of configs.

    If no setting matters, an importance anywhere exceeds its `chance` in at most 5 % of sweeps: these levels
    are those of the smallest p-value among all settings and targets (Westfall and Young 1993). Permutations
    of the configs leave settings with one another and objectives with one another.

    Args:
        configs: one row per config, with its settings; of more than 10,000 a random sample is used.
        points: the same configs as points.
        search_space: the section of the sweep's file, for the scale of a setting.

    Returns:
        Columns target (an objective, or NEAR_FRONT), setting, importance (0..1, summing to 1 over the
        settings), chance (the level to exceed, 0..1), and needed: about how many configs it takes until an
        importance of this size exceeds chance, whose level falls as one over the best configs. There are no
        rows with fewer than ten configs, nor of a target whose best tenth does not differ from the rest.
    """
    random = np.random.default_rng(0)
    sample = np.sort(random.permutation(configs.height)[:_MOST_CONFIGS])
    given = configs[sample].select(pl.col(f"^{PARAMETER}.*$").name.map(lambda n: n.removeprefix(PARAMETER)))
    varying = [c for c in given if c.drop_nulls().n_unique() > 1]
    if configs.height < FEWEST or not varying:
        return pl.DataFrame(schema=_SCHEMA)
    gains = points.gains[sample]
    worths = dict(zip(points.names, gains.T, strict=True)) if len(points.names) > 1 else {}
    worths |= {NEAR_FRONT: -moocore.pareto_rank(gains, maximise=True).astype(float)}
    count = max(_TOP, math.ceil(len(sample) / _SHARE))
    best = {target: np.flatnonzero(worth >= np.sort(worth)[-count]) for target, worth in worths.items()}
    best = {target: rows for target, rows in best.items() if len(rows) < len(sample)}
    if not best:
        return pl.DataFrame(schema=_SCHEMA)
    permutations = _PERMUTATIONS * len(best) * len(varying)
    orders = np.array([random.permutation(len(sample)) for _ in range(permutations)])
    orders[0] = np.arange(len(sample))
    grids = [_grid(column, search_space.get(column.name, {})) for column in varying]
    found = np.array([[_divergences(grid, orders[:, rows]) for grid in grids] for rows in best.values()])
    # What is equal but for the order of summation is a tie.
    found = found.round(9)
    ranks = [np.searchsorted(np.sort(-row), -row, side="right") for row in found.reshape(-1, found.shape[2])]
    smallest = np.sort(np.min(ranks, axis=0))
    levels = np.sort(found, axis=2)[:, :, -int(smallest[int(_LEVEL * permutations)])]
    table = []
    for target, values, exceeded in zip(best, found[:, :, 0], levels, strict=True):
        total = values.sum() or 1.0
        table += [
            (target, column.name, x / total, min(1.0, level / total), _SHARE * count * level / max(x, 1e-9))
            for column, x, level in zip(varying, values, exceeded, strict=True)
        ]
    return pl.DataFrame(table, schema=_SCHEMA, orient="row")


def _divergences(grid: _Grid, best_PB: NDArray[np.int64]) -> Array:
    """Return how far the values of these best configs are from those of all [P], Optuna's measure."""
    start_P1 = np.arange(len(best_PB))[:, None] * (grid.size + 1)
    flat = (start_P1 + grid.cells[best_PB]).ravel()
    best_PG = np.bincount(flat, minlength=len(best_PB) * (grid.size + 1)).reshape(len(best_PB), -1)[:, :-1]
    all_1G = np.bincount(grid.cells, minlength=grid.size + 1)[None, :-1]
    set_P, set_all = best_PG.sum(1) / best_PB.shape[1], all_1G.sum() / len(grid.cells)
    best, every = (_density(counts, ordered=grid.ordered) + 1e-12 for counts in (best_PG, all_1G))
    divergences_P: Array = set_P**2 / set_all * ((best / every - 1) ** 2 * every).sum(1)
    return divergences_P


def _density(counts_NG: NDArray[np.int64], *, ordered: bool) -> Array:
    """Return Optuna's Parzen estimates [N, G]: Scott's bandwidth, and a prior with the weight of a value."""
    total, size = counts_NG.sum(1, keepdims=True), counts_NG.shape[1]
    densities_NG: Array
    if not ordered:
        prior = 1 / (1 + (counts_NG > 0).sum(1, keepdims=True))
        densities_NG = ((counts_NG + total * prior) / (1 + size * prior) + 1 / size) / (total + 1)
        return densities_NG
    from scipy.special import ndtr

    cell_G, sums_NG = np.arange(size), counts_NG.cumsum(1)
    mean = counts_NG @ cell_G[:, None] / np.maximum(total, 1)
    spread = np.sqrt((counts_NG * (cell_G - mean) ** 2).sum(1) / np.maximum(total[:, 0] - 1, 1))
    quarter, three = (sums_NG >= np.maximum(total // 4, 1)).argmax(1), (sums_NG > total * 3 // 4).argmax(1)
    scott = 1.059 * np.minimum((three - quarter) / 1.34, spread) * np.maximum(total[:, 0], 1) ** -0.2
    # The narrowest kernel has 90 % of its mass in its own cell. A kernel is cut at the ends of the grid.
    width = np.maximum(scott, 0.5 / 1.64)[:, None]
    below = ndtr((np.arange(2 * size) - size + 0.5) / width)
    inside = (below[:, size:] - below[:, :size])[:, ::-1]
    # A convolution by a Fourier transform; what wraps around meets only cells that are cut off. To import
    # scipy.signal takes longer than all this.
    kernels_NF, values_NF = (np.fft.rfft(each, 2 * size) for each in (np.diff(below), counts_NG / inside))
    smooth = np.fft.irfft(kernels_NF * values_NF, 2 * size)[:, size - 1 : 2 * size - 1]
    wide = np.diff(ndtr((np.arange(size + 1) - size / 2) / size))
    densities_NG = (smooth + wide / wide.sum()) / (total + 1)
    return densities_NG


def _grid(values: pl.Series, written: Mapping[str, Any]) -> _Grid:
    """Return a setting's values on Optuna's grid, on the scale on which they were searched."""
    present = values.drop_nulls()
    if not values.dtype.is_numeric():
        size, cells = present.n_unique(), values.rank("dense") - 1
        return _Grid(cells.fill_null(size).to_numpy().astype(int), size, ordered=False)
    x, size = values.cast(pl.Float64).to_numpy(), _CELLS
    low, high = np.nanmin(x), np.nanmax(x)
    # A single trial may lie outside the range that was searched.
    log = low > 0 and searched_by_logarithm(written)
    if values.dtype.is_integer():
        size = min(size, math.ceil(math.log2(high - low + 1)) + 1 if log else int(high - low) + 1)
    x, low, high = (np.log(each) if log else each for each in (x, low, high))
    steps = np.ceil((x - low) / (high - low) * (size - 1) - 0.5)
    return _Grid(np.where(np.isnan(steps), size, steps).astype(int), size, ordered=True)
