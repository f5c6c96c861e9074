"""The report's page: one self-contained HTML file, rewritten while a sweep is watched."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path

import polars as pl

from sweep.report.cards import CARDS, Card
from sweep.report.folder import write_files
from sweep.report.view import View, view
from sweep.report.words import NUMBER, number, status_line
from sweep.store.files import write_atomically
from sweep.store.read import Store

# Nothing leaves the page: scripts, styles and images are inside it, and the browser is told so.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def write_report(store: Store, out: Path) -> Path:
    """Write report.html, figures, tables, the front as data and its provenance; return the page's path.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema, or `out` cannot be written.
    """
    found = view(store)
    figures = write_files(found, out)
    folders = "figures/ and tables/" if figures else "tables/"
    return _write(found, out, None, f"; see {folders} beside it")


def write_page(store: Store, out: Path, refresh: int) -> Path:
    """Write report.html alone, which loads itself anew every `refresh` seconds; return its path.

    Raises:
        StoreError: as for `write_report`.
    """
    return _write(view(store), out, refresh, "; <code>sweep report</code> writes the main ones as files")


def _write(found: View, out: Path, refresh: int | None, instead: str) -> Path:
    manifest = found.tradeoff.manifest
    note = (
        f"{status_line(found.tradeoff.trials)}. {manifest.data}, {len(manifest.modalities)} modalities. "
        f"As of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    )
    text = page_html(manifest.name, note, [card(found) for card in CARDS], refresh, instead)
    write_atomically(out / "report.html", lambda file: file.write(text.encode()))
    return out / "report.html"


def page_html(
    title: str, note: str, cards: Sequence[Card], refresh: int | None = None, instead: str = ""
) -> str:
    """Return a page of cards; one that is watched loads itself anew every `refresh` seconds.

    A browser without JavaScript shows the figures' descriptions, and `instead` says what to see besides.
    """
    from plotly.offline import get_plotlyjs

    scripts = [_part("details.js")]
    if refresh is not None:
        scripts.append(_part("refresh.js").replace("SECONDS", str(refresh)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}: sweep report</title>
<link rel="icon" href="data:,">
<style>{_part("style.css")}</style>
<script>{get_plotlyjs()}</script>
<noscript><style>
figure > div, .details {{ display: none }} figure::before {{ content: attr(aria-label) }}
</style></noscript>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p class="note">{escape(note)}</p>
<noscript><p class="note">The figures of this page need JavaScript{instead}.</p></noscript>
</header>
{"".join(card_html(card) for card in cards)}
</main>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>
"""


def _part(name: str) -> str:
    return files("sweep.report").joinpath(name).read_text(encoding="utf-8")


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
    kinds = [' class="number"' if all(map(NUMBER.fullmatch, texts)) else "" for texts in columns]
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
