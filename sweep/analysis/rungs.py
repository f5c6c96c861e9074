"""Whether early values tell late ones: how far the order of trials at an epoch is that at full budget."""

from collections.abc import Sequence

import moocore
import numpy as np
import polars as pl

from sweep.store.records import Objective
from sweep.store.schema import OBJECTIVE

FEWEST = 5
"""With fewer trials an epoch has no agreement."""


def rank_agreement(
    epochs: pl.DataFrame, usable: pl.DataFrame, objectives: Sequence[Objective], *, eta: float
) -> pl.DataFrame:
    """Return Kendall's tau-b between each evaluated epoch and the last, over trials of the full budget.

    Trials that a scheduler stopped are not among them, so that with one the agreement is of survivors alone.

    Args:
        epochs: columns trial_id, epoch, and the objectives, null where an epoch was not evaluated.
        usable: the completed trials, with their epochs_max.
        objectives: the objectives.
        eta: a rung lets about 1 of eta trials go on.

    Returns:
        Columns epoch, trials, one per objective, front (tau of the front's rank) and kept: the share of
        trials on the final front that fewer than N / eta trials precede by rank of their front. An order of
        ties alone has no tau, which is then null; no row where fewer than five trials were evaluated.
    """
    from scipy.stats import kendalltau

    names = [OBJECTIVE + o.name for o in objectives]
    full = usable.filter(pl.col("epochs_max") == pl.col("epochs_max").max())
    last = full["epochs_max"].max()
    if not set(names) <= set(epochs.columns) or last is None:
        return pl.DataFrame({"epoch": []})
    signs = np.array([-1.0 if o.maximize else 1.0 for o in objectives])
    late_of = full.select("trial_id", pl.concat_list(names).alias("late"))
    rows = []
    found = epochs.filter(pl.col("epoch") < last, *(pl.col(n).is_finite() for n in names))
    found = found.join(late_of, on="trial_id").sort("epoch")
    for (epoch,), group in found.group_by("epoch", maintain_order=True):
        if group.height < FEWEST:
            continue
        early, late = group.select(names).to_numpy() * signs, np.array(group["late"].to_list()) * signs
        rank, final = moocore.pareto_rank(early), moocore.pareto_rank(late)
        ahead = np.searchsorted(np.sort(rank), rank[final == 0])
        pairs = [*zip(early.T, late.T, strict=True), (rank, final)]
        taus = [float(kendalltau(a, b).statistic) if np.ptp(a) and np.ptp(b) else None for a, b in pairs]
        rows.append((epoch, group.height, *taus, float(np.mean(ahead * eta < group.height))))
    floats = dict.fromkeys([*(o.name for o in objectives), "front", "kept"], pl.Float64)
    return pl.DataFrame(rows, schema={"epoch": pl.Int32, "trials": pl.Int64, **floats}, orient="row")
