"""Where a trial's coherence, and what else was measured, comes from: by how much was observed."""

from collections.abc import Sequence

import polars as pl

_Z_95 = 1.959964
"""Quantile of the standard normal distribution that leaves 2.5 % above it."""


def last_evaluation(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of each trial's last attempt and, in it, last evaluated epoch."""
    last = pl.col("attempt") == pl.col("attempt").max().over("trial_id")
    return frame.filter(last).filter(pl.col("epoch") == pl.col("epoch").max().over("trial_id"))


def coherence_by_size(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return mean coherence by trial and number of observed modalities, over targets that were not observed.

    Args:
        pairs: rows of the pair_coherence table, one evaluation per trial.

    Returns:
        Columns trial_id, source_size, value (mean over pairs), pairs (their number) and chance, sorted.
    """
    return (
        pairs.filter(~pl.col("in_source"))
        .group_by("trial_id", "source_size")
        .agg(pl.col("value").mean(), pl.len().alias("pairs"), pl.col("chance").mean())
        .sort("trial_id", "source_size")
    )


def metrics_by_size(metrics: pl.DataFrame, modalities: Sequence[str]) -> pl.DataFrame:
    """Return the mean of each metric by trial and size of the subset, over targets that were not observed.

    A metric that has a number without a target for some subset is the mean of those alone.

    Args:
        metrics: rows of the subset_metrics table, one evaluation per trial.
        modalities: names, in the order of the bits of a subset mask.

    Returns:
        Columns trial_id, metric, subset_size (0 is the prior) and value, sorted.
    """
    bits = {name: 1 << m for m, name in enumerate(modalities)}
    bit = pl.col("target").replace_strict(bits, default=None, return_dtype=pl.Int32)
    alone = pl.col("target").is_null()
    observed = pl.col("subset_mask") & bit > 0
    whole = alone.any().over("trial_id", "metric")
    return (
        metrics.filter(pl.when(whole).then(alone).otherwise(~observed))
        .group_by("trial_id", "metric", "subset_size")
        .agg(pl.col("value").mean())
        .sort("trial_id", "metric", "subset_size")
    )


def pair_interval(value: float, stderr: float, n: int, measure: str | None) -> tuple[float, float]:
    """Return the 95 % interval of a pair's coherence: Wilson's of an accuracy, else from the standard error.

    Unlike the second, Wilson's (1927) has a width also where all are right. A measure of None, in tables of
    earlier releases, is an accuracy.

    >>> [round(end, 3) for end in pair_interval(1.0, 0.0, 10, "accuracy")]
    [0.722, 1.0]
    """
    from scipy.stats import binomtest

    if measure in (None, "accuracy"):
        found = binomtest(round(value * n), n).proportion_ci(method="wilson")
        return float(found.low), float(found.high)
    return max(0.0, value - _Z_95 * stderr), min(1.0, value + _Z_95 * stderr)
