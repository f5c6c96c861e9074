"""Searched settings against objectives: a small figure for each, and how its values are shown best."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from sweep.report.theme import FRONT, MUTED, axis, figure_html, layout, thinned
from sweep.report.view import View
from sweep.report.words import number, plain, searched_settings
from sweep.store.schema import OBJECTIVE, PARAMETER


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
