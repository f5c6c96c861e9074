"""The report's Plotly figures as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sweep.analysis.points import worst_first
from sweep.analysis.posterior import Array
from sweep.analysis.tradeoff import Tradeoff
from sweep.analysis.uncertainty import coarse
from sweep.config.objectives import Objective, gains
from sweep.report.formatting import (
    number,
    pick_labels,
    plain,
    row_terms,
    searched_settings,
    setting_title,
    with_unit,
)
from sweep.report.theme import (
    COLOURS,
    DASHES,
    FAINT,
    FRONT,
    MUTED,
    RING,
    STEPS,
    axis,
    drawn,
    every_nth,
    layout,
    scale,
    series,
    steps,
)
from sweep.report.view import Picked, View, picked_configs
from sweep.store.layout import INTERVAL, OBJECTIVE, PARAMETER
from sweep.store.records import searched_by_logarithm

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_MOST_EPOCHS, _MOST_CURVES = 200, 300
"""Most points of a learning curve, and most trials with a curve besides the picks."""
_BARS = "rgba(213,94,0,0.45)"
"""The front's colour, paler: its error bars are not to be taken for its line."""
_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "star")
_RARE = [[0, "rgba(128,128,128,0.3)"], [0.2, "#E69F00"], [1, FRONT]]


def front_figures(view: View) -> str:
    """Return a scatter plot of all configs for every two objectives: front, picks and error bars."""
    configs, figures = view.tradeoff.configs.height, []
    for first, second in combinations(view.tradeoff.points.objectives, 2):
        what = f"{plain(first.name)} against {plain(second.name)} for {configs} configs, with the front"
        parts = _front_parts(view.tradeoff, view.picked, first, second)
        figures.append(drawn(f"front-{first.name}-{second.name}", f"Scatter plot of {what}", *parts))
    return "".join(figures)


def front_plot(tradeoff: Tradeoff, first: Objective, second: Objective) -> "Figure":
    """Return the page's scatter plot of all configs in two objectives as a Plotly figure."""
    import plotly.graph_objects as go

    traces, form = _front_parts(tradeoff, picked_configs(tradeoff), first, second)
    return go.Figure(traces, layout=form)


def _front_parts(
    tradeoff: Tradeoff, picked: Sequence[Picked], first: Objective, second: Objective
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the traces and the layout of the plot of the front in two objectives."""
    x, y = first.name, second.name
    hover, on_front = pl.Series("_hover", _hover(tradeoff)), pl.Series("_front", tradeoff.on_front)
    configs = worst_first(tradeoff.configs.with_columns(hover, on_front), first)

    def dots(rows: pl.DataFrame, colour: str, size: int, *, bars: bool, **more: object) -> dict[str, Any]:
        bar = {"thickness": 1, "width": 0, "color": _BARS if colour == FRONT else FAINT}
        bars_of = {
            f"error_{a}": bar | {"array": rows[INTERVAL + n].to_list()} for a, n in (("x", x), ("y", y))
        }
        more |= {"hovertext": rows["_hover"].to_list(), "hoverinfo": "text"}
        more |= {"customdata": rows["trial_id"].to_list(), "marker": {"color": colour, "size": size}}
        return series(
            rows.select(OBJECTIVE + x, OBJECTIVE + y).to_numpy(), **more, **(bars_of if bars else {})
        )

    others, front = configs.filter(~pl.col("_front")), configs.filter("_front")
    some = every_nth(others)
    # With more than two objectives the front is no line in the plane of two of them.
    mode = "lines+markers" if len(tradeoff.points.names) == 2 else "markers"
    line = {"color": FRONT, "width": 1.5, "shape": STEPS}
    whole = some.height == others.height
    name = f"{_share(some, others)}other configs"
    traces = [
        dots(some, MUTED, 7, bars=whole, mode="markers", name=name),
        dots(front, FRONT, 9, bars=True, mode=mode, name="front", line=line),
    ]
    silent = {"type": "scatter", "mode": "markers", "hoverinfo": "skip"}
    for pick in picked:
        at = configs.filter(trial_id=pick.trial_id).select(OBJECTIVE + x, OBJECTIVE + y).row(0)
        circle = {"symbol": "circle-open", "size": 16, "color": pick.colour, "line": {"width": 2.5}}
        traces.append(silent | {"name": escape(pick.labels), "x": at[:1], "y": at[1:], "marker": circle})
    # details.js moves this ring to the chosen config.
    ring = {"color": RING, "size": 24, "symbol": "circle-open", "line": {"width": 2, "color": RING}}
    traces.append(silent | {"showlegend": False, "x": [None], "y": [None], "marker": ring})
    titles = [f"{with_unit(o)}, {'higher' if o.maximize else 'lower'} is better" for o in (first, second)]
    return traces, layout(440, xaxis=axis(titles[0]), yaxis=axis(titles[1]))


def _share(some: pl.DataFrame, whole: pl.DataFrame) -> str:
    """Return how many rows of a whole are drawn, or nothing if all are."""
    return f"{some.height} of {whole.height} " if some.height < whole.height else ""


def _hover(tradeoff: Tradeoff) -> list[str]:
    """Return the text shown when pointing at a config: its trial, objectives and searched settings."""
    texts = []
    for row in tradeoff.configs.iter_rows(named=True):
        label = pick_labels(tradeoff.picks, row["trial_id"])
        first = f"<b>{escape(row['trial_id'])}</b>{f' ({escape(label)})' if label else ''}"
        terms = row_terms(tradeoff.points.names, row).items()
        texts.append("<br>".join([first, *(f"{escape(k)} {escape(v)}" for k, v in terms)]))
    return texts


def stability_figure(view: View) -> str:
    """Return the first two objectives of all configs, coloured by their probability of being on the front."""
    order = np.argsort(view.stability.on_front)
    share = view.stability.on_front[order].tolist()
    bar = {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.2, 0.5, 1], "tickformat": ".0%"}
    marker = {"color": share, "colorscale": _RARE, "cmin": 0, "cmax": 1, "colorbar": bar, "size": 11}
    ids = view.tradeoff.points.trial_ids
    few = view.stability.few_seeds[order].tolist()
    text = [
        f"{escape(ids[i])}: on the front with probability {coarse(p, few_seeds=of_few)}"
        for i, p, of_few in zip(order, share, few, strict=True)
    ]
    dots = series(view.tradeoff.points.values[order], mode="markers", marker=marker, text=text)
    return _plane(view, "stability", "Configs coloured by their probability of being on the front", [dots])


def attainment_figure(view: View, sets: Sequence[Array], surfaces: Mapping[str, Array]) -> str:
    """Return the points of all seeds and the surfaces by name, as steps, in two objectives.

    Args:
        view: the report.
        sets: the gains of each seed, from `seed_sets`.
        surfaces: the gains of each surface, from `attainment_surface`.
    """
    objectives = view.tradeoff.points.objectives
    values = gains(np.concatenate(sets), objectives)
    dots = series(values, mode="markers", name="a config with a seed", marker={"color": MUTED})
    lines = [steps(gains(s, objectives), i, name=name) for i, (name, s) in enumerate(surfaces.items())]
    return _plane(view, "attainment", "Attainment surfaces over seeds", [dots, *lines])


def method_figure(view: View, methods: pl.DataFrame) -> str:
    """Return the configs of each method in its colour and symbol; with two objectives, also their fronts.

    Args:
        view: the report.
        methods: the configs, from `by_method`.
    """
    objectives, traces = view.tradeoff.points.objectives, []
    names, flat = [OBJECTIVE + o.name for o in objectives[:2]], len(objectives) == 2
    for i, ((method,), rows) in enumerate(methods.group_by("method", maintain_order=True)):
        marker = {"color": COLOURS[i % 6], "symbol": _SYMBOLS[i % 6], "size": 8, "opacity": 0.75}
        more = {"name": escape(str(method)), "text": rows["trial_id"].to_list(), "marker": marker}
        traces.append(series(rows.select(names).to_numpy(), mode="markers", **more))
        front = worst_first(rows.filter("on_own_front"), objectives[0]).select(names).to_numpy()
        traces += [steps(front, i, showlegend=False)] if flat else []
    return _plane(view, "methods", "Configs of each method, with its front", traces)


def _plane(view: View, name: str, description: str, traces: Iterable[dict[str, Any]]) -> str:
    x, y = (axis(with_unit(objective)) for objective in view.tradeoff.points.objectives[:2])
    return drawn(name, description, traces, layout(400, xaxis=x, yaxis=y))


def history_figures(history: pl.DataFrame) -> str:
    """Return the hypervolume against trials, hours and epochs, as three small figures."""
    axes = {"trials": "trials that ended", "hours": "hours", "epochs": "epochs trained"}
    volume = axis("hypervolume", rangemode="tozero")
    line = {"mode": "lines", "line": {"color": FRONT, "width": 2, "shape": "hv"}}
    figures = [
        drawn(
            f"hypervolume-{column}",
            f"Line plot of hypervolume by {title}",
            [series(history.select(column, "hypervolume").to_numpy(), **line)],
            layout(240, xaxis=axis(title), yaxis=volume),
        )
        for column, title in axes.items()
    ]
    return f'<div class="multiples">{"".join(figures)}</div>'


def rung_figure(agreement: pl.DataFrame) -> str:
    """Return Kendall's tau by epoch, a line per objective, and the share of the final front kept."""
    names = {n: f"order by {plain(n)}" for n in agreement.columns[2:-1]} | {"kept": "share of the front kept"}
    lines = [
        series(
            agreement.select("epoch", column).to_numpy(),
            mode="lines+markers",
            name=escape(name),
            line={"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2},
        )
        for i, (column, name) in enumerate(names.items())
    ]
    form = layout(320, xaxis=axis("epoch"), yaxis=axis("agreement with full budget", rangemode="tozero"))
    return drawn("rungs", "Line plot of the agreement of early values with full budget", lines, form)


def importance_figure(shares: pl.DataFrame, settings: Sequence[str]) -> str:
    """Return a bar for each of these settings and each target, pale if it is not above chance."""
    names = [escape(plain(s)) for s in settings]
    bars: list[dict[str, Any]] = []
    for (target,), rows in shares.group_by("target", maintain_order=True):
        ordered = pl.DataFrame({"setting": settings}).join(rows, on="setting", maintain_order="left")
        share, chance = ordered["importance"].to_list(), ordered["chance"].to_list()
        opacity = [1 if s > c else 0.3 for s, c in zip(share, chance, strict=True)]
        texts = [f"{s:.2f}, by chance up to {number(c)}" for s, c in zip(share, chance, strict=True)]
        look = {"color": COLOURS[len(bars) % 6], "opacity": opacity}
        bar = {"type": "bar", "orientation": "h", "x": share, "y": names, "marker": look}
        bars.append(
            bar | {"name": escape(plain(str(target))), "hovertext": texts, "hoverinfo": "y+text+name"}
        )
    form = layout(
        110 + (24 + 14 * len(bars)) * len(settings),
        xaxis=axis("share of the importance", tickformat=".0%"),
        yaxis=axis("", autorange="reversed", showgrid=False, ticks=""),
    )
    return drawn("importances", "Bars of the importance of each setting for each target", bars, form)


def size_figure(view: View) -> str:
    """Return coherence by number of observed modalities, a line per pick, and the chance level."""
    lines = [
        series(
            view.sizes.filter(trial_id=picked.trial_id).select("source_size", "value").to_numpy(),
            mode="lines+markers",
            name=escape(picked.labels),
            line={"color": picked.colour, "width": 2.5},
            marker={"size": 8},
        )
        for picked in view.picked
    ]
    chance = view.sizes.group_by("source_size").agg(pl.col("chance").mean()).sort("source_size").to_numpy()
    dots = {"color": MUTED, "dash": "dot", "width": 2}
    lines.append(series(chance, mode="lines", name="chance", line=dots))
    sizes = view.sizes["source_size"].unique().sort().to_list()
    coherence = axis("coherence of unobserved targets", range=[0, 1.02])
    form = layout(340, xaxis=axis("observed modalities", tickvals=sizes), yaxis=coherence)
    return drawn("by-size", "Line plot of coherence by number of observed modalities", lines, form)


def curve_figure(view: View, low: float) -> str:
    """Return the ELBO by epoch: all trials in thin lines, the picks in bold, cut below `low`."""
    trials = view.curves.select("trial_id").unique(maintain_order=True)
    some = every_nth(trials, _MOST_CURVES)
    curves = view.curves.join(some, on="trial_id", maintain_order="left").select("trial_id", "epoch", "elbo")
    # A row of nulls ends the line of each trial.
    gap = pl.DataFrame({"trial_id": [None], "epoch": [None], "elbo": [None]}, schema=curves.schema)
    parts = curves.partition_by("trial_id", maintain_order=True)
    whole = pl.concat([part for curve in parts for part in (every_nth(curve, _MOST_EPOCHS), gap)])
    faint = {"mode": "lines", "line": {"color": FAINT, "width": 1}, "hoverinfo": "skip"}
    points = {"x": whole["epoch"].to_list(), "y": whole["elbo"].to_list()}
    lines = [{"type": "scatter", "name": f"{_share(some, trials) or 'all '}trials"} | points | faint]
    for picked in view.picked:
        thin = every_nth(view.curves.filter(trial_id=picked.trial_id), _MOST_EPOCHS)
        line = {"color": picked.colour, "width": 2.5}
        bold = thin.select("epoch", "elbo").to_numpy()
        lines.append(series(bold, mode="lines", name=escape(picked.labels), line=line))
    top = float(view.curves.filter(pl.col("elbo").is_finite())["elbo"].max())  # type: ignore[arg-type] # numbers
    elbo = axis("training ELBO (nats per sample)", range=[low, top + 0.05 * (top - low)])
    whole_epochs = {"dtick": 1} if view.curves["epoch"].n_unique() <= 10 else {}
    form = layout(380, xaxis=axis("epoch", **whole_epochs), yaxis=elbo)
    return drawn("curves", "Line plot of the training ELBO by epoch for all trials", lines, form)


def setting_figures(view: View, columns: Sequence[str]) -> str:
    """Return a small figure per searched setting: its values against each objective, a panel for each."""
    return f'<div class="multiples">{"".join(_setting_figure(view, c) for c in columns)}</div>'


def _setting_figure(view: View, column: str) -> str:
    tradeoff, title = view.tradeoff, setting_title(column, view.tradeoff.manifest)
    objectives = tradeoff.points.objectives
    rows = tradeoff.configs.with_columns(_front=tradeoff.on_front).filter(pl.col(column).is_not_null())
    rows = pl.concat([every_nth(rows.filter(~pl.col("_front"))), rows.filter("_front")])
    marker = {"size": 7, "color": np.where(rows["_front"], FRONT, MUTED).tolist()}
    dots: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "marker": marker,
        "x": rows[column].to_list(),
    }
    dots |= {"hovertext": rows["trial_id"].to_list(), "hoverinfo": "text+x+y", "showlegend": False}
    traces, panels = [], {}
    for panel, objective in enumerate(objectives, start=1):
        traces.append(dots | {"y": rows[OBJECTIVE + objective.name].to_list(), "yaxis": f"y{panel}"})
        panels[f"yaxis{panel}"] = axis(with_unit(objective).replace(" ", "\n"))
    # In a grid all panels of a column share its horizontal axis, which is below the last.
    grid = {"rows": len(objectives), "columns": 1, "ygap": 0.12}
    panels["xaxis"] = axis(title, **scale(rows[column], log=logarithmic(tradeoff, column)))
    description = f"Scatter plots of {title} against {' and '.join(plain(o.name) for o in objectives)}"
    form = layout(60 + 150 * len(objectives), grid=grid, **panels)
    return drawn(f"setting-{column.removeprefix(PARAMETER)}", description, traces, form)


def logarithmic(tradeoff: Tradeoff, column: str) -> bool:
    """Return whether a setting gets a logarithmic axis, as its range says.

    Of a setting without a range, such as a choice, the positive values get one if they span a decade.
    """
    values, name = tradeoff.configs[column].drop_nulls(), column.removeprefix(PARAMETER)
    single = len(searched_settings(tradeoff.configs.columns).get(name, ())) == 1
    if not (single and values.len() and values.dtype.is_numeric()):
        return False
    written = tradeoff.manifest.spec.get("search_space", {}).get(name, {})
    low, high = (float(end) for end in (values.min(), values.max()))  # type: ignore[arg-type] # numeric
    ranged = {"low", "high"} <= written.keys()
    return low > 0 and (searched_by_logarithm(written) if ranged else high / low > 10)
