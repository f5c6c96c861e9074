"""How a sweep stands, from its tables alone: while it runs, after it, and when it has stalled."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from sweep.analysis.checks import plateaus
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.config.objectives import names
from sweep.config.sweep_spec import SweepSpec
from sweep.search.agenda import Agenda
from sweep.search.outcome import ended_trial
from sweep.store.lease import holder
from sweep.store.read import Store

QUIET = 300.0
"""Seconds without a report after which a sweep may count as stalled; workers report every minute at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a sweep stands at a time."""

    tradeoff: Tradeoff
    """Its configs and their front."""
    total: int
    """Trials in all, replicates included, by what is known now."""
    counts: Mapping[str, int]
    """Trials by status; those that are left have none."""
    last_report: datetime | None
    """When a trial last began, reported or ended; None before the first."""
    interrupted: bool
    """Whether trials are left, and no driver holds the folder."""
    warnings: tuple[str, ...]
    """What to look at, as sentences."""
    stalled: bool
    """Whether trials are left and nothing was reported for five times the longest epoch, or `QUIET`."""
    trials_per_hour: float | None
    """Trials of full budget that end in an hour at the pace so far; None if none runs or has ended."""
    seconds_left: float | None
    """Time until the last trial ends at that pace."""

    @property
    def complete(self) -> bool:
        """Return whether every trial has ended."""
        return 0 < self.total <= sum(self.counts.values()) - self.counts.get("running", 0)


def stand(store: Store, spec: SweepSpec, now: datetime) -> Stand:
    """Return where a sweep stands.

    Args:
        store: its tables.
        spec: the sweep as its folder holds it.
        now: the time, with a zone.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    found = tradeoff(store)
    trials = found.trials
    over = trials.filter(pl.col("status") != "running")
    ended = [ended_trial(row, names(spec.objectives)) for row in over.iter_rows(named=True)]
    running = trials.filter(status="running")["trial_id"].to_list()
    # A folder of single trials has no plan of how many there will be.
    alone = found.manifest.spec_hash.startswith("t")
    total = trials.height if alone else Agenda(spec, ended, running).total
    epochs = _epochs(store, trials)
    begun = int(epochs.filter(pl.col("trial_id").is_in(running))["epochs"].sum())
    # The epochs before a resume count as if they had come after it, so that their sum may lie ahead: then a
    # stall shows late, where leaving them out would call a sound sweep stalled.
    times = [*trials["started_at"], *trials["ended_at"], *(min(at, now) for at in epochs["at"])]
    last = max((t for t in times if t is not None), default=None)
    left = max(0, (total - len(ended)) * spec.epochs_max - begun)
    patience = max([QUIET, *(5 * seconds for seconds in epochs["longest"])])
    per_epoch = float(over["seconds"].sum()) / max(1, int(over["epochs"].sum()))
    known = bool(running and per_epoch)
    return Stand(
        tradeoff=found,
        total=total,
        counts=Counter(trials["status"]),
        last_report=last,
        interrupted=len(ended) < total and last is not None and not alone and holder(store.files) is None,
        warnings=tuple(plateaus(store.subset_metrics().filter(metric="explained").collect())),
        stalled=len(ended) < total and last is not None and now - last > timedelta(seconds=patience),
        trials_per_hour=3600 * len(running) / (per_epoch * spec.epochs_max) if known else None,
        seconds_left=left * per_epoch / len(running) if known else None,
    )


def _epochs(store: Store, trials: pl.DataFrame) -> pl.DataFrame:
    """Return by trial its epochs, the longest of them in seconds, and about when the last was reported."""
    spent = pl.col("seconds") + pl.col("evaluation_seconds").fill_null(0.0)
    started = trials.select("trial_id", "attempt", "started_at").lazy()
    return (
        store.epochs()
        .join(started, on=["trial_id", "attempt"])
        .group_by("trial_id")
        .agg(
            pl.col("epoch").max().alias("epochs"),
            spent.max().alias("longest"),
            (pl.col("started_at").first() + pl.duration(microseconds=(spent.sum() * 1e6))).alias("at"),
        )
        .collect()
    )
