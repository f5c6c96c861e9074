"""Writes the table of recorded curves that benchmarks/search.py replays from the results of its sweep.

Run: python benchmarks/curves/make.py DIR

A row is an epoch of a completed trial: the searched settings, the epoch, the two objectives at it; and of the
last epoch their standard errors, which are kept for whole trials only.
"""

import sys
from pathlib import Path

import polars as pl

from sweep.store.layout import OBJECTIVE, STDERR
from sweep.store.read import open_store

NAMES = ("conditional_coherence", "log_likelihood")


def main(folder: str) -> None:
    """Write the table, and say what is in it."""
    store = open_store(folder)
    completed = store.latest_trials().filter(pl.col("status") == "completed").collect()
    searched = [name for name in completed.columns if name.startswith("p_")]
    errors = [STDERR + name for name in NAMES]
    epochs = store.epochs().select("trial_id", "epoch", *(OBJECTIVE + n for n in NAMES)).collect()
    table = epochs.join(completed.select("trial_id", "epochs", *searched, *errors), on="trial_id")
    last = pl.col("epoch") == pl.col("epochs")
    table = table.with_columns(pl.when(last).then(pl.col(error)).alias(error) for error in errors)
    table = table.sort(*searched, "epoch").select(
        *(pl.col(name).alias(name.removeprefix("p_")) for name in searched),
        "epoch",
        *(pl.col(OBJECTIVE + name).alias(name) for name in NAMES),
        *(pl.col(STDERR + name).alias(f"{name}_stderr") for name in NAMES),
    )
    path = Path(__file__).with_name("digits_grid.parquet")
    table.write_parquet(path, compression="zstd")
    print(f"{path.name}: {completed.height} trials, {table.height} rows, {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
