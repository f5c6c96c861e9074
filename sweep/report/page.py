"""The report as files: one self-contained HTML page, the front as tables and as figures for papers."""

import re
from datetime import UTC, datetime
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path

import polars as pl

from sweep.report.cards import CARDS, Card
from sweep.report.paper import front_figure, save_figure
from sweep.report.summary import front_rows
from sweep.report.view import View, view
from sweep.report.words import number, status_line
from sweep.store.files import write_atomically
from sweep.store.read import Store

# Nothing leaves the page: scripts, styles and images are inside it, and the browser is told so.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_NUMBER = re.compile(r"-?[\d.]+(e[-+]?\d+)?( ± [\d.]+)?|")


def write_report(store: Store, out: Path) -> Path:
    """Write report.html, front.csv, .parquet, .pdf, .svg and .png into `out`, and return the page's path.

    With a single objective there is no plane to draw a front in, and so no figure.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema, or `out` cannot be written.
    """
    found = view(store)
    front = front_rows(found.tradeoff)
    page = out / "report.html"
    text = page_html(found, [card(found) for card in CARDS])
    write_atomically(out / "front.csv", front.write_csv)
    write_atomically(out / "front.parquet", front.write_parquet)
    if len(found.tradeoff.manifest.objectives) > 1:
        figure = front_figure(found.tradeoff)
        for kind in ("pdf", "svg", "png"):
            write_atomically(out / f"front.{kind}", partial(save_figure, figure, kind))
    write_atomically(page, lambda file: file.write(text.encode()))
    return page


def page_html(found: View, cards: list[Card]) -> str:
    """Return the page that shows the cards."""
    from plotly.offline import get_plotlyjs

    manifest = found.tradeoff.manifest
    style = files("sweep.report").joinpath("style.css").read_text(encoding="utf-8")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(manifest.name)}: sweep report</title>
<link rel="icon" href="data:,">
<style>{style}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<header>
<h1>{escape(manifest.name)}</h1>
<p class="note">{escape(status_line(found.tradeoff.trials))}. {escape(manifest.data)},
{len(manifest.modalities)} modalities. As of {now}.</p>
</header>
{"".join(card_html(card) for card in cards)}
</main>
</body>
</html>
"""


def card_html(card: Card) -> str:
    """Return one section of the page."""
    parts = [f"<h2>{escape(card.title)}</h2>", f'<p class="finding">{escape(card.finding)}</p>']
    if card.figure_html is not None:
        parts.append(card.figure_html)
    if card.table is not None:
        parts.append(table_html(card.table, card.title))
    return f"<section>{''.join(parts)}</section>\n"


def table_html(table: pl.DataFrame, title: str) -> str:
    """Return a table whose numbers stand to the right; it scrolls sideways where the screen is narrow."""
    columns = [[_text(value) for value in column] for column in table.iter_columns()]
    kinds = [' class="number"' if all(map(_NUMBER.fullmatch, texts)) else "" for texts in columns]
    head = [f'<th scope="col"{k}>{escape(n)}</th>' for n, k in zip(table.columns, kinds, strict=True)]
    body = [
        f"<tr>{''.join(f'<td{k}>{escape(t)}</td>' for t, k in zip(row, kinds, strict=True))}</tr>"
        for row in zip(*columns, strict=True)
    ]
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}"><table>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, int | float) else str(value)
