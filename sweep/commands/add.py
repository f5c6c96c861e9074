"""`sweep add` and `sweep stop DIR --trial T`: what is asked of a sweep that runs elsewhere."""

from typing import TYPE_CHECKING, Annotated

import typer

from sweep.commands.options import Folder
from sweep.commands.terminal import command, say

if TYPE_CHECKING:
    from sweep.store.read import Store


def add(
    folder: Folder,
    set_: Annotated[
        list[str], typer.Option("--set", help="A searched setting, as in beta=2.5 (repeatable).")
    ],
    trial: Annotated[
        str | None,
        typer.Option(help="Take the other settings from this trial (default: the middle of their ranges)."),
    ] = None,
) -> None:
    """Add a config of your choice to a sweep, which may be running, beside those of `trials`.

    It is the next to begin, and the sampler learns from it. If no driver runs, `sweep resume` trains it.
    """
    from mopoe.wording import show
    from sweep.search.asking import ask_for_config
    from sweep.store.read import open_store

    store = open_store(folder)
    settings = ask_for_config(store, set_, trial)
    say(f"queued: {', '.join(f'{name} {show(value)}' for name, value in settings.items())}")
    _say_when(store, "begin it as soon as a place is free")


def end_trial(folder: str, trial: str) -> None:
    """Ask for the end of a sweep's trial."""
    from sweep.search.asking import ask_for_end
    from sweep.store.read import open_store

    store = open_store(folder)
    ask_for_end(store, trial)
    _say_when(store, f"end {trial} at its next evaluation or checkpoint")


def _say_when(store: "Store", what: str) -> None:
    """Tell who carries out what was asked for."""
    from sweep.store.lease import holder

    if (driver := holder(store.files)) is not None:
        say(f"process {driver.pid} on {driver.host}, which runs this sweep, will {what}")
    else:
        resume = command("sweep", "resume", store.files)
        say(f"no driver runs this sweep now; the next one will {what}: {resume}")
