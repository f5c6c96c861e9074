"""The progress of a running sweep or trial: live on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mopoe.reports import EpochReport
from sweep.report.formatting import count, number, plain
from sweep.search.overview import Overview, TimeLeft

LIVE, LINES = 0.5, 60.0
"""Seconds between two updates of a terminal, and between two lines of a file or a pipe."""
LOOK = 1.0
"""Seconds between two looks for something that is worth a line at once."""
SHARE = 0.05
"""Largest share of the driver's time that these looks take, which is more the more trials there are."""
MOMENT = 5.0
"""Seconds below which a time left is not told as a number."""
ROWS, REASONS = 10, 3
"""Most running trials and most reasons of failures that a terminal shows."""


class SweepProgress(Live):
    """Prints messages and how a sweep stands, or nothing if it is quiet; use as a context manager."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        super().__init__(console=console, auto_refresh=False, transient=True)
        self._quiet = quiet
        self._next_look, self._printed_at = 0.0, -LINES
        self._told: Overview | None = None
        self._look: Callable[[], Overview] | None = None

    def say(self, text: str) -> None:
        """Print a message on a line of its own."""
        if not self._quiet:
            self.console.print(Text(text), soft_wrap=True)

    def show(self, look: Callable[[], Overview]) -> None:
        """Show how the sweep stands, if it is time; may be called as often as one likes."""
        now, live = time.monotonic(), self.console.is_terminal
        self._look = look
        if self._quiet or now < self._next_look:
            return
        view, after = look(), time.monotonic()
        self._next_look = after + max(LIVE if live else LOOK, (after - now) / SHARE)
        if live:
            self.update(drawn(view), refresh=True)
            return
        lines = news(view, self._told or view, due=now - self._printed_at >= LINES)
        self._told = view
        if lines:
            self._printed_at = now
        for line in lines:
            self.say(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show how the sweep stands in the end, unless it was interrupted."""
        if self._look is not None and (kind is None or issubclass(kind, Exception)):
            self._next_look = 0.0
            self.show(self._look)
        super().__exit__(kind, error, trace)


def news(view: Overview, before: Overview, *, due: bool) -> list[str]:
    """Return the lines to print off a terminal.

    Args:
        view: the sweep now.
        before: the sweep at the look before.
        due: whether it is time for a line, if a trial runs.
    """
    lines = [f"{trial} failed: {reason}" for trial, reason in view.failures[len(before.failures) :]]
    if (due and view.running) or (view.status.complete and not before.status.complete):
        lines.append(progress_line(view))
    return lines


def progress_line(view: Overview) -> str:
    """Return how a sweep stands as one line."""
    n = Counter(view.status.counts)
    parts = [
        done_text(view),
        f"{n['running']} running",
        *(f"{n[kind]} {kind}" for kind in ("stopped", "infeasible") if n[kind]),
        f"{n['failed']} failed",
        f"front {view.status.front_size}",
        f"hypervolume {number(view.status.hypervolume)}",
        *([f"{left_text(view.left)} left"] if view.left else []),
    ]
    return " · ".join(parts)


def done_text(view: Overview) -> str:
    """Return how many trials are done, and what they consist of if they are not one per config."""
    further, configs = view.status.total - view.status.configs, count(view.status.configs, "config")
    parts = f" ({configs} + {count(further, f'further {view.replicate}')})" if further else ""
    if view.expected:
        parts = f" ({configs}; about {count(view.expected, f'further {view.replicate}')} to come)"
    return f"{view.status.counts.get('completed', 0)} of {view.status.total} trials done{parts}"


def left_text(left: TimeLeft) -> str:
    """Return a time left with its uncertainty, all in one unit.

    >>> left_text(TimeLeft(seconds=660, low=480, high=900)), left_text(TimeLeft(seconds=31, low=24, high=44))
    ('about 11 min (8 to 15)', 'about 31 s (24 to 44)')
    """
    if left.seconds < MOMENT:
        return "a few seconds"
    scale, digits, unit = _unit(left.seconds)
    about, low, high = (f"{s / scale:.{digits}f}" for s in (left.seconds, left.low, left.high))
    return f"about {about} {unit} ({low} to {high})"


def duration(seconds: float) -> str:
    """Return a duration as text, in the largest unit that fits.

    >>> duration(42), duration(100), duration(9000)
    ('42 s', '2 min', '2.5 h')
    """
    scale, digits, unit = _unit(seconds)
    return f"{seconds / scale:.{digits}f} {unit}"


def _unit(seconds: float) -> tuple[int, int, str]:
    """Return the seconds of the largest unit that fits, its decimal places and its name."""
    if seconds < 90:
        return 1, 0, "s"
    return (60, 0, "min") if seconds < 5400 else (3600, 1, "h")


def head_lines(view: Overview) -> list[str]:
    """Return what stands above the running trials: what is done, and what came of it so far."""
    n = Counter(view.status.counts)
    others = [f"{n[kind]} {kind}" for kind in ("running", "stopped", "infeasible", "failed") if n[kind]]
    front = f"front {count(view.status.front_size, 'config')}, hypervolume {number(view.status.hypervolume)}"
    if view.left:
        left = f"{left_text(view.left)} left"
    else:
        left = "" if view.status.complete else "time left: known after the first epoch"
    return [" · ".join([done_text(view), *others]), " · ".join([front, *([left] if left else [])])]


def rows(view: Overview) -> list[list[str]]:
    """Return the table of a sweep as texts: header, running trials, and the best of each objective."""
    names = [o.name for o in view.objectives]
    arrows = [f"{plain(o.name)} {'↑' if o.maximize else '↓'}" for o in view.objectives]
    found = [["trial", "epoch", *arrows, "elapsed"]]
    farthest = sorted(view.running, key=lambda t: -t.epoch / t.epochs_max)[:ROWS]
    for trial in (t for t in view.running if t in farthest):  # in their order, so that rows stay in place
        values = [number(trial.measured[name]) if name in trial.measured else "" for name in names]
        epoch = f"{trial.epoch}/{trial.epochs_max}"
        found.append([trial.trial_id, epoch, *values, duration(trial.elapsed)])
    if len(view.running) > ROWS:
        found.append([f"and {len(view.running) - ROWS} more", *[""] * (len(names) + 2)])
    if view.best and view.running:
        found.append([""] * (len(names) + 3))
    if view.best:
        found.append(["best", "", *(number(view.best[name][1]) for name in names), ""])
        found.append(["config", "", *(view.best[name][0] for name in names), ""])
    return found


def failure_lines(view: Overview) -> list[str]:
    """Return the most frequent reasons why trials failed, and how many other ones there are."""
    reasons = Counter(reason for _, reason in view.failures)
    lines = [f"{n} failed: {reason}" for reason, n in reasons.most_common(REASONS)]
    return [*lines, *([f"and {len(reasons) - REASONS} other reasons"] if len(reasons) > REASONS else [])]


def drawn(view: Overview) -> Group:
    """Return a sweep that runs as it is shown on a terminal."""
    header, *body = rows(view)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(header):
        words = Text(name.replace(" ", "\n", name.count(" ") - 1))
        table.add_column(words, justify="left" if i == 0 else "right", no_wrap=True)
    for row in body:
        table.add_row(*map(Text, row))
    failed = (Text(line, no_wrap=True, overflow="ellipsis") for line in failure_lines(view))
    parts: list[Text | Table] = [*map(Text, head_lines(view)), Text("")]
    parts += [table, Text("")] if body else []
    return Group(*parts, *failed)


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
