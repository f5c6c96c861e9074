"""Where a trial's coherence comes from: by how much was observed."""

import polars as pl


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
