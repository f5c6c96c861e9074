"""How a sweep stands, from its tables alone: while it runs, after it, and when it has stalled."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from polars import selectors as cs

from sweep.analysis.checks import plateaus
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.config.sweep_spec import SweepSpec
from sweep.search.asking import queued
from sweep.search.budget import Budget
from sweep.search.overview import Overview, RunningTrial, overview
from sweep.search.past import added_configs
from sweep.search.standing import SweepStatus
from sweep.search.state import SweepState
from sweep.store.layout import OBJECTIVE
from sweep.store.lease import holder
from sweep.store.read import Store
from sweep.store.records import TrialRecord

QUIET = 300.0
"""Seconds without a report after which a sweep may count as stalled; workers report every minute at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What a results folder says of its sweep at a time."""

    status: SweepStatus
    """How the sweep stands, in numbers."""
    tradeoff: Tradeoff
    """Its configs and their front."""
    last_report: datetime | None
    """When a trial last began, reported or ended; None before the first."""
    interrupted: bool
    """Whether trials are left, and no driver holds the folder."""
    added: int
    """Of a complete sweep: how many configs `sweep add` has asked for that wait for a driver; else 0."""
    warnings: tuple[str, ...]
    """What to look at, as sentences."""
    stalled: bool
    """True if unfinished trials have been silent for over five times the longest epoch, or `QUIET`."""
    trials_per_hour: float | None
    """Trials of full budget that end in an hour at the pace so far; None if none runs or has ended."""
    overview: Overview
    """What a user follows while it runs."""
    budget: Budget
    """How long the sweep has run, and may run."""

    @property
    def budget_end(self) -> str | None:
        """Return why the sweep has ended before its last trial, as a sentence, if its budget is used up."""
        return None if self.status.counts.get("running") else self.budget.end(self.status)


def status_report(store: Store, spec: SweepSpec, now: datetime) -> StatusReport:
    """Return what the tables say of a sweep now.

    Args:
        store: its tables.
        spec: the sweep as its folder holds it.
        now: the time, with a zone.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    found = tradeoff(store)
    trials = found.trials
    driver = holder(store.files)
    began = datetime.fromisoformat(driver.began).astimezone() if driver else None
    epochs = _epochs(store, trials, began)
    alone = found.manifest.spec_hash.startswith("t")  # a folder of single trials
    records = [TrialRecord.from_row(row) for row in trials.iter_rows(named=True)]
    state = SweepState.of(spec, records, planned=not alone, added=added_configs(store))
    complete = state.status.complete
    added = [state.queue(suggestion) for suggestion in queued(store.files, spec)]
    reported = {row["trial_id"]: row for row in epochs.iter_rows(named=True)}
    unfinished = [record for record in records if record.status == "running"]
    running = [_running(record, reported.get(record.trial_id, {}), now) for record in unfinished]
    status, budget = state.status, Budget.of(spec, store)
    # The epochs before a resume count as if they had come after it, when the present driver began, and their
    # sum may lie ahead: then a stall shows late, where leaving them out would call a sound sweep stalled.
    times = [*trials["started_at"], *trials["ended_at"], *(min(at, now) for at in epochs["at"])]
    last = max((t for t in times if t is not None), default=None)
    patience = max([QUIET, *(5 * seconds for seconds in epochs["longest"])])
    over = trials.filter(pl.col("status") != "running")
    per_epoch = float(over["seconds"].sum()) / max(1, int(over["epochs"].sum()))
    known = bool(running and per_epoch)
    silent = now - max(last, began or last) if last and status.ended < status.total else None
    return StatusReport(
        status=status,
        tradeoff=found,
        last_report=last,
        interrupted=silent is not None and not alone and driver is None,
        added=added.count(None) if complete and driver is None else 0,
        warnings=tuple(plateaus(store.subset_metrics().filter(metric="explained").collect())),
        stalled=silent is not None and silent > timedelta(seconds=patience),
        trials_per_hour=3600 * len(running) / (per_epoch * spec.epochs_max) if known else None,
        overview=overview(spec, status, [*state.ended, *unfinished], running, budget),
        budget=budget,
    )


def _running(record: TrialRecord, reported: Mapping[str, Any], now: datetime) -> RunningTrial:
    """Return how far a trial is by its row of `_epochs`, if it has one.

    When a trial went on after a resume is not known here: a long pause is no part of its time.
    """
    seconds, since = reported.get("seconds", 0.0), max(0.0, (now - record.started_at).total_seconds())
    values = ((k.removeprefix(OBJECTIVE), v) for k, v in reported.items() if k.startswith(OBJECTIVE))
    return RunningTrial(
        trial_id=record.trial_id,
        epoch=reported.get("epochs", 0),
        epochs_max=record.epochs_max,
        seconds=seconds,
        elapsed=since if since - seconds < QUIET else seconds,
        measured={name: value for name, value in values if value is not None},
    )


def _epochs(store: Store, trials: pl.DataFrame, began: datetime | None) -> pl.DataFrame:
    """Return by trial how far it is; one that runs went on no earlier than the present driver began.

    Columns: epochs; seconds, their time; longest, the longest of them in seconds; at, about when the last was
    reported; o_<objective>, at the last evaluation.
    """
    spent = pl.col("seconds") + pl.col("evaluation_seconds").fill_null(0.0)
    start = pl.col("started_at")
    went_on = pl.when(status="running").then(
        pl.max_horizontal(start, pl.lit(began, trials.schema["started_at"]))
    )
    started = trials.select("trial_id", "attempt", went_on.otherwise(start).alias("started_at")).lazy()
    return (
        store.epochs()
        .join(started, on=["trial_id", "attempt"])
        .group_by("trial_id")
        .agg(
            pl.col("epoch").max().alias("epochs"),
            spent.max().alias("longest"),
            spent.sum().alias("seconds"),
            cs.starts_with(OBJECTIVE).sort_by("epoch").drop_nulls().last(),
            (pl.col("started_at").first() + pl.duration(microseconds=(spent.sum() * 1e6))).alias("at"),
        )
        .collect()
    )
