"""Points in objective space: completed trials, and configs as means over their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.config.objectives import Objective, gains, names
from sweep.store.layout import OBJECTIVE, STDERR


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


def usable_trials(trials: pl.DataFrame, objectives: Sequence[Objective]) -> pl.DataFrame:
    """Return the completed trials whose objectives are all finite, with a column for every objective.

    A standard error that was not measured is null.
    """
    wanted = [prefix + o.name for o in objectives for prefix in (OBJECTIVE, STDERR)]
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in wanted if name not in trials.columns]
    finite = [pl.col(OBJECTIVE + o.name).is_finite() for o in objectives]
    return trials.with_columns(absent).filter(pl.col("status") == "completed", *finite)


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
