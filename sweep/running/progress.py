"""The progress of a running sweep or trial: live on a terminal, plain lines elsewhere."""

import time
from collections import Counter

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mopoe.reports import EpochReport
from sweep.report.formatting import number
from sweep.search.state import SweepStatus

REFRESH = 0.2
"""Seconds between two refreshes of a terminal, however many trials report."""


class SweepProgress(Live):
    """Prints messages and the status of a sweep; use as a context manager."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, auto_refresh=False, transient=True)
        self._began: float | None = None
        self._printed = -1
        self._shown_at = -REFRESH

    def say(self, text: str) -> None:
        """Print a message on a line of its own."""
        self.console.print(Text(text), soft_wrap=True)

    def show(self, status: SweepStatus) -> None:
        """Show the status: on a terminal some times a second, elsewhere whenever a trial has ended."""
        now = time.monotonic()
        self._began = self._began or now
        live, ended = self.console.is_terminal, status.ended != self._printed
        if not (ended or (live and now - self._shown_at > REFRESH)):
            return
        self._printed, self._shown_at = status.ended, now
        line = Text(progress_line(status, now - self._began))
        if live:
            self.update(line, refresh=True)
        else:
            self.console.print(line, soft_wrap=True)


def progress_line(status: SweepStatus, elapsed: float) -> str:
    """Return the status as one line; `elapsed` is in seconds.

    >>> s = SweepStatus(total=14, counts={"completed": 6, "running": 2, "failed": 1}, front_size=3,
    ...                 hypervolume=812.4, epochs_left=30, epochs_here=60)
    >>> progress_line(s, 120.0)
    '6 of 14 trials done · 2 running · 1 failed · front 3 · hypervolume 812 · about 60 s left'
    """
    n = Counter(status.counts)
    parts = [
        f"{n['completed']} of {status.total} trials done",
        f"{n['running']} running",
        *(f"{n[kind]} {kind}" for kind in ("stopped", "infeasible") if n[kind]),
        f"{n['failed']} failed",
        f"front {status.front_size}",
        f"hypervolume {number(status.hypervolume)}",
    ]
    if status.epochs_here and status.epochs_left:
        parts.append(f"about {duration(elapsed / status.epochs_here * status.epochs_left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as text, in the largest unit that fits.

    >>> duration(42), duration(100), duration(9000)
    ('42 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class TrialProgress(Progress):
    """Shows a trial's epochs: a bar on a terminal, lines elsewhere; use as a context manager."""

    def __init__(self, console: Console, epochs: int) -> None:
        super().__init__(
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._epochs = epochs
        self._bar = self.add_task("", total=epochs)

    def show(self, report: EpochReport) -> None:
        """Show an epoch's losses."""
        text = f"loss {report.loss:.1f}  elbo {report.elbo:.1f}  kl {report.kl:.1f}  {report.seconds:.1f} s"
        self.update(self._bar, completed=report.epoch, description=text)
        if not self.console.is_terminal:
            self.console.print(f"epoch {report.epoch}/{self._epochs}  {text}", highlight=False)
