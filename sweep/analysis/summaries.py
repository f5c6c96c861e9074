"""Summaries of a sweep's tables: by subset, over time, by method and by rung."""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
import polars as pl

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import by_config, points
from sweep.analysis.tradeoff import Tradeoff
from sweep.config.objectives import Objective, gains
from sweep.store.layout import OBJECTIVE, STDERR


def failure_reasons(trials: pl.DataFrame) -> list[tuple[str, int]]:
    """Return the first line of each error with the number of trials that it failed, most frequent first."""
    first_line = pl.col("error").fill_null("no reason recorded").str.split("\n").list.first()
    numbers = trials.filter(status="failed").group_by(first_line.alias("reason")).len()
    return list(numbers.sort("len", "reason", descending=[True, False]).iter_rows())


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of two or more seeds' values and the half width of its 95 % interval by Student's t.

    >>> mean_over_seeds([1.0, 3.0])  # t is 12.706, and the standard error 1
    (2.0, 12.706204736...)
    """
    from scipy.special import stdtrit

    n = len(values)
    return float(np.mean(values)), float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / n**0.5)


def still_rising(trials: pl.DataFrame, curves: pl.DataFrame) -> tuple[int, int]:
    """Return how many completed trials raised the ELBO by more than 1 % in the last tenth of their epochs.

    The second number is that of all completed trials of ten epochs or more; others are left out of both.

    Args:
        trials: one row per trial.
        curves: columns trial_id and elbo, a row per trial and epoch, in the order of the epochs.
    """
    completed = trials.filter(status="completed")["trial_id"].implode()
    rise = (
        curves.filter(pl.col("trial_id").is_in(completed), pl.col("elbo").is_finite())
        .filter(pl.len().over("trial_id") >= 10)
        .group_by("trial_id")
        .agg(
            pl.col("elbo").last().alias("end"),
            pl.col("elbo").gather((pl.len() * 9 // 10) - 1).first().alias("before"),
        )
        .select(pl.col("end") - pl.col("before") > 0.01 * pl.col("end").abs())
        .to_series()
    )
    return int(rise.sum()), rise.len()


def coherence_by_size(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return mean coherence by trial and number of observed modalities, over targets that were not observed.

    Args:
        pairs: rows of the pair_coherence table, one evaluation per trial.

    Returns:
        Columns trial_id, source_size, value (mean over pairs), stderr (its standard error at most: the mean
        of the pairs' own, which are of the same samples), pairs (their number) and chance, sorted.
    """
    return (
        pairs.filter(~pl.col("in_source"))
        .group_by("trial_id", "source_size")
        .agg(pl.col("value", "stderr").mean(), pl.len().alias("pairs"), pl.col("chance").mean())
        .sort("trial_id", "source_size")
    )


def metrics_by_size(metrics: pl.DataFrame, modalities: Sequence[str]) -> pl.DataFrame:
    """Return the mean of each metric by trial and size of the subset, over targets that were not observed.

    A metric with values that concern no target is the mean of these only.

    Args:
        metrics: rows of the subset_metrics table, one evaluation per trial.
        modalities: names, in the order of the bits of a subset mask.

    Returns:
        Columns trial_id, metric, subset_size (0 is the prior) and value, sorted.
    """
    bits = {name: 1 << m for m, name in enumerate(modalities)}
    bit = pl.col("target").replace_strict(bits, default=None, return_dtype=pl.Int32)
    no_target = pl.col("target").is_null()
    observed = pl.col("subset_mask") & bit > 0
    general = no_target.any().over("trial_id", "metric")
    return (
        metrics.filter(pl.when(general).then(no_target).otherwise(~observed))
        .group_by("trial_id", "metric", "subset_size")
        .agg(pl.col("value").mean())
        .sort("trial_id", "metric", "subset_size")
    )


_MOST_STEPS = 200
"""Most steps of a history of the hypervolume; they are evenly spaced and include the last."""


def hypervolume_history(
    trials: pl.DataFrame,
    usable: pl.DataFrame,
    epochs: pl.DataFrame,
    objectives: Sequence[Objective],
    reference: Mapping[str, float],
) -> pl.DataFrame:
    """Return the hypervolume over time, each time of the configs' means over the seeds that had ended.

    It may decrease when another seed lowers the mean of a config on the front.

    Args:
        trials: one row per trial.
        usable: those of them with finite objectives, from `usable_trials`.
        epochs: a row per trial and epoch trained.
        objectives: the axes of the hypervolume.
        reference: its reference point.

    Returns:
        Columns trials (number that ended, with any status), hours (since the first began), epochs (trained by
        those trials) and hypervolume, in order of time. Trials without a known end are omitted.
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


def by_method(tradeoff: Tradeoff) -> pl.DataFrame:
    """Return the configs of a known method, sorted by method, with four more columns.

    These are method, on_front (of all configs), on_own_front (of the configs of the method) and
    own_hypervolume (of the method).
    """
    method = pl.col("config_json").str.json_path_match("$.method").alias("method")
    configs = tradeoff.configs.with_columns(method, on_front=pl.Series(tradeoff.on_front)).drop_nulls(
        "method"
    )
    parts = [
        part.with_columns(
            on_own_front=pl.Series(front_mask(mine)),
            own_hypervolume=pl.lit(hypervolume(mine, tradeoff.manifest.reference_point)),
        )
        for part in configs.sort("method", maintain_order=True).partition_by("method", maintain_order=True)
        for mine in [points(part, tradeoff.manifest.objectives)]
    ]
    return pl.concat([configs.clear(), *parts], how="diagonal")


FEWEST = 5
"""Fewest trials at an epoch for an agreement."""


def rank_agreement(
    epochs: pl.DataFrame, usable: pl.DataFrame, objectives: Sequence[Objective], *, eta: float
) -> pl.DataFrame:
    """Return Kendall's tau-b between each evaluated epoch and the last, over trials of the full budget.

    Trials that a scheduler stopped are not included: with one, the agreement is that of survivors.

    Args:
        epochs: columns trial_id, epoch, and the objectives, null where an epoch was not evaluated.
        usable: the completed trials, with their epochs_max.
        objectives: the objectives.
        eta: a rung continues about 1 of eta trials.

    Returns:
        Columns epoch, trials, one per objective, front (tau of the front's rank) and kept: the share of
        trials on the final front that fewer than N / eta trials precede by rank of their front. Tau is null
        where all values are tied. An epoch with fewer than five evaluated trials has no row.
    """
    names = [OBJECTIVE + o.name for o in objectives]
    full = usable.filter(pl.col("epochs_max") == pl.col("epochs_max").max())
    last = full["epochs_max"].max()
    if not set(names) <= set(epochs.columns) or last is None:
        return pl.DataFrame({"epoch": []})
    late_of = full.select("trial_id", pl.concat_list(names).alias("late"))
    rows = []
    evaluated = epochs.filter(pl.col("epoch") < last, *(pl.col(n).is_finite() for n in names))
    evaluated = evaluated.join(late_of, on="trial_id").sort("epoch")
    for (epoch,), group in evaluated.group_by("epoch", maintain_order=True):
        if group.height < FEWEST:
            continue
        from scipy.stats import kendalltau  # half a second, which most reports do without

        early = gains(group.select(names).to_numpy(), objectives)
        late = gains(group["late"].to_list(), objectives)
        rank, final = (moocore.pareto_rank(gain, maximise=True) for gain in (early, late))
        ahead = np.searchsorted(np.sort(rank), rank[final == 0])
        pairs = [*zip(early.T, late.T, strict=True), (rank, final)]
        taus = [float(kendalltau(a, b).statistic) if np.ptp(a) and np.ptp(b) else None for a, b in pairs]
        rows.append((epoch, group.height, *taus, float(np.mean(ahead * eta < group.height))))
    floats = dict.fromkeys([*(o.name for o in objectives), "front", "kept"], pl.Float64)
    return pl.DataFrame(rows, schema={"epoch": pl.Int32, "trials": pl.Int64, **floats}, orient="row")
