"""How a running sweep shows itself: one live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mopoe.reports import EpochReport
from sweep.report.formatting import number
from sweep.search.state import SweepStatus


class SweepProgress:
    """Prints phases and the status of a sweep; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._began: float | None = None
        self._printed = -1

    def __enter__(self) -> Self:
        """Take the terminal."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a phase as a line of its own."""
        self._console.print(Text(text), soft_wrap=True)

    def update(self, status: SweepStatus) -> None:
        """Show the status: at once on a terminal, else whenever a trial has ended."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        line = progress_line(status, now - self._began)
        if self._live is not None:
            self._live.update(Text(line), refresh=True)
        elif status.ended != self._printed:
            self._printed = status.ended
            self._console.print(Text(line), highlight=False, soft_wrap=True)


def progress_line(status: SweepStatus, elapsed: float) -> str:
    """Return the status as one line; `elapsed` is in seconds.

    >>> s = SweepStatus(total=14, counts={"completed": 6, "running": 2, "failed": 1}, front_size=3,
    ...                 hypervolume=812.4, epochs_left=30, epochs_here=60)
    >>> progress_line(s, 120.0)
    '6 of 14 trials done · 2 running · 1 failed · front 3 · hypervolume 812 · about 60 s left'
    """
    counts = status.counts
    rare = [f"{counts[kind]} {kind}" for kind in ("stopped", "infeasible") if counts.get(kind)]
    parts = [
        f"{counts.get('completed', 0)} of {status.total} trials done",
        f"{counts.get('running', 0)} running",
        *rare,
        f"{counts.get('failed', 0)} failed",
        f"front {status.front_size}",
        f"hypervolume {number(status.hypervolume)}",
    ]
    if status.epochs_here and status.epochs_left:
        parts.append(f"about {duration(elapsed / status.epochs_here * status.epochs_left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a length of time in its largest fitting unit.

    >>> duration(42), duration(100), duration(9000)
    ('42 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class TrialProgress:
    """Shows one trial's epochs: a bar on a terminal, lines elsewhere; use as a context manager."""

    def __init__(self, console: Console, epochs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        self._bar.stop()

    def update(self, report: EpochReport) -> None:
        """Show an epoch's losses."""
        text = f"loss {report.loss:.1f}  elbo {report.elbo:.1f}  kl {report.kl:.1f}  {report.seconds:.1f} s"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=report.epoch, description=text)
        else:
            self._console.print(f"epoch {report.epoch}/{self._epochs}  {text}", highlight=False)
