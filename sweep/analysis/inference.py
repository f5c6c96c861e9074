"""What the trials of a sweep say about its configs' true means: intervals, and draws from the posterior.

All trials are measured on the same held-out samples with the same noise, so that differences between them are
known far better than each value. The table `sample_values` shows by how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mopoe.reports import Z_95
from sweep.analysis.points import points, replicates
from sweep.analysis.posterior import (
    MOST_FACTORS,
    Array,
    Observed,
    Posterior,
    draw_posterior,
    shared_factors,
)
from sweep.config.objectives import Objective, gains
from sweep.store.layout import INTERVAL, OBJECTIVE, STDERR

DRAWS = 1000
"""Draws from the posterior: the standard error of a probability is about 0.02 at most."""
MOST_CONFIGS = 200
"""Most configs that the posterior is of: those on the fronts of the lowest ranks."""
_HELD_OUT = ("conditional_coherence", "log_likelihood", "log_likelihood_conditional")
"""The objectives whose samples are the first held-out ones; others have their own, such as prior draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What is known of C configs beyond their observed means."""

    rows: NDArray[np.intp]
    """Their rows among all configs."""
    factors_COK: Array
    """Movements of their means when held-out samples are drawn again, together, as gains."""
    posterior: Posterior | None
    """Draws of their true means; None if no config has a second seed, for then seeds are an unknown."""
    unpaired: tuple[str, ...]
    """Objectives without values by sample, whose standard errors count as independent between configs; beyond
    the MOST_FACTORS best configs they do not count."""

    def difference_error(self, one: int, other: int) -> Array:
        """Return the standard errors [O] of the difference between two of all configs; NaN if unknown."""
        at = [int(np.flatnonzero(self.rows == row)[0]) for row in (one, other) if row in self.rows]
        if len(at) < 2:
            return np.full(self.factors_COK.shape[1], np.nan)
        if self.posterior is not None:
            return np.asarray(np.diff(self.posterior.mean_DCO[:, at], axis=1)[:, 0].std(0))
        return np.asarray(np.linalg.norm(self.factors_COK[at[0]] - self.factors_COK[at[1]], axis=1))


def infer(
    usable: pl.DataFrame,
    configs: pl.DataFrame,
    objectives: Sequence[Objective],
    samples: pl.DataFrame | None = None,
    *,
    folds: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[pl.DataFrame, Inference]:
    """Return the configs with the half widths of their 95 % intervals, and what else is known.

    The intervals are over seeds and held-out samples; over samples alone if no config has a second seed. A
    half width is null where a standard error is unknown, and beyond the MOST_CONFIGS best.

    Args:
        usable: the trials, from `usable_trials`.
        configs: the same trials as configs, from `by_config`.
        objectives: the objectives of both.
        samples: rows of the table sample_values, one evaluation per trial.
        folds: whether what is told from each other by seeds are folds, each with held-out samples of its own.
        draws: number of draws from the posterior.
        seed: of their random numbers.
    """
    if not configs.height:
        nulls = (pl.lit(None, pl.Float64).alias(INTERVAL + o.name) for o in objectives)
        nothing = np.zeros((0, len(objectives), 0))
        return configs.with_columns(nulls), Inference(
            rows=np.zeros(0, dtype=np.intp), factors_COK=nothing, posterior=None, unpaired=()
        )
    rows = _candidates(configs, objectives)
    some = configs[rows]
    order = some.select("config_id").with_row_index("_config")
    trials = replicates(usable).join(order, on="config_id").sort("_config", "seed")
    config_T, seeds_C = trials["_config"].to_numpy().astype(np.intp), some["seeds"].to_numpy().astype(np.intp)
    known = {
        o.name: by_sample for o in objectives if (by_sample := _by_sample(trials, samples, o)) is not None
    }
    samples_TON = _together(known, objectives, len(config_T))
    factors_COK, error_CO = shared_factors(samples_TON, config_T, seeds_C)
    means = trials.group_by("_config", maintain_order=True).agg(
        pl.col(STDERR + o.name).mean() for o in objectives
    )
    first = moocore.pareto_rank(points(some, objectives).gains, maximise=True).argsort()[:MOST_FACTORS]
    for at, o in enumerate(objectives):
        if o.name not in known:  # one standard error for all seeds of a config, as they share the samples
            error_CO[:, at] = means[STDERR + o.name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            error_CO[:, at] /= np.sqrt(seeds_C) if folds else 1
            alone_COK = np.zeros((*error_CO.shape, len(first)))
            alone_COK[first, at, np.arange(len(first))] = error_CO[first, at]
            factors_COK = np.concatenate([factors_COK, alone_COK], axis=2)
    width_CO, posterior = Z_95 * error_CO, None
    if seeds_C.max() > 1:
        posterior = draw_posterior(
            _observed(trials, config_T, seeds_C, np.nan_to_num(factors_COK), objectives),
            draws=draws,
            seed=seed,
        )
        noise = np.random.default_rng(seed).standard_normal(posterior.error_DCO.shape)
        width_CO = np.quantile(np.abs(posterior.error_DCO + error_CO * noise), 0.95, axis=0)
    widths = np.full((configs.height, len(objectives)), np.nan)
    widths[rows] = width_CO
    columns = [
        pl.Series(INTERVAL + o.name, width, dtype=pl.Float64).fill_nan(None)
        for o, width in zip(objectives, widths.T, strict=True)
    ]
    unpaired = tuple(o.name for o in objectives if o.name not in known)
    return configs.with_columns(columns), Inference(
        rows=rows, factors_COK=factors_COK, posterior=posterior, unpaired=unpaired
    )


def _candidates(configs: pl.DataFrame, objectives: Sequence[Objective]) -> NDArray[np.intp]:
    """Return the rows of the MOST_CONFIGS configs on the fronts of the lowest ranks."""
    if configs.height <= MOST_CONFIGS:
        return np.arange(configs.height)
    rank = moocore.pareto_rank(points(configs, objectives).gains, maximise=True)
    return np.sort(np.argsort(rank, kind="stable")[:MOST_CONFIGS])


def _by_sample(trials: pl.DataFrame, samples: pl.DataFrame | None, objective: Objective) -> Array | None:
    """Return the trials' values [T, N] on each sample as gains; None unless all have as many, two or more."""
    if samples is None or not trials.height:
        return None
    mine = samples.filter(metric=objective.name).select("trial_id", "values")
    lists = trials.select("trial_id").join(mine, on="trial_id", how="left", maintain_order="left")["values"]
    lengths = lists.list.len()
    if lengths.null_count() or lengths.n_unique() > 1 or lengths[0] < 2:
        return None
    values_TN = np.stack(lists.to_list()).astype(np.float64)
    return objective.sign * values_TN if np.isfinite(values_TN).all() else None


def _together(known: dict[str, Array], objectives: Sequence[Objective], n_trials: int) -> Array:
    """Return the values by sample on one axis, less their means and divided by sqrt(n (n - 1)): [T, O, N].

    The first samples of one objective are the first of another if both are of `_HELD_OUT`.
    """
    shared = max((v.shape[1] for name, v in known.items() if name in _HELD_OUT), default=0)
    alone = sum(v.shape[1] for name, v in known.items() if name not in _HELD_OUT)
    samples_TON = np.zeros((n_trials, len(objectives), shared + alone))
    free = shared
    for at, o in enumerate(objectives):
        if o.name in known:
            n, start = known[o.name].shape[1], 0 if o.name in _HELD_OUT else free
            free += n * (o.name not in _HELD_OUT)
            centred_TN = known[o.name] - known[o.name].mean(1, keepdims=True)
            samples_TON[:, at, start : start + n] = centred_TN / np.sqrt(n * (n - 1))
    return samples_TON


def _observed(
    trials: pl.DataFrame,
    config_T: NDArray[np.intp],
    seeds_C: NDArray[np.intp],
    factors_COK: Array,
    objectives: Sequence[Objective],
) -> Observed:
    y_TO = gains(trials.select(OBJECTIVE + o.name for o in objectives).to_numpy(), objectives)
    mean_CO = np.zeros((len(seeds_C), len(objectives)))
    np.add.at(mean_CO, config_T, y_TO / seeds_C[config_T][:, None])
    rest_TO = y_TO - mean_CO[config_T]
    scatter_COO = np.zeros((*mean_CO.shape, len(objectives)))
    np.add.at(scatter_COO, config_T, rest_TO[:, :, None] * rest_TO[:, None, :])
    return Observed(mean_CO=mean_CO, scatter_COO=scatter_COO, seeds_C=seeds_C, factors_COK=factors_COK)
