"""The front of a sweep as a table, for files and for the terminal."""

from typing import TYPE_CHECKING, Any

import polars as pl

from sweep.analysis.points import row_measured
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.report.words import (
    count,
    failure_reasons,
    number,
    pick_labels,
    plain,
    searched_settings,
    setting_text,
    status_line,
    with_error,
)
from sweep.spec.constraints import limit
from sweep.store.read import Store
from sweep.store.schema import OBJECTIVE, PARAMETER, STDERR

if TYPE_CHECKING:
    from rich.console import Console, Group


def nothing_yet(found: Tradeoff) -> str:
    """Return why there is no config to show."""
    infeasible = found.trials.filter(status="infeasible")
    if not infeasible.height:
        return "No trial has completed with finite objectives yet, so there is nothing to compare."
    limits = [limit(name, text) for name, text in found.manifest.spec.get("constraints", {}).items()]

    def excess(row: dict[str, Any]) -> float:
        return max((limit.excess(row_measured(row)) for limit in limits), default=0.0)

    nearest = min(infeasible.iter_rows(named=True), key=excess)
    return (
        f"All {count(infeasible.height, 'trial')} of full budget are infeasible; the nearest is "
        f"{nearest['trial_id']}: {nearest['error']}."
    )


def front_rows(found: Tradeoff) -> pl.DataFrame:
    """Return one row per config on the front, the best in the first objective first.

    Columns: trial_id (the replicate of the lowest seed), config_id, seeds (number of replicates), picks, then
    o_<objective> (mean over seeds) and se_<objective>, then p_<parameter>.
    """
    first = found.manifest.objectives[0]
    values = [prefix + o.name for o in found.manifest.objectives for prefix in (OBJECTIVE, STDERR)]
    searched = [name for name in found.configs.columns if name.startswith(PARAMETER)]
    labels = [pick_labels(found.picks, trial) for trial in found.configs["trial_id"]]
    return (
        found.configs.with_columns(pl.Series("picks", labels, dtype=pl.String))
        .filter(pl.Series(found.on_front, dtype=pl.Boolean))
        .select("trial_id", "config_id", "seeds", "picks", *values, *searched)
        .sort(OBJECTIVE + first.name, "trial_id", descending=[first.maximize, False])
    )


def front_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of `front_rows` as texts for people.

    Each objective stands with its error, and the components of a simplex stand in one cell.
    """
    objectives = [c.removeprefix(OBJECTIVE) for c in rows.columns if c.startswith(OBJECTIVE)]
    columns = {"trial": rows["trial_id"].to_list(), "picks": rows["picks"].to_list()}
    for name in objectives:
        pairs = zip(rows[OBJECTIVE + name], rows[STDERR + name], strict=True)
        columns[plain(name)] = [with_error(value, error) for value, error in pairs]
    for name, parts in searched_settings(rows.columns).items():
        columns[plain(name)] = [setting_text(row) for row in rows.select(parts).iter_rows()]
    columns["seeds"] = [str(n) for n in rows["seeds"]]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def print_front(store: Store, console: "Console") -> None:
    """Print the front as a table and its picks, how the trials ended, the hypervolume, and why trials failed.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    from rich.text import Text

    found = tradeoff(store)
    if found.configs.height:
        console.print(front_screen(found))
        front = f"front: {count(int(found.on_front.sum()), 'config')} of {found.configs.height}"
        summary = f"{status_line(found.trials)}; {front}; hypervolume {number(found.hypervolume)}"
    else:
        summary = f"{nothing_yet(found)[:-1]} ({status_line(found.trials)})."
    console.print(Text(summary))
    for reason, n in failure_reasons(found.trials):
        console.print(Text(f"  {n} failed: {reason}"))


def front_screen(found: Tradeoff) -> "Group":
    """Return the front as a table and its picks, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    text = front_text(front_rows(found)).drop("picks")  # below the table, where they fit
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in text.columns:
        header = Text(name.replace(" ", "\n"))
        table.add_column(header, justify="left" if name == "trial" else "right", no_wrap=True)
    for row in text.iter_rows():
        table.add_row(*(Text(cell) for cell in row))
    return Group(table, "", *(Text(f"{plain(pick.label)}: {pick.trial_id}") for pick in found.picks))
