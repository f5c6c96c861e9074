"""`sweep status` and `sweep watch`: the state of a sweep, from its results folder alone."""

import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError
from sweep.commands.cluster import print_jobs
from sweep.commands.options import Folder, MaybeCluster, MaybeFolder
from sweep.commands.terminal import console, say

if TYPE_CHECKING:
    from rich.console import Group

    from sweep.search.status import StatusReport


def status(folder: MaybeFolder = None, cluster: MaybeCluster = None) -> None:
    """Show the state of a running or finished sweep from its folder, or list the sweeps of a cluster."""
    match folder, cluster:
        case Path(), None:
            console().print(screen(*_state(folder)))
        case None, Path():
            print_jobs(cluster)
        case _:
            raise ConfigError("give `sweep status` either a results folder or --cluster FILE")


def watch(
    folder: Folder,
    every: Annotated[int, typer.Option(help="Seconds between updates.", min=1)] = 10,
    out: Annotated[Path | None, typer.Option(help="Folder for the report (default: DIR/report).")] = None,
) -> None:
    """Show the state of a sweep until it is complete, and keep its report up to date."""
    from rich.live import Live

    from sweep.report.page import write_page, write_report
    from sweep.store.files import files_at
    from sweep.store.read import open_store
    from sweep.store.schema import TABLES

    place, terminal = out or folder / "report", console()
    store = open_store(folder)
    say(f"page: {files_at(place)}/report.html")
    live = Live(console=terminal, auto_refresh=False) if terminal.is_terminal else None
    last_line, interrupted = "", False
    shown: list[list[str]] = []
    try:
        with live or nullcontext():
            while True:
                state, now = _state(folder)
                interrupted = state.interrupted
                if live:
                    shows = screen if state.interrupted else live_screen
                    live.update(shows(state, now), refresh=True)
                elif (line := lines(state, now)[1]) != last_line:
                    say(line.strip())
                    last_line = line
                if state.status.complete or state.budget_end:
                    break
                files = [store.names(table) for table in TABLES]
                if files != shown:
                    write_page(store, place, refresh=every)
                    shown = files
                time.sleep(every)
    except KeyboardInterrupt:
        stands = "is interrupted, and `sweep resume` continues it" if interrupted else "continues"
        say(f"stopped watching; the sweep {stands}")
    write_report(store, place)


def _state(folder: Path) -> "tuple[StatusReport, datetime]":
    """Return the state of a folder's sweep, and when it was read."""
    from sweep.search.status import status_report
    from sweep.store.read import open_store

    store, now = open_store(folder), datetime.now(UTC)
    return status_report(store, store.spec, now), now


def live_screen(state: "StatusReport", now: datetime) -> "Group":
    """Return what a terminal shows while one watches: what `sweep run` shows there, then the front."""
    from rich.console import Group
    from rich.text import Text

    from sweep.report.tables import front_screen
    from sweep.running.progress import drawn

    first, *others = lines(state, now)
    more = [line for line in others if line.startswith(("budget", "warning", "last"))]
    front = [front_screen(state.tradeoff)] if state.tradeoff.configs.height else []
    return Group(Text(first), drawn(state.overview), Text("\n".join([*more, ""])), *front)


def screen(state: "StatusReport", now: datetime) -> "Group":
    """Return what a terminal shows: the state as lines, then the front."""
    from rich.console import Group
    from rich.text import Text

    from sweep.report.tables import front_screen

    text = Text("\n".join(lines(state, now)))
    return Group(text, "", front_screen(state.tradeoff)) if state.tradeoff.configs.height else Group(text)


def lines(state: "StatusReport", now: datetime) -> list[str]:
    """Return the state of a sweep as lines of text."""
    from sweep.analysis.summaries import failure_reasons
    from sweep.report.formatting import count, number
    from sweep.running.progress import duration, left_text

    front, trials, last = state.tradeoff, state.status.counts, state.last_report
    age = f"{duration(max(0.0, (now - last).total_seconds()))} ago" if last else "none yet"
    kinds = {k: trials.get(k, 0) for k in ("completed", "stopped", "infeasible", "failed", "running")}
    kinds["left"] = state.status.total - sum(trials.values())
    some = [f"{n} {kind}" for kind, n in kinds.items() if n or kind not in ("stopped", "infeasible")]
    word = "running"
    if state.status.complete:
        word = "complete"
    elif ended := state.budget_end:
        word = ended
    elif state.added:
        waits = f"{count(state.added, 'added config')} {'waits' if state.added == 1 else 'wait'}"
        word = f"complete, but {waits}; `sweep resume` trains {'it' if state.added == 1 else 'them'}"
    elif state.interrupted:
        left = count(kinds["left"] + kinds["running"], "trial")
        word = f"interrupted with {left} left; `sweep resume` continues it"
    elif state.stalled:
        word = f"stalled: trials are left, but the last report was {age}"
    elif not last:
        word = "not started"
    text = [
        f"{front.manifest.name}: {word}",
        f"trials       {state.status.total}: {', '.join(some)}",
        f"front        {count(int(front.on_front.sum()), 'config')}, hypervolume {number(front.hypervolume)}",
    ]
    if state.trials_per_hour and (time_left := state.overview.left) and word == "running":
        pace = f"{number(state.trials_per_hour)} trials an hour"
        text.append(f"pace         {pace}, {left_text(time_left)} left")
    if state.budget.hours is not None:
        text.append(f"budget       {number(state.budget.used)} of {number(state.budget.hours)} hours")
    text += [f"failed       {n} x {reason}" for reason, n in failure_reasons(front.trials)]
    text += [f"warning      {warning}" for warning in state.warnings]
    return [*text, f"last report  {age}"]
