"""The report's tables: the front on a terminal and in LaTeX, settings, and what was measured."""

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sweep.analysis.points import row_measured
from sweep.analysis.summaries import metrics_by_size
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.config.constraints import limit
from sweep.config.objectives import Objective
from sweep.report.formatting import (
    NUMBER,
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
from sweep.report.theme import FRONT, MUTED, axis, figure_html, layout, thinned
from sweep.report.view import View
from sweep.store.layout import OBJECTIVE, PARAMETER, STDERR
from sweep.store.read import Store

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


def with_arrows(texts: pl.DataFrame, objectives: Sequence[Objective]) -> pl.DataFrame:
    """Return a table of texts whose headers say whether larger (↑) or smaller (↓) values are better."""
    arrows = {
        plain(o.name): f"{plain(o.name)}\N{NO-BREAK SPACE}{'↑' if o.maximize else '↓'}" for o in objectives
    }
    return texts.rename(arrows)


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


def setting_figures(view: View, columns: Sequence[str]) -> str:
    """Return a small figure per searched setting: its values against each objective, panel below panel."""
    return f'<div class="multiples">{"".join(_setting_figure(view, c) for c in columns)}</div>'


def _setting_figure(view: View, column: str) -> str:
    from plotly.subplots import make_subplots

    found, name = view.tradeoff, column.removeprefix(PARAMETER)
    objectives = found.points.names
    rows = found.configs.with_columns(_front=found.on_front).filter(pl.col(column).is_not_null())
    rows = pl.concat([thinned(rows.filter(~pl.col("_front"))), rows.filter("_front")])
    figure = make_subplots(rows=len(objectives), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    values = rows[column]
    for panel, objective in enumerate(objectives, start=1):
        figure.add_scatter(
            x=values.to_list(),
            y=rows[OBJECTIVE + objective].to_list(),
            mode="markers",
            marker={"size": 7, "color": np.where(rows["_front"], FRONT, MUTED).tolist()},
            showlegend=False,
            hovertext=rows["trial_id"].to_list(),
            hoverinfo="text+x+y",
            row=panel,
            col=1,
        )
        figure.update_yaxes(axis(plain(objective).replace(" ", "\n")), row=panel, col=1)
    figure.update_xaxes(axis(""))
    figure.update_xaxes(_scale(values, log=logarithmic(rows, column)))
    figure.update_xaxes(axis(plain(name)), row=len(objectives), col=1)
    figure.update_layout(layout(60 + 150 * len(objectives)))
    description = f"Scatter plots of {plain(name)} against {' and '.join(map(plain, objectives))}"
    return figure_html(figure, f"setting-{name}", description)


def logarithmic(configs: pl.DataFrame, column: str) -> bool:
    """Return whether a setting is shown best by its logarithm: positive, over a decade, and no weight."""
    values = configs[column].drop_nulls()
    alone = len(searched_settings(configs.columns).get(column.removeprefix(PARAMETER), ())) == 1
    if not (alone and values.len() and values.dtype.is_numeric()):
        return False
    low, high = (float(end) for end in (values.min(), values.max()))  # type: ignore[arg-type] # numeric
    return low > 0 and high / low > 10


def _scale(values: pl.Series, *, log: bool) -> dict[str, object]:
    """Return the axis that shows a setting's values best: as classes, logarithmic or linear."""
    if values.dtype == pl.String:
        return {"type": "category"}
    few = values.unique().sort().to_list()
    named: dict[str, object] = (
        {"tickvals": few, "ticktext": [number(v) for v in few]} if len(few) <= 6 else {}
    )
    return {"type": "log", "dtick": 1, "exponentformat": "e", **named} if log else named


_SHOWN = ("kl", "active_units", "idle_latents", "representation", "log_likelihood_conditional", "frechet")
"""The metrics that have a column, where they were measured."""


def measured(view: View) -> tuple[str, pl.DataFrame | None]:
    """Return what there is of the trial in focus; the finding alone if there is nothing."""
    names = view.tradeoff.manifest.modalities
    mine = view.metrics.filter(trial_id=view.focus or "")
    found = metrics_by_size(mine, names).filter(pl.col("metric").is_in(_SHOWN))
    if not found.height:
        return "No picked trial has further measurements.", None
    sizes = sorted(set(found["subset_size"]))
    cells = {(m, s): number(v) for m, s, v in found.select("metric", "subset_size", "value").iter_rows()}
    columns = {"observed modalities": ["none (prior)" if s == 0 else str(s) for s in sizes]}
    shown = [m for m in _SHOWN if any(key[0] == m for key in cells)]
    columns |= {plain(m): [cells.get((m, s), "") for s in sizes] for m in shown}
    dead = mine.filter(metric="collapsed", value=1.0)["subset_label"].sort().to_list()
    finding = f"Means of {view.focus} over the subsets of a size."
    if "collapsed" in mine["metric"]:
        finding += f" Modalities that have collapsed onto the prior: {', '.join(dead) or 'none'}."
    return finding, pl.DataFrame(columns)


_SIGNS = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # Without these, LaTeX's first font encoding shows Spanish question marks and dashes.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "\N{NO-BREAK SPACE}": "~",
    "\n": " ",
    # After the end of a line, LaTeX takes these for an option.
    "[": "{[}",
    "*": "{*}",
}
_LINE = 16
"""Characters of a text's line in a cell, if its words allow it."""


def latex(text: str) -> str:
    r"""Return a text that LaTeX sets as it is.

    >>> latex("p_beta & 5 %")
    'p\\_beta \\& 5 \\%'
    """
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def latex_table(texts: pl.DataFrame) -> str:
    """Return a table of texts as a `tabular`, numbers to the right and with a real minus sign.

    It is narrow, for pages of two columns: in the size of footnotes, a header has a line for every word.
    """
    kinds = ["r" if all(map(NUMBER.fullmatch, column)) else "l" for column in texts.iter_columns()]
    rows = [[_cell(text) for text in row] for row in texts.iter_rows()]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in rows)
    heads = [_lines(name.split(" "), kind, "b") for name, kind in zip(texts.columns, kinds, strict=True)]
    return (
        "% \\usepackage{booktabs}\n{\\footnotesize\\setlength{\\tabcolsep}{3pt}%\n"
        f"\\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}\n\\toprule\n"
        f"{' & '.join(heads)} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}}}\n"
    )


def _lines(texts: list[str], kind: str, place: str) -> str:
    """Return texts below each other, the first ("t") or the last ("b") of them in line with the row."""
    lines = r" \\ ".join(map(latex, texts))
    if len(texts) < 2:
        return lines
    return rf"\begin{{tabular}}[{place}]{{@{{}}{kind}@{{}}}}{lines}\end{{tabular}}"


def _cell(text: str) -> str:
    if not text or not NUMBER.fullmatch(text):
        return _lines(textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False), "l", "t")
    power = re.sub(r"e([-+]?)0*(\d+)", lambda m: rf" \times 10^{{{m[1].strip('+')}{m[2]}}}", text)
    return "$" + power.replace("±", r"\pm") + "$"
