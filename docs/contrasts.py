"""Contrasts between configs that were all trained with the same seeds, and their intervals.

Run: python docs/contrasts.py RESULTS SETTING...      (all quantities over seeds, by these settings)

Configs of one seed share their initialisation and the order of the data, so that a seed may be bad for all
of them, and some configs vary more between seeds than others. A contrast is therefore computed for each seed,
and its interval is Student's over these numbers: it holds whatever the configs of one seed share.
"""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from scipy.stats import t as student

from sweep.report.formatting import with_error
from sweep.store.layout import OBJECTIVE, PARAMETER
from sweep.store.read import Store, open_store

SIZES = (1, 2, 3, 4)
"""Numbers of observed modalities whose coherence is a quantity of its own."""
QUANTITIES = (
    *("coherence", "log_likelihood"),
    *(f"coherence_{n}" for n in SIZES),
    *("representation_1", "representation_5", "joint", "joint_mixture"),
)
"""What is measured of each trial."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference with the half width of its interval."""

    value: float
    """The difference."""
    half: float
    """Half of the interval's width."""

    def __str__(self) -> str:
        """Return both, rounded."""
        return with_error(self.value, self.half)

    @property
    def positive(self) -> bool:
        """Whether all of the interval is above zero."""
        return self.value > self.half

    def within(self, limit: float) -> bool:
        """Return whether all of the interval is within plus or minus a limit."""
        return abs(self.value) + self.half < limit


def over_seeds(values: Sequence[float], *, of: int = 1) -> Contrast:
    """Return the mean of one value per seed with its 95 % interval.

    Args:
        values: the values.
        of: number of contrasts that are to hold together with that probability (Bonferroni).
    """
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Contrast(statistics.fmean(values), float(student.ppf(1 - 0.025 / of, len(values) - 1)) * error)


def contrast(
    table: pl.DataFrame, value: pl.Expr, weights: Mapping[object, float], by: str = "method", *, of: int = 1
) -> Contrast:
    """Return sum_g w_g (mean of a value over the configs of group g) with its interval over seeds.

    Args:
        table: one row per config and seed.
        value: the value of a trial.
        weights: by group.
        by: the column that is the group.
        of: number of contrasts that are to hold together.
    """
    totals: dict[int, float] = {}
    means = table.group_by(by, "seed").agg(value.mean().alias("value"))
    for group, seed, mean in means.sort(by, "seed").iter_rows():
        totals[seed] = totals.get(seed, 0.0) + weights.get(group, 0.0) * mean
    return over_seeds(list(totals.values()), of=of)


def quantities(store: Store, settings: Sequence[str]) -> pl.DataFrame:
    """Return one row per trial that completed: settings, seed, number of parameters, all quantities."""
    trials = store.latest_trials().filter(pl.col("status").is_in(["completed", "infeasible"])).collect()
    keys = ["trial_id", "attempt", "epoch"]
    last = trials.select("trial_id", "attempt", pl.col("epochs").alias("epoch")).lazy()
    pairs = store.pair_coherence().join(last, on=keys).filter(~pl.col("in_source"))
    metrics = store.subset_metrics().join(last, on=keys).filter(pl.col("target").is_null())
    probes = metrics.filter(pl.col("metric") == "representation")

    def mean(rows: pl.LazyFrame, name: str, condition: pl.Expr) -> pl.DataFrame:
        return rows.filter(condition).group_by("trial_id").agg(pl.col("value").mean().alias(name)).collect()

    found = [
        *(mean(pairs, f"coherence_{n}", pl.col("source_size") == n) for n in SIZES),
        *(mean(probes, f"representation_{n}", pl.col("subset_size") == n) for n in (1, 5)),
        mean(metrics, "joint", pl.col("metric") == "joint_coherence"),
        mean(metrics, "joint_mixture", pl.col("metric") == "joint_coherence_mixture"),
    ]
    table = trials.select(
        "trial_id",
        "seed",
        *(pl.col(f"{PARAMETER}{name}").alias(name) for name in settings),
        "n_parameters",
        pl.col(f"{OBJECTIVE}conditional_coherence").alias("coherence"),
        pl.col(f"{OBJECTIVE}log_likelihood").alias("log_likelihood"),
    )
    for each in found:
        table = table.join(each, on="trial_id", how="left")
    return table.sort(*settings, "seed")


def main(results: str, *settings: str) -> None:
    """Print the mean over seeds of every quantity of each config, with its interval."""
    table = quantities(open_store(results), settings)
    print(f"| {' | '.join((*settings, *QUANTITIES))} |")
    print("|" + " --- |" * (len(settings) + len(QUANTITIES)))
    for key, rows in table.group_by(settings, maintain_order=True):
        print(
            f"| {' | '.join(map(str, (*key, *(over_seeds(rows[name].to_list()) for name in QUANTITIES))))} |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
