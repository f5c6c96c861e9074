"""Figures for papers, by matplotlib: as wide as a column or a page, legible in print."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl

from sweep.analysis.points import worst_first
from sweep.analysis.tradeoff import Tradeoff
from sweep.report.figures import logarithmic
from sweep.report.formatting import plain, setting_title, with_unit
from sweep.report.theme import FRONT, MOST_POINTS, MOST_SETTINGS, scale
from sweep.report.view import View
from sweep.store.layout import INTERVAL, OBJECTIVE, PARAMETER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCHES, WIDE_INCHES = 3.3, 6.8
"""Widths: of a column of a page of two, and of both columns or a page of one."""
_TALLEST_INCHES = 4.0

_PRINT: Any = {
    "font.size": 8,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "sweep",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_ACROSS = 4


def paper_figures(view: View) -> Mapping[str, "Figure"]:
    """Return the figures for which there is data, by file name."""
    from matplotlib import rc_context

    figures, trade = {}, view.tradeoff
    columns = [c for c in trade.configs.columns if c.startswith(PARAMETER)][:MOST_SETTINGS]
    with rc_context(_PRINT):
        for end, width in (("", COLUMN_INCHES), ("_wide", WIDE_INCHES)):
            if len(trade.points.objectives) > 1:
                figures[f"front{end}"] = front_figure(trade, width)
            if view.sizes.height:
                figures[f"coherence_by_size{end}"] = _size_figure(view, width)
        if columns and trade.configs.height:
            figures["hyperparameters"] = _setting_figure(trade, columns)
    return figures


def front_figure(trade: Tradeoff, width: float = COLUMN_INCHES) -> "Figure":
    """Return the configs in the plane of the first two objectives, with the front as steps and named picks.

    The steps bound what the front dominates; a front of three or more objectives has none in a plane. The
    figure is `width` inches wide.

    Raises:
        ValueError: the sweep has a single objective.
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(width, 0.75 * min(width, _TALLEST_INCHES)), layout="constrained")
    axes = figure.add_subplot()
    first, second = trade.points.objectives[:2]
    x, y = first.name, second.name
    for on_front, colour, label in ((False, "0.6", "dominated"), (True, FRONT, "front")):
        rows = worst_first(trade.configs.filter(trade.on_front == on_front), first)
        crowded = rows.height > MOST_POINTS
        if rows.height:
            axes.errorbar(
                rows[OBJECTIVE + x],
                rows[OBJECTIVE + y],
                xerr=None if crowded else rows[INTERVAL + x].fill_null(0.0),
                yerr=None if crowded else rows[INTERVAL + y].fill_null(0.0),
                fmt="o",
                rasterized=crowded,
                color=colour,
                elinewidth=0.6,
                markersize=4,
                label=label,
                zorder=3 if on_front else 2,
            )
            if on_front and len(trade.points.objectives) == 2:
                axes.step(rows[OBJECTIVE + x], rows[OBJECTIVE + y], where="pre", color=colour, linewidth=1.2)
    labels: dict[int, list[str]] = {}
    for pick in trade.picks:
        row = trade.points.trial_ids.index(pick.trial_id)
        labels.setdefault(row, []).extend(textwrap.wrap(plain(pick.label), 12))
    for row, words in labels.items():
        # The better side of a front is empty; beyond its end in the first objective so is the worse one.
        side = -second.sign if row == trade.points.gains[:, 0].argmax() else second.sign
        axes.annotate(
            "\n".join(words),
            trade.points.values[row, :2].tolist(),
            xytext=(5 * first.sign, 4 * side),
            textcoords="offset points",
            ha="left" if first.maximize else "right",
            va="baseline" if side > 0 else "top",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=4,
        )
    axes.set_xlabel(with_unit(first))
    axes.set_ylabel(with_unit(second))
    axes.margins(0.12)
    ends = list(axes.get_xlim())
    ends[first.maximize] += first.sign / width * (ends[1] - ends[0])  # room for the last label: an inch
    axes.set_xlim(*ends)
    if trade.configs.height:
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _size_figure(view: View, width: float) -> "Figure":
    """Return coherence by number of observed modalities, a line per pick, and the chance level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.7 * min(width, _TALLEST_INCHES)), layout="constrained")
    axes = figure.add_subplot()
    # Marks tell the lines apart without colour.
    for picked, mark in zip(view.picked, "osD^v<>*" * len(view.picked), strict=False):
        rows = view.sizes.filter(trial_id=picked.trial_id)
        axes.plot(
            rows["source_size"],
            rows["value"],
            mark + "-",
            color=picked.colour,
            markersize=4,
            label=picked.labels,
        )
    chance = view.sizes.group_by("source_size").agg(pl.col("chance").mean()).sort("source_size")
    axes.plot(chance["source_size"], chance["chance"], ":", color="0.4", label="chance")
    axes.set_xticks(chance["source_size"].to_list())
    axes.set_ylim(0, 1)
    axes.set_xlabel("observed modalities")
    axes.set_ylabel("coherence of\nunobserved targets")
    axes.legend(ncols=1 if width == COLUMN_INCHES else 4, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _setting_figure(trade: Tradeoff, columns: list[str]) -> "Figure":
    """Return every searched setting against every objective, four settings in a row, the front in colour."""
    from matplotlib.figure import Figure

    objectives = trade.points.objectives
    blocks = -(-len(columns) // _ACROSS)
    across = min(_ACROSS, len(columns))
    height = blocks * (1.15 * len(objectives) + 0.3)
    figure = Figure(figsize=(WIDE_INCHES * across / _ACROSS, height), layout="constrained")
    grid = figure.subplots(blocks * len(objectives), across, squeeze=False)
    # A row of panels for each setting, a column for each objective.
    panels = grid.reshape(blocks, len(objectives), across).swapaxes(1, 2).reshape(-1, len(objectives))
    for axes in panels[len(columns) :].flat:
        axes.set_axis_off()
    for place, (column, its) in enumerate(zip(columns, panels, strict=False)):
        for axes, objective in zip(its, objectives, strict=True):
            _scatter(axes, trade, column, OBJECTIVE + objective.name)
            axes.tick_params(labelbottom=axes is its[-1], labelleft=place % across == 0)
            if place % across == 0:
                axes.set_ylabel(with_unit(objective).replace(" ", "\n", 1))
        its[-1].set_xlabel(setting_title(column, trade.manifest))
    return figure


def _scatter(axes: "Axes", trade: Tradeoff, column: str, objective: str) -> None:
    values = trade.configs[column]
    for on_front, colour in ((False, "0.6"), (True, FRONT)):
        mask = pl.Series(trade.on_front == on_front) & values.is_not_null()
        some = trade.configs[objective].filter(mask)
        crowded = some.len() > MOST_POINTS
        axes.plot(values.filter(mask), some, "o", color=colour, markersize=3, rasterized=crowded)
    if logarithmic(trade, column):
        axes.set_xscale("log")
        ends, ticks = axes.get_xlim(), scale(values.drop_nulls(), log=True)
        axes.set_xticks(ticks["tickvals"], ticks["ticktext"])
        axes.set_xticks([], minor=True)
        axes.set_xlim(ends)


def save_figure(figure: "Figure", kind: str, file: BinaryIO) -> None:
    """Write a figure as a "pdf", "svg" or "png"; equal figures give equal files."""
    from matplotlib import rc_context

    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with rc_context(_PRINT):
        figure.savefig(file, format=kind, metadata=undated, dpi=200)
