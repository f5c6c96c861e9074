"""How long a sweep has run, from its trials alone, and whether its budget is used up.

A driver's own clock would forget earlier runs, and the time from the first trial's start to the last one's
end would count the nights between two runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import polars as pl

from sweep.config.sweep_spec import SweepSpec
from sweep.search.standing import SweepStatus
from sweep.store.read import Store
from sweep.store.records import TrialRecord

Span = tuple[datetime, datetime]
"""A time from its begin to its end."""


def hours_covered(spans: Iterable[Span]) -> float:
    """Return the hours that lie in at least one of the spans.

    >>> at = [datetime(2026, 1, 1, hour) for hour in range(9)]
    >>> hours_covered([(at[0], at[2]), (at[1], at[3]), (at[7], at[8])])
    4.0
    """
    covered, until = timedelta(), None
    for begin, end in sorted(spans):
        covered += max(timedelta(), end - (begin if until is None else max(begin, until)))
        until = end if until is None else max(until, end)
    return covered / timedelta(hours=1)


@dataclass(slots=True)
class Budget:
    """The hours that a sweep has run, of those that it may.

    It runs while at least one trial trains or is measured: a trial that has ended counts for the seconds that
    its epochs and evaluations took, up to its end, one that was cut off for those from its start. Trials side
    by side count once; starting up, and the time between two runs, do not count.
    """

    hours: float | None
    """The hours that it may run; None for no limit."""
    spans: dict[tuple[str, int], Span] = field(default_factory=dict)
    """When each attempt at a trial ran, by trial and attempt."""

    @classmethod
    def of(cls, spec: SweepSpec, store: Store) -> Self:
        """Return the budget of a sweep, and what its trials in a store have used of it, if it has a limit."""
        budget = cls(spec.budget.hours)
        if budget.hours is None:
            return budget
        spent = (pl.col("seconds") + pl.col("evaluation_seconds").fill_null(0.0)).sum().alias("reported")
        reported = store.epochs().group_by("trial_id", "attempt").agg(spent)
        rows = store.trials().join(reported, on=["trial_id", "attempt"], how="left").collect()
        for row in rows.iter_rows(named=True):
            if row["ended_at"] is None:
                ran = timedelta(seconds=row["reported"] or 0.0)
                budget.spans[row["trial_id"], row["attempt"]] = (row["started_at"], row["started_at"] + ran)
            else:
                budget.add(TrialRecord.from_row(row))
        return budget

    def add(self, record: TrialRecord) -> None:
        """Note a trial that has ended."""
        assert record.ended_at is not None
        ran = timedelta(seconds=record.seconds or 0.0)
        self.spans[record.trial_id, record.attempt] = (record.ended_at - ran, record.ended_at)

    @property
    def used(self) -> float:
        """Return the hours that the sweep has run."""
        return hours_covered(self.spans.values())

    @property
    def used_up(self) -> bool:
        """Return whether no further trial is to begin."""
        return self.hours is not None and self.used >= self.hours

    def end(self, status: SweepStatus) -> str | None:
        """Return how the sweep stands as a sentence, if its budget is used up and trials are left."""
        if not self.used_up or status.complete:
            return None
        used = f"the budget of {self.hours:g} hours is used up after {self.used:.3g} hours"
        return (
            f"{used}, with {status.ended} of {status.total} trials run; a larger `budget.hours` continues it"
        )
