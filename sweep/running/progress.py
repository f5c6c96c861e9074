"""The progress of a running sweep or trial: live on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mopoe.reports import EpochReport
from sweep.report.formatting import number
from sweep.search.outcome import Standing


class SweepProgress(Live):
    """Prints messages and the standing of a sweep; use as a context manager."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, auto_refresh=False, transient=True)
        self._began: float | None = None
        self._printed = -1

    def say(self, text: str) -> None:
        """Print a message on a line of its own."""
        self.console.print(Text(text), soft_wrap=True)

    def show(self, standing: Standing) -> None:
        """Show the standing: at once on a terminal, else whenever a trial has ended."""
        now = time.monotonic()
        self._began = self._began or now
        line = Text(standing_line(standing, now - self._began))
        if self.console.is_terminal:
            self.update(line, refresh=True)
        elif standing.ended != self._printed:
            self._printed = standing.ended
            self.console.print(line, soft_wrap=True)


def standing_line(standing: Standing, elapsed: float) -> str:
    """Return the standing as one line; `elapsed` is in seconds.

    >>> s = Standing(total=14, done=6, running=2, failed=1, front_size=3, hypervolume=812.4,
    ...              epochs_left=30, epochs_here=60)
    >>> standing_line(s, 120.0)
    '6 of 14 trials done · 2 running · 1 failed · front 3 · hypervolume 812 · about 60 s left'
    """
    some = [(standing.stopped, "stopped"), (standing.infeasible, "infeasible")]
    parts = [
        f"{standing.done} of {standing.total} trials done",
        f"{standing.running} running",
        *(f"{n} {what}" for n, what in some if n),
        f"{standing.failed} failed",
        f"front {standing.front_size}",
        f"hypervolume {number(standing.hypervolume)}",
    ]
    if standing.epochs_here and standing.epochs_left:
        parts.append(f"about {duration(elapsed / standing.epochs_here * standing.epochs_left)} left")
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
