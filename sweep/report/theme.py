"""The look of the report's figures: colours, layout, and the HTML around a figure.

style.css sets the colours of text for light and dark; the greys here are half transparent to suit both.
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.report.formatting import number

# Okabe and Ito's palette, without the colours that vanish on white or on black.
FRONT = "#D55E00"
PICKS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS = (FRONT, *PICKS)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MUTED = "rgba(128,128,128,0.85)"
FAINT = "rgba(128,128,128,0.45)"
RING = "#808080"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

STEPS = "vh"
"""Shape of the line through a front's points, ordered from the worst to the best first objective.

From each point it goes vertically to the second value of the next one, then horizontally to that point. So it
bounds what the front attains, whichever way the objectives point.
"""

MOST_POINTS = 1000
"""Most points in a scatter plot; beyond, those off the front are thinned and have no error bars."""

MOST_SETTINGS = 12
"""Most searched settings that are drawn: those that matter most."""

_MOST_TICKS = 6
"""Most ticks of a small figure."""
_CHARACTER = 0.05
"""Width of a character as a share of a small figure's axis, with some room."""


def every_nth(rows: pl.DataFrame, most: int = MOST_POINTS) -> pl.DataFrame:
    """Return every nth row, `most` at most.

    >>> every_nth(pl.DataFrame({"a": range(5)}), 2)["a"].to_list()
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


def scale(values: pl.Series, *, log: bool) -> dict[str, Any]:
    """Return the axis of a setting's values: categories, logarithmic or linear."""
    if values.dtype == pl.String:
        return {"type": "category"}
    at = values.unique().sort().to_list()
    if not _apart(at, log=log):
        if not log:
            return {}
        # 1, 2 and 5 of each decade; of many decades 1 alone, and of more not of each
        decades = range(math.floor(math.log10(at[0])), math.ceil(math.log10(at[-1])) + 1)
        digits = (1, 2, 5) if at[-1] / at[0] < 100 else (1,)
        at = [d * 10.0**e for e in decades[:: -(-len(decades) // _MOST_TICKS)] for d in digits]
    ticks = {"tickvals": at, "ticktext": [number(v) for v in at]}
    return ticks | {"type": "log"} if log else ticks


def _apart(values: Sequence[float], *, log: bool) -> bool:
    """Return whether values are few and far enough apart for a label at each in a small figure."""
    at = np.log10(values) if log else np.array(values)
    needed = _CHARACTER * max(len(number(v)) for v in values) * np.ptp(at)
    return len(values) <= _MOST_TICKS and bool((np.diff(at) >= needed).all())


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
        # On a phone, dragging scrolls the page instead of zooming the figure.
        "dragmode": False,
        **more,
    }


def series(points: NDArray[np.float64], **more: object) -> dict[str, Any]:
    """Return a scatter trace of points [P, 2 or more]; pointing at one shows its text if there is any."""
    text = {"hoverinfo": "text"} if "text" in more else {}
    return {"type": "scatter", "x": points[:, 0].tolist(), "y": points[:, 1].tolist(), **text, **more}


def steps(front: NDArray[np.float64], i: int, **more: object) -> dict[str, Any]:
    """Return a front as steps that bound what it attains, in the i-th colour.

    Args:
        front: its points [P, 2], from the worst to the best in the first objective.
        i: the colour.
        more: further settings of the line.
    """
    line = {"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2, "shape": STEPS}
    return series(front, mode="lines", line=line, hoverinfo="skip", **more)


def drawn(name: str, description: str, traces: Iterable[dict[str, Any]], form: dict[str, Any]) -> str:
    """Return a figure as HTML, which figures.js draws with Plotly.

    Args:
        name: the figure's id on the page; may hold any characters.
        description: the figure in words, for readers who cannot see it.
        traces: what it draws.
        form: its layout, from `layout`.
    """
    import plotly.graph_objects as go
    from plotly.io import to_json

    place, content = re.sub(r"[^A-Za-z0-9_]+", "-", name), to_json(go.Figure(list(traces), layout=form))
    return (
        f'<figure role="img" aria-label="{escape(description)}"><div id="{place}" '
        f'style="height:{form["height"]}px"></div><script type="application/json">{content}</script></figure>'
    )
