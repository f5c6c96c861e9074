"""The trade-off of each method where a sweep has several: MoPoE, MVAE, MMVAE."""

import polars as pl

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import points
from sweep.analysis.tradeoff import Tradeoff


def by_method(found: Tradeoff) -> pl.DataFrame:
    """Return the configs of a known method, by method, with four columns more.

    These are method, on_front (that of all configs), on_own_front (that of its method) and own_hypervolume,
    the same for all of a method.
    """
    method = pl.col("config_json").str.json_path_match("$.method").alias("method")
    configs = found.configs.with_columns(method, on_front=pl.Series(found.on_front)).drop_nulls("method")
    parts = [
        part.with_columns(
            on_own_front=pl.Series(front_mask(mine)),
            own_hypervolume=pl.lit(hypervolume(mine, found.manifest.reference_point)),
        )
        for part in configs.sort("method", maintain_order=True).partition_by("method", maintain_order=True)
        for mine in [points(part, found.manifest.objectives)]
    ]
    return pl.concat([configs.clear(), *parts], how="diagonal")
