"""Points in objective space: trials at full budget, and configs as means over all of their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.config.constraints import Limit
from sweep.config.objectives import Objective, gains, names
from sweep.store.layout import OBJECTIVE, STDERR
from sweep.store.records import measured_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """N trials or configs in the space of O objectives."""

    trial_ids: tuple[str, ...]
    """The trial of each point; for a config, its replicate of the lowest seed."""
    values: NDArray[np.float64]
    """Finite objective values as measured, [N, O]."""
    objectives: tuple[Objective, ...]
    """The O objectives."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the O objectives."""
        return names(self.objectives)

    @property
    def gains(self) -> NDArray[np.float64]:
        """Return the values with the sign that makes larger better in every column, [N, O]."""
        return gains(self.values, self.objectives)


FULL_BUDGET = ("completed", "infeasible")
"""The statuses of trials that reached their full budget with finite objectives."""


def usable_trials(
    trials: pl.DataFrame, objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> pl.DataFrame:
    """Return the trials at full budget of the configs that can be compared, with a column per objective.

    A config is judged whole, for a mean over the seeds that did well is too good: it counts if none of its
    seeds was stopped early or failed, and if the means over its seeds keep the limits. Trials that still run
    are not waited for. A standard error that was not measured is null.

    Args:
        trials: one row per trial.
        objectives: what is compared.
        limits: the constraints.
    """
    wanted = [prefix + o.name for o in objectives for prefix in (OBJECTIVE, STDERR)]
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in wanted if name not in trials.columns]
    full = pl.col("status").is_in(FULL_BUDGET)
    for o in objectives:
        full &= pl.col(OBJECTIVE + o.name).is_finite().fill_null(value=False)
    rows = trials.with_columns(absent).with_columns(_full=full)
    seed_is_full = pl.col("_full").any().over("config_id", "seed") | (pl.col("status") == "running")
    rows = rows.filter(seed_is_full.all().over("config_id")).filter("_full").drop("_full")
    if not limits:
        return rows
    columns = [c for c in rows.columns if c in ("n_parameters", "seconds") or c.startswith(OBJECTIVE)]
    means = replicates(rows).group_by("config_id").agg(pl.col(columns).mean())
    kept = [row["config_id"] for row in means.iter_rows(named=True) if _keeps(row, limits)]
    return rows.filter(pl.col("config_id").is_in(kept))


def _keeps(row: Mapping[str, Any], limits: Sequence[Limit]) -> bool:
    """Return whether the means of a config's trials keep all limits."""
    means = {name.removeprefix(OBJECTIVE): v for name, v in row.items() if name.startswith(OBJECTIVE)}
    known = {name: value for name, value in means.items() if value is not None}
    measured = measured_values(known, row.get("n_parameters"), row.get("seconds"))
    return all(limit.excess(measured) <= 0 for limit in limits)


def last_evaluation(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of each trial's last attempt and, in it, last evaluated epoch."""
    last = pl.col("attempt") == pl.col("attempt").max().over("trial_id")
    return frame.filter(last).filter(pl.col("epoch") == pl.col("epoch").max().over("trial_id"))


def replicates(usable: pl.DataFrame) -> pl.DataFrame:
    """Return the trials of `usable_trials`, sorted by seed, with each config and seed once.

    A config that was suggested twice has the same values with the same seed.
    """
    return usable.sort("seed", "trial_id").unique(["config_id", "seed"], keep="first", maintain_order=True)


def by_config(usable: pl.DataFrame, objectives: Sequence[Objective]) -> pl.DataFrame:
    """Return one row per config: its replicate of the lowest seed, with objectives averaged over seeds.

    The column `seeds` counts the replicates. The standard error is over seeds if there are several, else the
    single trial's own over held-out samples.

    Args:
        usable: the trials to group, from `usable_trials`.
        objectives: the quantities to average.
    """
    many = pl.len() > 1
    means = [pl.col(OBJECTIVE + o.name).mean() for o in objectives]
    errors = [
        pl.when(many)
        .then(pl.col(OBJECTIVE + o.name).std() / pl.len().sqrt())
        .otherwise(pl.col(STDERR + o.name).first())
        .alias(STDERR + o.name)
        for o in objectives
    ]
    replaced = {prefix + o.name for o in objectives for prefix in (OBJECTIVE, STDERR)}
    rest = [pl.col(c).first() for c in usable.columns if c not in replaced | {"config_id"}]
    grouped = replicates(usable).group_by("config_id", maintain_order=True)
    return grouped.agg(*rest, pl.len().alias("seeds"), *means, *errors)


def over_replicates(rows: pl.DataFrame, usable: pl.DataFrame, parts: Sequence[str]) -> pl.DataFrame:
    """Return measurements of trials as means over each config's replicates, under its first trial.

    The standard error over held-out samples is at most the mean of the replicates' own, if they share these.

    Args:
        rows: rows of a table with columns value and stderr, one evaluation per trial.
        usable: the trials to group, from `usable_trials`; rows of others are left out.
        parts: the columns that tell the rows of a trial apart.
    """
    first = replicates(usable).select("trial_id", lead=pl.col("trial_id").first().over("config_id"))
    known = first.join(rows, on="trial_id", maintain_order="left_right")
    of_config = known.group_by("lead", *parts, maintain_order=True)
    same = pl.exclude("lead", "trial_id", "value", "stderr", *parts).drop_nulls().first()
    return of_config.agg(pl.col("value", "stderr").mean(), same).rename({"lead": "trial_id"})


def worst_first(frame: pl.DataFrame, objective: Objective) -> pl.DataFrame:
    """Return rows of the trials table or of `by_config` from the worst to the best in an objective."""
    return frame.sort(OBJECTIVE + objective.name, descending=not objective.maximize, maintain_order=True)


def points(frame: pl.DataFrame, objectives: Sequence[Objective]) -> Points:
    """Return the rows of `usable_trials` or `by_config` as points."""
    values = frame.select(OBJECTIVE + o.name for o in objectives).to_numpy().astype(np.float64)
    return Points(
        trial_ids=tuple(frame["trial_id"]),
        values=values.reshape(-1, len(objectives)),
        objectives=tuple(objectives),
    )
