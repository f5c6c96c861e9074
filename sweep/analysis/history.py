"""How the hypervolume grew: with every trial that ended, over wall time and over the epochs spent."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sweep.analysis.fronts import hypervolume
from sweep.analysis.points import by_config, points
from sweep.store.records import Objective
from sweep.store.schema import OBJECTIVE, STDERR

_MOST_STEPS = 200
"""The hypervolume is found at so many trials at most, evenly spaced with the last among them."""


def hypervolume_history(
    trials: pl.DataFrame,
    usable: pl.DataFrame,
    epochs: pl.DataFrame,
    objectives: Sequence[Objective],
    reference: Mapping[str, float],
) -> pl.DataFrame:
    """Return the hypervolume of the configs' means over the seeds that had ended by then.

    It may fall when a further seed lowers the mean of a config on the front.

    Args:
        trials: one row per trial.
        usable: those of them with finite objectives, from `usable_trials`.
        epochs: a row per trial and epoch trained.
        objectives: what the hypervolume is of.
        reference: the corner that it is measured from.

    Returns:
        Columns trials (that have ended, however), hours (since the first began), epochs (that those trials
        spent) and hypervolume, in the order of time. Trials of which the end is not known are left out.
    """
    ended = (
        trials.with_columns(hours=(pl.col("ended_at") - pl.col("started_at").min()).dt.total_seconds() / 3600)
        .filter(pl.col("ended_at").is_not_null())
        .join(epochs.group_by("trial_id").agg(pl.len().alias("spent")), on="trial_id", how="left")
        .sort("ended_at", "trial_id")
        .with_columns(epochs=pl.col("spent").fill_null(0).cum_sum())
        .with_row_index("trials", 1)
        .select("trial_id", "trials", "hours", "epochs")
    )
    steps = np.unique(np.linspace(1, ended.height, min(ended.height, _MOST_STEPS)).round().astype(int))
    needed = [prefix + o.name for o in objectives for prefix in (OBJECTIVE, STDERR)]
    counted = usable.select("trial_id", "config_id", "seed", *needed).join(ended, on="trial_id")
    volumes = [
        hypervolume(
            points(by_config(counted.filter(pl.col("trials") <= step), objectives), objectives), reference
        )
        for step in steps.tolist()
    ]
    return ended[steps - 1].drop("trial_id").with_columns(pl.Series("hypervolume", volumes, dtype=pl.Float64))
