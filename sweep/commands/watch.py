"""`sweep status` and `sweep watch`: where a sweep stands, from its results folder alone."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError
from sweep.commands.cluster import MaybeCluster, print_jobs
from sweep.commands.terminal import Folder, console, say

if TYPE_CHECKING:
    from rich.console import Group

    from sweep.search.status import StatusReport

app = typer.Typer()


@app.command()
def status(
    folder: Annotated[
        Path | None, typer.Argument(help="A results folder, or its address.", metavar="DIR")
    ] = None,
    cluster: MaybeCluster = None,
) -> None:
    """Say where a sweep stands, while it runs or after, from its folder; or list the sweeps of a cluster."""
    if (folder is None) == (cluster is None):
        raise ConfigError("sweep status takes a results folder, or a cluster's file as --cluster FILE")
    if cluster is not None:
        print_jobs(cluster)
        return
    assert folder is not None
    found, now = _look(folder)
    console().print(screen(found, now))


@app.command()
def watch(
    folder: Folder,
    every: Annotated[int, typer.Option(help="Seconds between two looks.", min=1)] = 10,
    out: Annotated[Path | None, typer.Option(help="Where the page goes (default: DIR/report).")] = None,
) -> None:
    """Show where a sweep stands until it is complete, and keep its report's page up to date."""
    from rich.live import Live

    from sweep.report.page import write_page, write_report
    from sweep.store.files import files_at
    from sweep.store.read import open_store
    from sweep.store.schema import TABLES

    place, terminal = out or folder / "report", console()
    store = open_store(folder)
    say(f"page: {files_at(place)}/report.html", terminal)
    # Elsewhere than on a terminal, one line a look that says something new.
    live = Live(console=terminal, auto_refresh=False) if terminal.is_terminal else None
    seen: list[str] = []
    there: list[list[str]] = []
    try:
        if live:
            live.start()
        while True:
            found, now = _look(folder)
            if live:
                live.update(screen(found, now), refresh=True)
            elif (line := lines(found, now)[1]) not in seen[-1:]:
                seen.append(line)
                say(line.strip(), terminal)
            if found.status.complete:
                break
            now_there = [store.names(table) for table in TABLES]
            if now_there != there:
                write_page(store, place, refresh=every)
                there = now_there
            time.sleep(every)
    except KeyboardInterrupt:
        say("no longer watched; the sweep itself goes on", terminal)
    finally:
        if live:
            live.stop()
    write_report(store, place)


def _look(folder: Path) -> "tuple[StatusReport, datetime]":
    """Return where the sweep of a folder stands, and when that was."""
    from sweep.search.status import status_report
    from sweep.store.read import open_store

    store, now = open_store(folder), datetime.now(UTC)
    return status_report(store, store.spec, now), now


def screen(found: "StatusReport", now: datetime) -> "Group":
    """Return what a terminal shows: the state in lines, then the front."""
    from rich.console import Group
    from rich.text import Text

    from sweep.report.tables import front_screen

    said = [Text(line) for line in lines(found, now)]
    return Group(*said, "", front_screen(found.tradeoff)) if found.tradeoff.configs.height else Group(*said)


def lines(found: "StatusReport", now: datetime) -> list[str]:
    """Return the state of a sweep in words, a line each."""
    from sweep.report.formatting import count, failure_reasons, number
    from sweep.running.progress import duration

    front, trials, last = found.tradeoff, found.status.counts, found.last_report
    age = f"{duration(max(0.0, (now - last).total_seconds()))} ago" if last else "none yet"
    kinds = {k: trials.get(k, 0) for k in ("completed", "stopped", "infeasible", "failed", "running")}
    kinds["left"] = found.status.total - sum(trials.values())
    some = [f"{n} {kind}" for kind, n in kinds.items() if n or kind not in ("stopped", "infeasible")]
    word = "running"
    if found.status.complete:
        word = "complete"
    elif found.interrupted:
        left = count(kinds["left"] + kinds["running"], "trial")
        word = f"interrupted with {left} left; `sweep resume` goes on"
    elif found.stalled:
        word = f"stalled: trials are left, but the last report was {age}"
    elif not last:
        word = "not begun"
    shown = [
        f"{front.manifest.name}: {word}",
        f"trials       {found.status.total}: {', '.join(some)}",
        f"front        {count(int(front.on_front.sum()), 'config')}, hypervolume {number(front.hypervolume)}",
    ]
    if found.trials_per_hour and found.seconds_left is not None and word == "running":
        pace = f"{number(found.trials_per_hour)} trials an hour"
        shown.append(f"pace         {pace}, about {duration(found.seconds_left)} left")
    shown += [f"failed       {n} x {reason}" for reason, n in failure_reasons(front.trials)]
    return [*shown, *(f"look at      {text}" for text in found.warnings), f"last report  {age}"]
