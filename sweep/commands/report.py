"""`sweep report` and `sweep best`: what a sweep found, or how two compare."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError
from sweep.commands.options import Folder
from sweep.commands.terminal import console, say, yaml_text

if TYPE_CHECKING:
    from sweep.analysis.tradeoff import Tradeoff


def report(
    folders: Annotated[
        list[Path], typer.Argument(help="A results folder, or two to compare.", metavar="DIR [DIR]")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the page (default: DIR/report, for two DIR/against-OTHER)."),
    ] = None,
    *,
    weights: Annotated[
        bool, typer.Option("--weights", help="Give the LaTeX tables a column of the subsets' weights.")
    ] = False,
) -> None:
    """Print the front and write the report: an HTML page that opens from disk, figures and tables for papers.

    With two folders: print and write how their fronts compare.
    """
    from sweep.report.compare import compare, write_comparison
    from sweep.report.page import write_report
    from sweep.report.tables import print_front
    from sweep.store.files import files_at
    from sweep.store.read import open_store

    if len(folders) > 2:
        raise ConfigError(f"{len(folders)} results folders are given, but a report shows one or compares two")
    screen, first = console(), folders[0]
    if len(folders) == 2:
        other = folders[1]
        comparison = compare(open_store(first), open_store(other))
        for card in comparison.cards[:2]:
            say(card.finding)
        page = write_comparison(comparison, out or first / f"against-{other.resolve().name}")
    else:
        store = open_store(first)
        print_front(store, screen)
        page = write_report(store, out or first / "report", weights=weights)
    say(f"\nreport: {files_at(page.parent)}/{page.name}")


def best(
    folder: Folder,
    coherence_at_least: Annotated[
        float | None, typer.Option(help="The same as --at-least conditional_coherence=VALUE.")
    ] = None,
    at_least: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OBJECTIVE=VALUE", help="Choose only among configs that reach this value (repeatable)."
        ),
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            help="knee, or the objective to be best in (default: knee; without one, the first objective)."
        ),
    ] = None,
    trial: Annotated[str | None, typer.Option(help="This trial, whether on the front or not.")] = None,
) -> None:
    """Print one config as YAML for `sweep trial`: the knee, the best in an objective, or above a bound."""
    import json

    import polars as pl

    from mopoe.config import TrialConfig
    from sweep.analysis.fronts import best_above, bound_text
    from sweep.analysis.tradeoff import tradeoff
    from sweep.config.sweep_spec import one_trial
    from sweep.report.formatting import count, plain, value_text
    from sweep.results import picked
    from sweep.store.read import open_store

    store = open_store(folder)
    front, spec = tradeoff(store), store.spec
    coherence = [] if coherence_at_least is None else [f"conditional_coherence={coherence_at_least}"]
    least = _bounds(front, [*coherence, *(at_least or ())])
    if sum(map(bool, (least, pick, trial))) > 1:
        raise ConfigError("--pick, --at-least and --trial are three ways to choose; give only one of them")
    if trial:
        row = {row["trial_id"]: row for row in front.trials.iter_rows(named=True)}.get(trial)
        if row is None:
            raise ConfigError(f"{store.files} holds no trial {trial!r}")
        about = f"{trial} of {spec.name}: {row['status']}."
    else:
        if least:
            name = best_above(front.points, least)
            known = [o for o in front.points.objectives if o.name in least]
            why = "the best with " + ", ".join(plain(bound_text(o, least[o.name])) for o in known)
        else:
            name, why = picked(front, pick)
        row = front.configs.row(by_predicate=pl.col("trial_id") == name, named=True)
        numbers = ", ".join(f"{plain(n)} {value_text(row, n)}" for n in front.manifest.reference_point)
        replicates = count(row["seeds"], "fold" if front.manifest.folds else "seed")
        about = f"{name} of {spec.name}: {why}; {numbers}, by {replicates}."
    config = TrialConfig.from_dict(json.loads(row["config_json"]))
    say(f"# {about}")
    say(f"# config {config.config_id}; run it with: sweep trial FILE")
    say("# Left out is what is at its default; `sweep show-config FILE` prints it.")
    sys.stdout.write(yaml_text(one_trial(spec, config, f"{spec.name}-{row['trial_id']}")))


def _bounds(front: "Tradeoff", assignments: Sequence[str]) -> dict[str, float]:
    """Return the worst accepted value by objective; ConfigError if a value or a name is wrong."""
    from mopoe.wording import did_you_mean
    from search_spaces import split_assignment

    bounds = {}
    for text in assignments:
        name, value = split_assignment(text)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"--at-least {text!r}: {value!r} is not a number")
        if name not in front.points.names:
            hint = did_you_mean(name, front.points.names)
            raise ConfigError(f"{name!r} is not an objective of this sweep; {hint}")
        bounds[name] = float(value)
    return bounds
