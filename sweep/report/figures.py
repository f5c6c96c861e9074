"""The report's Plotly figures as HTML: functions of what the store holds, without judgement."""

from html import escape
from itertools import combinations

import polars as pl

from mopoe.subsets import subset_label, subset_masks
from sweep.analysis.intervals import pair_interval
from sweep.report.theme import FAINT, FRONT, MUTED, RING, axis, figure_html, layout, thinned
from sweep.report.view import View
from sweep.report.words import pick_labels, plain, searched_settings, setting_text, with_error
from sweep.store.schema import OBJECTIVE, STDERR

_MOST_POINTS = 200
"""A learning curve is thinned to so many points: more cannot be told apart on a screen."""
_MOST_CURVES = 300
"""So many trials have their learning curve drawn, the picks apart."""


def front_figures(view: View) -> str:
    """Return a scatter of all configs for every two objectives: front, picks and error bars."""
    names = view.tradeoff.points.names
    return "".join(_front_figure(view, x, y) for x, y in combinations(names, 2))


def _front_figure(view: View, x: str, y: str) -> str:
    import plotly.graph_objects as go

    found = view.tradeoff
    configs = found.configs.with_columns(
        pl.Series("_hover", _hover(view)), pl.Series("_front", found.on_front)
    ).sort(OBJECTIVE + x)
    front = configs.filter("_front")
    figure = go.Figure(layout=layout(440, xaxis=axis(_title(view, x)), yaxis=axis(_title(view, y))))

    def dots(rows: pl.DataFrame, colour: str, *, bars: bool, **more: object) -> None:
        def error(name: str) -> dict[str, object] | None:
            bar = {"array": rows[STDERR + name].to_list(), "thickness": 1, "width": 0, "color": colour}
            return bar if bars else None

        figure.add_scatter(
            x=rows[OBJECTIVE + x].to_list(),
            y=rows[OBJECTIVE + y].to_list(),
            error_x=error(x),
            error_y=error(y),
            hovertext=rows["_hover"].to_list(),
            hoverinfo="text",
            customdata=rows["trial_id"].to_list(),
            **more,
        )

    others = configs.filter(~pl.col("_front"))
    few = thinned(others)
    dots(
        few,
        MUTED,
        bars=few.height == others.height,
        mode="markers",
        name=f"{_share(few, others)}other configs",
        marker={"color": MUTED, "size": 7},
    )
    # With more than two objectives the front is no line in the plane of two of them.
    flat = len(found.points.names) == 2
    shape = "vh" if dict(zip(found.points.names, found.points.maximize, strict=True))[x] else "hv"
    dots(
        front,
        FRONT,
        bars=True,
        mode="lines+markers" if flat else "markers",
        name="front",
        marker={"color": FRONT, "size": 9},
        line={"color": FRONT, "width": 1.5, "shape": shape},
    )
    values = configs[OBJECTIVE + x].to_numpy()
    # A label stands above and to the right, where a front to be maximised leaves room, unless it would leave
    # the figure.
    turn = 0.3 * values.min() + 0.7 * values.max()
    for picked in view.picked:
        row = configs.row(by_predicate=pl.col("trial_id") == picked.trial_id, named=True)
        figure.add_scatter(
            x=[row[OBJECTIVE + x]],
            y=[row[OBJECTIVE + y]],
            mode="markers+text",
            marker={
                "color": picked.colour,
                "size": 16,
                "symbol": "circle-open",
                "line": {"width": 2.5, "color": picked.colour},
            },
            text=[escape(picked.labels)],
            textposition="bottom left" if row[OBJECTIVE + x] > turn else "top right",
            cliponaxis=False,
            hoverinfo="skip",
            showlegend=False,
        )
    # Moved by details.js to the chosen config.
    ring = {"color": RING, "size": 24, "symbol": "circle-open", "line": {"width": 2, "color": RING}}
    figure.add_scatter(x=[None], y=[None], mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
    description = (
        f"Scatter plot of {plain(x)} against {plain(y)} for {configs.height} configs, with the front"
    )
    return figure_html(figure, f"front-{x}-{y}", description)


def _share(some: pl.DataFrame, whole: pl.DataFrame) -> str:
    """Return how many of a whole are drawn, or nothing if all are."""
    return f"{some.height} of {whole.height} " if some.height < whole.height else ""


def _hover(view: View) -> list[str]:
    """Return what pointing at a config shows: its trial, objectives and searched settings."""
    found, texts = view.tradeoff, []
    settings = searched_settings(found.configs.columns)
    for row in found.configs.iter_rows(named=True):
        label = pick_labels(found.picks, row["trial_id"])
        lines = [f"<b>{escape(row['trial_id'])}</b>{f' ({escape(label)})' if label else ''}"]
        lines += [
            f"{escape(plain(name))} {with_error(row[OBJECTIVE + name], row[STDERR + name])}"
            for name in found.points.names
        ]
        lines += [
            f"{escape(plain(name))} {escape(setting_text([row[p] for p in parts]))}"
            for name, parts in settings.items()
        ]
        texts.append("<br>".join(lines))
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
    import plotly.graph_objects as go

    figure = go.Figure(
        layout=layout(
            340,
            xaxis=axis("observed modalities", dtick=1),
            yaxis=axis("coherence of unobserved targets", range=[0, 1.02]),
        )
    )
    for picked in view.picked:
        rows = sizes.filter(trial_id=picked.trial_id)
        figure.add_scatter(
            x=rows["source_size"].to_list(),
            y=rows["value"].to_list(),
            mode="lines+markers",
            name=escape(picked.labels),
            line={"color": picked.colour, "width": 2.5},
            marker={"size": 8},
        )
    chance = sizes.group_by("source_size").agg(pl.col("chance").mean()).sort("source_size")
    figure.add_scatter(
        x=chance["source_size"].to_list(),
        y=chance["chance"].to_list(),
        mode="lines",
        name="chance",
        line={"color": MUTED, "dash": "dot", "width": 2},
    )
    return figure_html(figure, "by-size", "Line plot of coherence by number of observed modalities")


def pair_figure(view: View, pairs: pl.DataFrame) -> str:
    """Return the heat map of coherence by source subset and target of one trial.

    Args:
        view: for the modalities.
        pairs: that trial's rows of the pair_coherence table.
    """
    import plotly.graph_objects as go

    names = view.tradeoff.manifest.modalities
    masks = subset_masks(len(names))
    cells = {
        (s, t): (v, i) for s, t, v, i in pairs.select("source_mask", "target", "value", "in_source").rows()
    }
    ends = {
        (s, t): "{:.3f} to {:.3f}".format(*pair_interval(*rest))
        for s, t, *rest in pairs.select(
            "source_mask", "target", "value", "stderr", "n", "measure"
        ).iter_rows()
    }
    values = [[cells.get((mask, name), (None, False))[0] for name in names] for mask in masks]

    def text(mask: int, name: str) -> str:
        value, observed = cells.get((mask, name), (None, False))
        return "" if value is None else f"({value:.2f})" if observed else f"{value:.2f}"

    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[escape(n) for n in names],
            y=[escape(subset_label(mask, names)) for mask in masks],
            text=[[text(mask, name) for name in names] for mask in masks],
            texttemplate="%{text}",
            customdata=[[ends.get((mask, name), "") for name in names] for mask in masks],
            hovertemplate="%{x} from %{y}: %{z:.3f}, 95 % interval %{customdata}<extra></extra>",
            colorscale="Cividis",
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorbar={
                "thickness": 10,
                "outlinewidth": 0,
                "tickvals": [0, 0.5, 1],
                "lenmode": "pixels",
                "len": 160,
                "y": 1,
                "yanchor": "top",
            },
        ),
        layout=layout(
            90 + 22 * len(masks),
            xaxis=axis("target", showline=False, side="top", showgrid=False),
            yaxis=axis("observed", showline=False, autorange="reversed", showgrid=False, dtick=1),
            margin={"l": 56, "r": 8, "t": 56, "b": 8},
        ),
    )
    drawn = figure_html(figure, "pairs", "Heat map of coherence by observed subset and target modality")
    return f'<div class="scroll broad" tabindex="0">{drawn}</div>'


def curve_figure(view: View, top: float) -> str:
    """Return loss by epoch: all trials thin, the picks bold, cut above `top`."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=layout(380, xaxis=axis("epoch"), yaxis=axis("training loss, nats per sample")))
    xs: list[float | None] = []
    ys: list[float | None] = []
    trials = view.curves.select("trial_id").unique(maintain_order=True)
    drawn = thinned(trials, _MOST_CURVES)
    for (_,), rows in view.curves.join(drawn, on="trial_id", maintain_order="left").group_by(
        "trial_id", maintain_order=True
    ):
        thin = thinned(rows, _MOST_POINTS)
        # The gap keeps the next trial's line apart.
        xs += [*thin["epoch"].to_list(), None]
        ys += [*thin["loss"].to_list(), None]
    name = f"{_share(drawn, trials) or 'all '}trials"
    figure.add_scatter(
        x=xs, y=ys, mode="lines", name=name, line={"color": FAINT, "width": 1}, hoverinfo="skip"
    )
    for picked in view.picked:
        rows = view.curves.filter(trial_id=picked.trial_id)
        thin = thinned(rows, _MOST_POINTS)
        figure.add_scatter(
            x=thin["epoch"].to_list(),
            y=thin["loss"].to_list(),
            mode="lines",
            name=escape(picked.labels),
            line={"color": picked.colour, "width": 2.5},
        )
    losses = view.curves.filter(pl.col("loss").is_finite())["loss"].to_numpy()
    low = float(losses.min())
    figure.update_yaxes(range=[low - 0.05 * (top - low), top])
    return figure_html(figure, "curves", "Line plot of training loss by epoch for all trials")
