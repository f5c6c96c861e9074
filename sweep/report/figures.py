"""The report's Plotly figures as HTML: functions of what the store holds, without judgement."""

from html import escape
from itertools import combinations
from typing import Any

import polars as pl

from sweep.analysis.points import worst_first
from sweep.config.objectives import Objective
from sweep.report.formatting import pick_labels, plain, row_terms
from sweep.report.theme import FAINT, FRONT, MUTED, RING, STEPS, axis, drawn, layout, series, thinned
from sweep.report.view import View
from sweep.store.layout import OBJECTIVE, STDERR

_MOST_POINTS = 200
"""A learning curve is thinned to so many points: more cannot be told apart on a screen."""
_MOST_CURVES = 300
"""So many trials have their learning curve drawn, the picks apart."""


def front_figures(view: View) -> str:
    """Return a scatter of all configs for every two objectives: front, picks and error bars."""
    return "".join(_front_figure(view, *pair) for pair in combinations(view.tradeoff.points.objectives, 2))


def _front_figure(view: View, first: Objective, second: Objective) -> str:
    found, x, y = view.tradeoff, first.name, second.name
    hover, on_front = pl.Series("_hover", _hover(view)), pl.Series("_front", found.on_front)
    configs = worst_first(found.configs.with_columns(hover, on_front), first)

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
    line = {"color": FRONT, "width": 1.5, "shape": STEPS}
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
    # A label stands on the better side of its point, where a front leaves room, unless it would leave the
    # figure.
    worst, best = (float(configs[OBJECTIVE + x][i]) for i in (0, -1))
    better = ["top" if second.maximize else "bottom", "right" if first.maximize else "left"]
    worse = ["bottom" if second.maximize else "top", "left" if first.maximize else "right"]
    silent = {"type": "scatter", "hoverinfo": "skip", "showlegend": False}
    for picked in view.picked:
        at = configs.filter(trial_id=picked.trial_id).select(OBJECTIVE + x, OBJECTIVE + y).row(0)
        circle = {"symbol": "circle-open", "size": 16, "color": picked.colour, "line": {"width": 2.5}}
        place = worse if abs(at[0] - worst) > 0.7 * abs(best - worst) else better
        label = {"text": [escape(picked.labels)], "textposition": " ".join(place), "cliponaxis": False}
        parts.append(silent | label | {"x": at[:1], "y": at[1:], "mode": "markers+text", "marker": circle})
    # Moved by details.js to the chosen config.
    ring = {"color": RING, "size": 24, "symbol": "circle-open", "line": {"width": 2, "color": RING}}
    parts.append(silent | {"x": [None], "y": [None], "mode": "markers", "marker": ring})
    description = (
        f"Scatter plot of {plain(x)} against {plain(y)} for {configs.height} configs, with the front"
    )
    form = layout(440, xaxis=axis(_title(first)), yaxis=axis(_title(second)))
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


def _title(objective: Objective) -> str:
    return f"{plain(objective.name)}, {'higher' if objective.maximize else 'lower'} is better"


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
