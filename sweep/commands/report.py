"""`sweep report` and `sweep best`: what a sweep, or two, found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError
from sweep.commands.terminal import Folder, console, say

if TYPE_CHECKING:
    from sweep.analysis.tradeoff import Tradeoff

app = typer.Typer()


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="A results folder, or two to compare.", metavar="DIR [DIR]")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes (default: DIR/report, of two DIR/against-OTHER).")
    ] = None,
) -> None:
    """Print the front and write the report: an HTML page that opens from disk, figures and tables for papers.

    Of two folders: print and write how their fronts compare.
    """
    from sweep.report.compare import compare, write_comparison
    from sweep.report.page import write_report
    from sweep.report.tables import print_front
    from sweep.store.files import files_at
    from sweep.store.read import open_store

    if len(folders) > 2:
        raise ConfigError(f"{len(folders)} results folders are given, but a report is of one or compares two")
    screen, first = console(), folders[0]
    if len(folders) == 2:
        other = folders[1]
        found = compare(open_store(first), open_store(other))
        for card in found.cards[:2]:
            say(card.finding, screen)
        page = write_comparison(found, out or first / f"against-{other.resolve().name}")
    else:
        store = open_store(first)
        print_front(store, screen)
        page = write_report(store, out or first / "report")
    say(f"\nreport: {files_at(page.parent)}/{page.name}", screen)


@app.command()
def best(
    folder: Folder,
    coherence_at_least: Annotated[
        float | None, typer.Option(help="The same as --at-least conditional_coherence=VALUE.")
    ] = None,
    at_least: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OBJECTIVE=VALUE", help="Accept configs above this alone; of them the best (repeatable)."
        ),
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            help="knee, or the objective to be best in (default: knee, or the first of a front without)."
        ),
    ] = None,
) -> None:
    """Print one config as YAML that `sweep trial` runs: the knee, a best one, or the best above a bound."""
    import json

    import polars as pl
    import yaml

    from mopoe.config import TrialConfig
    from sweep.analysis.fronts import best_above
    from sweep.analysis.tradeoff import tradeoff
    from sweep.config.sweep_spec import one_trial
    from sweep.report.formatting import count, plain, value_text
    from sweep.store.read import open_store

    store = open_store(folder)
    found, spec = tradeoff(store), store.spec
    least = _bounds(found, coherence_at_least, at_least or ())
    if least and pick:
        raise ConfigError("--pick and a smallest value are two ways to choose; give one of them")
    if least:
        trial = best_above(found.points, least)
        why = "the best with " + ", ".join(f"{plain(n)} of at least {v:g}" for n, v in least.items())
    else:
        trial, why = _picked(found, pick)
    row = found.configs.row(by_predicate=pl.col("trial_id") == trial, named=True)
    numbers = [f"{plain(n)} {value_text(row, n)}" for n in found.manifest.reference_point]
    config = TrialConfig.from_dict(json.loads(row["config_json"]))
    text = yaml.safe_dump(
        one_trial(spec, config, f"{spec.name}-{trial}"), sort_keys=False, default_flow_style=None, width=110
    )
    typer.echo(
        f"# {trial} of {spec.name}: {why}; {', '.join(numbers)}, by {count(row['seeds'], 'seed')}.\n"
        f"# config {config.config_id}; run it with: sweep trial FILE\n{text}",
        nl=False,
    )


def _bounds(found: "Tradeoff", coherence: float | None, assignments: Sequence[str]) -> dict[str, float]:
    """Return the smallest accepted value by objective; ConfigError if one is malformed or of no objective."""
    from mopoe.wording import did_you_mean
    from search_spaces import split_assignment

    pairs = [] if coherence is None else [("conditional_coherence", coherence)]
    for text in assignments:
        try:
            name, value = split_assignment(text)
        except ConfigError as error:
            raise ConfigError(f"--at-least {text!r}: {error}") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"--at-least {text!r}: {value!r} is no number")
        pairs.append((name, float(value)))
    for name, _ in pairs:
        if name not in found.points.names:
            hint = did_you_mean(name, found.points.names)
            raise ConfigError(f"{name!r} is no objective of this sweep; {hint}")
    return dict(pairs)


def _picked(found: "Tradeoff", wanted: str | None) -> tuple[str, str]:
    """Return the picked trial and what it is; ConfigError if there is no such pick.

    Without a wish it is the knee, or where the front has none what is best in the first objective.
    """
    from mopoe.wording import did_you_mean
    from sweep.report.tables import nothing_yet

    picks = {p.label.removeprefix("best "): p for p in found.picks}
    if not picks:
        why = nothing_yet(found)
        raise ConfigError(f"there is no config to pick: {why[0].lower()}{why[1:-1]}")
    wanted = wanted or ("knee" if "knee" in picks else next(iter(picks)))
    if wanted not in picks:
        absent = "the front has no knee" if wanted == "knee" else f"there is no pick {wanted!r}"
        raise ConfigError(f"{absent}; {did_you_mean(wanted, picks)}")
    return picks[wanted].trial_id, f"the {picks[wanted].label.replace('_', ' ')}"
