"""When a trial writes its reports, saves a checkpoint and tells the driver of an epoch.

At evaluations and at its end it writes and tells at once, and saves a checkpoint if that is cheap; otherwise
now and then, so that a thousand workers overload neither the store nor the driver.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mopoe.reports import EpochReport
from sweep.search.trial import TrialReport
from sweep.store.write import StoreWriter, epoch_row

CHECKPOINT_SHARE = 0.05
"""Largest share of a trial's time in which it waits for its checkpoints."""
TELL_SECONDS = {"local": 1.0, "cluster": 10.0}
"""The driver is told of an epoch after this long at the latest. When a sweep is interrupted, a trial ends
where it next tells; but a thousand workers have to tell less often."""

Clock = Callable[[], float]
"""Returns seconds since some moment."""


class ReportWriter:
    """Collects a trial's epoch reports, writes them to the store now and then, and paces its checkpoints.

    A checkpoint never holds an epoch whose report is not written, as a trial that resumes from it would lack
    that report for ever.

    Args:
        writer: the store.
        trial_id: the trial.
        attempt: counts its starts.
        modalities: the data set's, by name.
        clock: the time.
        leaving: returns whether the machine is about to be taken back; checkpoints then follow one another.
    """

    def __init__(
        self,
        writer: StoreWriter,
        trial_id: str,
        attempt: int,
        modalities: tuple[str, ...],
        clock: Clock = time.monotonic,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._writer = writer
        self.files = writer.files
        """The results folder."""
        self.due = False
        """Whether a checkpoint is to be saved after the last report that was added."""
        self._trial_id = trial_id
        self._attempt = attempt
        self._modalities = modalities
        self._clock = clock
        self._leaving = leaving
        self._waiting: list[EpochReport] = []
        self._saved_at = self._began = clock()
        self._cost = 0.0

    def add(self, report: EpochReport) -> None:
        """Take a report; write all that wait if it was evaluated, or if a checkpoint is due."""
        self._waiting.append(report)
        since, evaluated, leaving = (
            self._clock() - self._saved_at,
            report.evaluation is not None,
            self._leaving(),
        )
        interval = 0.0 if evaluated or leaving else self.files.interval
        # In the last two minutes, half of the time may go into checkpoints.
        self.due = since >= max(interval, self._cost / (1.0 if leaving else CHECKPOINT_SHARE))
        if self.due or evaluated:
            self.save_now(also_checkpoint=self.due)

    def save_now(self, *, also_checkpoint: bool = True) -> None:
        """Write what waits, with a checkpoint to follow or without."""
        self.due, self._began = also_checkpoint, self._clock()
        self.flush()

    def saved(self) -> None:
        """Note that the checkpoint that was due is saved; the next is due after it has paid for itself."""
        if self.due:
            self._saved_at = self._clock()
            self._cost = self._saved_at - self._began

    def flush(self) -> None:
        """Write what waits."""
        self._writer.write_reports(self._trial_id, self._attempt, self._waiting, self._modalities)
        self._waiting = []


class DriverReports:
    """Tells the driver of a trial's evaluations and checkpoints at once, and of other epochs now and then.

    Args:
        tell: sends a report to the driver.
        where: the device and the machine, which go with every report.
        seconds: after how long other epochs are told of.
        clock: the time.
        rows: whether what the epochs table holds goes with the reports.
    """

    def __init__(
        self,
        tell: Callable[[TrialReport], None],
        where: TrialReport,
        seconds: float,
        clock: Clock = time.monotonic,
        *,
        rows: bool = False,
    ) -> None:
        self._seconds = seconds
        self._tell = tell
        self._behind = where
        self._clock = clock
        self._told_at = clock()
        self._rows: list[Mapping[str, Any]] = []
        self._wants_rows = rows

    def add(self, report: TrialReport) -> None:
        """Take an epoch's report, and tell of it if it is time."""
        progress = TrialReport(epoch=report.epoch, seconds=report.seconds)
        self._behind = self._behind.followed_by(progress)
        news = report.saved or report.objectives is not None
        if news or self._clock() - self._told_at >= self._seconds:
            self.tell(report)

    def add_row(self, report: EpochReport) -> None:
        """Keep what the epochs table holds of an epoch for the next report, if the driver wants it."""
        if self._wants_rows:
            self._rows.append(epoch_row(report))

    def tell(self, report: TrialReport) -> None:
        """Tell of this now, and of how far the trial is."""
        self._tell(replace(self._behind.followed_by(report), rows=self._rows or None))
        self._rows = []
        self._told_at = self._clock()
