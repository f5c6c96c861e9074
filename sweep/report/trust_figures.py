"""The Plotly figures of the cards on how far to trust a sweep: functions of what the analysis found."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import polars as pl

from sweep.analysis.attainment import Array
from sweep.report.theme import COLOURS, DASHES, FRONT, MUTED, axis, drawn, layout, series, steps
from sweep.report.view import View
from sweep.report.words import number, plain
from sweep.store.schema import OBJECTIVE

_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "star")
_RARE = [[0, "rgba(128,128,128,0.3)"], [0.2, "#E69F00"], [1, FRONT]]


def stability_figure(view: View) -> str:
    """Return the first two objectives of all configs, coloured by the share of bootstraps on the front."""
    order = np.argsort(view.stability.on_front)
    share = view.stability.on_front[order].tolist()
    bar = {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.2, 0.5, 1], "tickformat": ".0%"}
    marker = {"color": share, "colorscale": _RARE, "cmin": 0, "cmax": 1, "colorbar": bar, "size": 11}
    ids = view.tradeoff.points.trial_ids
    text = [f"{escape(ids[i])}: on the front in {s:.0%}" for i, s in zip(order, share, strict=True)]
    dots = series(view.tradeoff.points.values[order], mode="markers", marker=marker, text=text)
    return _plane(view, "stability", "Configs coloured by their share of bootstraps on the front", [dots])


def attainment_figure(view: View, sets: Sequence[Array], surfaces: Mapping[str, Array]) -> str:
    """Return the points of all seeds and the surfaces by name, as steps, in two objectives."""
    dots = series(np.concatenate(sets), mode="markers", name="a config with a seed", marker={"color": MUTED})
    up = view.tradeoff.points.maximize[0]
    lines = [steps(s, i, maximize=up, name=name) for i, (name, s) in enumerate(surfaces.items())]
    return _plane(view, "attainment", "Attainment surfaces over seeds", [dots, *lines])


def method_figure(view: View, methods: pl.DataFrame) -> str:
    """Return the configs of each method in its colour and symbol; of two objectives, with their fronts."""
    names = [OBJECTIVE + n for n in view.tradeoff.points.names[:2]]
    flat, up, parts = len(view.tradeoff.points.names) == 2, view.tradeoff.points.maximize[0], []
    for i, ((method,), rows) in enumerate(methods.group_by("method", maintain_order=True)):
        marker = {"color": COLOURS[i % 6], "symbol": _SYMBOLS[i % 6], "size": 8, "opacity": 0.75}
        more = {"name": escape(str(method)), "text": rows["trial_id"].to_list(), "marker": marker}
        parts.append(series(rows.select(names).to_numpy(), mode="markers", **more))
        front = rows.filter("on_own_front").select(names).sort(names[0]).to_numpy()
        parts += [steps(front, i, maximize=up, showlegend=False)] if flat else []
    return _plane(view, "methods", "Configs of each method, with its front", parts)


def history_figures(history: pl.DataFrame) -> str:
    """Return the hypervolume against trials, hours and epochs: three small figures of one height."""
    titles, volume = ("trials that ended", "hours", "epochs trained"), axis("hypervolume", rangemode="tozero")
    line = {"mode": "lines", "line": {"color": FRONT, "width": 2, "shape": "hv"}}
    figures = [
        drawn(
            f"hypervolume-{column}",
            f"Line plot of hypervolume by {title}",
            [series(history.select(column, "hypervolume").to_numpy(), **line)],
            layout(240, xaxis=axis(title), yaxis=volume),
        )
        for column, title in zip(("trials", "hours", "epochs"), titles, strict=True)
    ]
    return f'<div class="multiples">{"".join(figures)}</div>'


def rung_figure(agreement: pl.DataFrame) -> str:
    """Return Kendall's tau by epoch, a line per objective, and the share of the final front kept."""
    named = {n: f"order by {plain(n)}" for n in agreement.columns[2:-1]} | {"kept": "share of the front kept"}
    lines = [
        series(
            agreement.select("epoch", column).to_numpy(),
            mode="lines+markers",
            name=escape(name),
            line={"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2},
        )
        for i, (column, name) in enumerate(named.items())
    ]
    form = layout(320, xaxis=axis("epoch"), yaxis=axis("agreement with full budget", rangemode="tozero"))
    return drawn("rungs", "Line plot of the agreement of early values with full budget", lines, form)


def importance_figure(shares: pl.DataFrame, settings: Sequence[str]) -> str:
    """Return a bar for each of these settings and each target; it is pale where chance reaches as far."""
    names = [escape(plain(s)) for s in settings]
    bars: list[dict[str, Any]] = []
    for (target,), rows in shares.group_by("target", maintain_order=True):
        ordered = pl.DataFrame({"setting": settings}).join(rows, on="setting", maintain_order="left")
        share, chance = ordered["importance"].to_list(), ordered["chance"].to_list()
        clear = [1 if s > c else 0.3 for s, c in zip(share, chance, strict=True)]
        told = [f"{s:.2f}, by chance up to {number(c)}" for s, c in zip(share, chance, strict=True)]
        look = {"color": COLOURS[len(bars) % 6], "opacity": clear}
        bar = {"type": "bar", "orientation": "h", "x": share, "y": names, "marker": look}
        bars.append(bar | {"name": escape(plain(str(target))), "hovertext": told, "hoverinfo": "y+text+name"})
    form = layout(
        110 + (24 + 14 * len(bars)) * len(settings),
        xaxis=axis("share of the importance", tickformat=".0%"),
        yaxis=axis("", autorange="reversed", showgrid=False, ticks=""),
    )
    return drawn("importances", "Bars of the importance of each setting for each target", bars, form)


def _plane(view: View, name: str, description: str, parts: Iterable[dict[str, Any]]) -> str:
    x, y = view.tradeoff.points.names[:2]
    return drawn(name, description, parts, layout(400, xaxis=axis(plain(x)), yaxis=axis(plain(y))))
