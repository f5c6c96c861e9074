"""The report's Plotly figures as HTML: functions of what the store holds, without judgement."""

import re
from collections.abc import Iterable
from html import escape
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.report.formatting import pick_labels, plain, row_terms
from sweep.report.view import View
from sweep.store.schema import OBJECTIVE, STDERR

# Okabe and Ito's palette, without those that vanish on white or on black.
FRONT = "#D55E00"
PICKS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS = (FRONT, *PICKS)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MUTED = "rgba(128,128,128,0.55)"
FAINT = "rgba(128,128,128,0.45)"
RING = "#808080"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


MOST = 1000
"""So many points can be told apart; beyond, those off the front are thinned and have no error bars."""


def thinned(rows: pl.DataFrame, most: int = MOST) -> pl.DataFrame:
    """Return every nth row, `most` at most.

    >>> thinned(pl.DataFrame({"a": range(5)}), 2)["a"].to_list()
    [0, 3]
    """
    return rows.gather_every(max(1, -(-rows.height // most)))


def axis(title: str, **more: object) -> dict[str, Any]:
    """Return the settings of one axis; its title may have several lines."""
    return {
        "title": {"text": escape(title).replace("\n", "<br>"), "standoff": 8, "font": {"size": 13}},
        "gridcolor": "rgba(128,128,128,0.18)",
        "linecolor": MUTED,
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": MUTED,
        "ticklen": 4,
        "automargin": True,
        **more,
    }


def layout(height: int, **more: object) -> dict[str, Any]:
    """Return the settings that all figures share, and more."""
    return {
        "template": "none",
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": "#808080"},
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"},
        "hoverlabel": {"bgcolor": "#222222", "bordercolor": "#222222", "font": {"color": "#ffffff"}},
        "hovermode": "closest",
        # Dragging scrolls the page on a phone instead of zooming the figure.
        "dragmode": False,
        **more,
    }


def figure_html(figure: Any, name: str, description: str) -> str:
    """Return a Plotly figure as HTML that needs plotly.js on the page.

    Args:
        figure: the plotly Figure.
        name: names the figure in the page; may hold any signs.
        description: what a reader who cannot see it should know.
    """
    body = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=re.sub(r"[^A-Za-z0-9_]+", "-", name),
        default_height=f"{figure.layout.height}px",
        config={"displayModeBar": False, "responsive": True},
    )
    return f'<figure role="img" aria-label="{escape(description)}">{body}</figure>'


def series(points: NDArray[np.float64], **more: object) -> dict[str, Any]:
    """Return a scatter of points [P, 2 or more] that tells its text where there is one."""
    text = {"hoverinfo": "text"} if "text" in more else {}
    return {"type": "scatter", "x": points[:, 0].tolist(), "y": points[:, 1].tolist(), **text, **more}


def steps(front: NDArray[np.float64], i: int, *, maximize: bool, **more: object) -> dict[str, Any]:
    """Return a sorted front as steps that bound what it attains, in the i-th colour.

    Args:
        front: its points [P, 2], sorted by the first objective.
        i: the colour.
        maximize: whether larger is better in the first objective.
        more: further settings of the line.
    """
    line = {"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2, "shape": "vh" if maximize else "hv"}
    return series(front, mode="lines", line=line, hoverinfo="skip", **more)


def drawn(name: str, description: str, parts: Iterable[dict[str, Any]], form: dict[str, Any]) -> str:
    """Return a figure of these parts in this layout as HTML; the rest is as for `figure_html`."""
    import plotly.graph_objects as go

    return figure_html(go.Figure(list(parts), layout=form), name, description)


_MOST_POINTS = 200
"""A learning curve is thinned to so many points: more cannot be told apart on a screen."""
_MOST_CURVES = 300
"""So many trials have their learning curve drawn, the picks apart."""


def front_figures(view: View) -> str:
    """Return a scatter of all configs for every two objectives: front, picks and error bars."""
    names = view.tradeoff.points.names
    return "".join(_front_figure(view, x, y) for x, y in combinations(names, 2))


def _front_figure(view: View, x: str, y: str) -> str:
    found = view.tradeoff
    hover, on_front = pl.Series("_hover", _hover(view)), pl.Series("_front", found.on_front)
    configs = found.configs.with_columns(hover, on_front).sort(OBJECTIVE + x)

    def dots(rows: pl.DataFrame, colour: str, *, bars: bool, **more: object) -> dict[str, Any]:
        bar = {"thickness": 1, "width": 0, "color": colour}
        bars_of = {f"error_{a}": bar | {"array": rows[STDERR + n].to_list()} for a, n in (("x", x), ("y", y))}
        texts: dict[str, Any] = {"hovertext": rows["_hover"].to_list(), "hoverinfo": "text"}
        texts |= {"customdata": rows["trial_id"].to_list()} | (bars_of if bars else {})
        return series(rows.select(OBJECTIVE + x, OBJECTIVE + y).to_numpy(), **texts, **more)

    others, front = configs.filter(~pl.col("_front")), configs.filter("_front")
    few = thinned(others)
    # With more than two objectives the front is no line in the plane of two of them.
    mode = "lines+markers" if len(found.points.names) == 2 else "markers"
    shape = "vh" if dict(zip(found.points.names, found.points.maximize, strict=True))[x] else "hv"
    line = {"color": FRONT, "width": 1.5, "shape": shape}
    name, small, large = (
        f"{_share(few, others)}other configs",
        {"color": MUTED, "size": 7},
        {"color": FRONT, "size": 9},
    )
    parts = [
        dots(
            few,
            MUTED,
            bars=few.height == others.height,
            mode="markers",
            name=name,
            marker=small | {"color": MUTED},
        ),
        dots(front, FRONT, bars=True, mode=mode, name="front", marker=large | {"color": FRONT}, line=line),
    ]
    values = configs[OBJECTIVE + x].to_numpy()
    # A label stands above and to the right, where a front to be maximised leaves room, unless it would leave
    # the figure.
    turn = 0.3 * values.min() + 0.7 * values.max()
    silent = {"type": "scatter", "hoverinfo": "skip", "showlegend": False}
    for picked in view.picked:
        at = configs.filter(trial_id=picked.trial_id).select(OBJECTIVE + x, OBJECTIVE + y).row(0)
        circle = {"symbol": "circle-open", "size": 16, "color": picked.colour, "line": {"width": 2.5}}
        place = "bottom left" if at[0] > turn else "top right"
        label = {"text": [escape(picked.labels)], "textposition": place, "cliponaxis": False}
        parts.append(silent | label | {"x": at[:1], "y": at[1:], "mode": "markers+text", "marker": circle})
    # Moved by details.js to the chosen config.
    ring = {"color": RING, "size": 24, "symbol": "circle-open", "line": {"width": 2, "color": RING}}
    parts.append(silent | {"x": [None], "y": [None], "mode": "markers", "marker": ring})
    description = (
        f"Scatter plot of {plain(x)} against {plain(y)} for {configs.height} configs, with the front"
    )
    form = layout(440, xaxis=axis(_title(view, x)), yaxis=axis(_title(view, y)))
    return drawn(f"front-{x}-{y}", description, parts, form)


def _share(some: pl.DataFrame, whole: pl.DataFrame) -> str:
    """Return how many of a whole are drawn, or nothing if all are."""
    return f"{some.height} of {whole.height} " if some.height < whole.height else ""


def _hover(view: View) -> list[str]:
    """Return what pointing at a config shows: its trial, objectives and searched settings."""
    found, texts = view.tradeoff, []
    for row in found.configs.iter_rows(named=True):
        label = pick_labels(found.picks, row["trial_id"])
        first = f"<b>{escape(row['trial_id'])}</b>{f' ({escape(label)})' if label else ''}"
        terms = row_terms(found.points.names, row).items()
        texts.append("<br>".join([first, *(f"{escape(k)} {escape(v)}" for k, v in terms)]))
    return texts


def _title(view: View, objective: str) -> str:
    points = view.tradeoff.points
    up = points.maximize[points.names.index(objective)]
    return f"{plain(objective)}, {'higher' if up else 'lower'} is better"


def size_figure(view: View, sizes: pl.DataFrame) -> str:
    """Return coherence by number of observed modalities, a line per pick, and the chance level.

    Args:
        view: whose picks to draw.
        sizes: the rows of `coherence_by_size` of the picks.
    """
    lines = [
        series(
            sizes.filter(trial_id=picked.trial_id).select("source_size", "value").to_numpy(),
            mode="lines+markers",
            name=escape(picked.labels),
            line={"color": picked.colour, "width": 2.5},
            marker={"size": 8},
        )
        for picked in view.picked
    ]
    chance = sizes.group_by("source_size").agg(pl.col("chance").mean()).sort("source_size").to_numpy()
    dots = {"color": MUTED, "dash": "dot", "width": 2}
    form = layout(
        340,
        xaxis=axis("observed modalities", dtick=1),
        yaxis=axis("coherence of unobserved targets", range=[0, 1.02]),
    )
    lines.append(series(chance, mode="lines", name="chance", line=dots))
    return drawn("by-size", "Line plot of coherence by number of observed modalities", lines, form)


def curve_figure(view: View, top: float) -> str:
    """Return loss by epoch: all trials thin, the picks bold, cut above `top`."""
    trials = view.curves.select("trial_id").unique(maintain_order=True)
    some = thinned(trials, _MOST_CURVES)
    curves = view.curves.join(some, on="trial_id", maintain_order="left").select("trial_id", "epoch", "loss")
    gap = pl.DataFrame({"trial_id": [None], "epoch": [None], "loss": [None]}, schema=curves.schema)
    # The gap keeps the next trial's line apart.
    parts = [
        p
        for c in curves.partition_by("trial_id", maintain_order=True)
        for p in (thinned(c, _MOST_POINTS), gap)
    ]
    whole = pl.concat(parts)
    faint = {"color": FAINT, "width": 1}
    lines: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": whole["epoch"].to_list(),
            "y": whole["loss"].to_list(),
            "mode": "lines",
            "name": f"{_share(some, trials) or 'all '}trials",
            "line": faint,
            "hoverinfo": "skip",
        }
    ]
    for picked in view.picked:
        thin = thinned(view.curves.filter(trial_id=picked.trial_id), _MOST_POINTS)
        line = {"color": picked.colour, "width": 2.5}
        points = thin.select("epoch", "loss").to_numpy()
        lines.append(series(points, mode="lines", name=escape(picked.labels), line=line))
    low = float(view.curves.filter(pl.col("loss").is_finite())["loss"].min())  # type: ignore[arg-type] # numbers
    loss = axis("training loss, nats per sample", range=[low - 0.05 * (top - low), top])
    form = layout(380, xaxis=axis("epoch"), yaxis=loss)
    return drawn("curves", "Line plot of training loss by epoch for all trials", lines, form)
