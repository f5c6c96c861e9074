"""Writes the tables of recorded trials that benchmarks replay from the results of their sweeps.

Run: python benchmarks/curves/make.py digits_grid|digits_seeds DIR

digits_grid: a row is an epoch of a completed trial: the searched settings, the epoch, the two objectives at
it; and of the last epoch their standard errors, which are kept for whole trials only.
digits_seeds: a row is a completed trial: its config, its seed, the searched settings, and the two objectives.
"""

import sys
from pathlib import Path

import polars as pl

from sweep.search.trial import split_name
from sweep.store.layout import OBJECTIVE, PARAMETER, STDERR
from sweep.store.read import Store, open_store

NAMES = ("conditional_coherence", "log_likelihood")


def main(name: str, folder: str) -> None:
    """Write a table, and say what is in it."""
    store = open_store(folder)
    completed = store.latest_trials().filter(pl.col("status") == "completed").collect()
    searched = [column for column in completed.columns if column.startswith(PARAMETER)]
    table = {"digits_grid": by_epoch, "digits_seeds": by_seed}[name](store, completed, searched)
    path = Path(__file__).with_name(f"{name}.parquet")
    table.write_parquet(path, compression="zstd")
    print(f"{path.name}: {completed.height} trials, {table.height} rows, {path.stat().st_size / 1024:.0f} kB")


def by_epoch(store: Store, completed: pl.DataFrame, searched: list[str]) -> pl.DataFrame:
    """Return a row for every epoch."""
    errors = [STDERR + name for name in NAMES]
    epochs = store.epochs().select("trial_id", "epoch", *(OBJECTIVE + n for n in NAMES)).collect()
    table = epochs.join(completed.select("trial_id", "epochs", *searched, *errors), on="trial_id")
    last = pl.col("epoch") == pl.col("epochs")
    table = table.with_columns(pl.when(last).then(pl.col(error)).alias(error) for error in errors)
    return table.sort(*searched, "epoch").select(
        *plain(searched),
        "epoch",
        *(pl.col(OBJECTIVE + name).alias(name) for name in NAMES),
        *(pl.col(STDERR + name).alias(f"{name}_stderr") for name in NAMES),
    )


def by_seed(store: Store, completed: pl.DataFrame, searched: list[str]) -> pl.DataFrame:
    """Return a row for every trial."""
    del store
    config = pl.col("trial_id").map_elements(lambda name: split_name(name)[0], pl.String)
    return completed.sort("trial_id").select(
        config.alias("config"),
        "seed",
        *plain(searched),
        *(pl.col(OBJECTIVE + name).alias(name) for name in NAMES),
    )


def plain(searched: list[str]) -> list[pl.Expr]:
    """Return the searched settings by their own names."""
    return [pl.col(name).alias(name.removeprefix(PARAMETER)) for name in searched]


if __name__ == "__main__":
    main(*sys.argv[1:])
