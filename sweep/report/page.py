"""Writes a report: one self-contained HTML page, with figures and tables as files beside it."""

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache, partial
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import polars as pl

from mopoe.errors import masked
from mopoe.reports import Z_95
from sweep.report.cards import report_cards
from sweep.report.formatting import (
    NUMBER,
    interval_text,
    number,
    plain,
    searched_settings,
    status_line,
    with_error,
    worded,
)
from sweep.report.paper import paper_figures, save_figure
from sweep.report.tables import front_rows, front_text, latex_table, with_arrows
from sweep.report.view import Card, View, view
from sweep.store.files import write_atomically
from sweep.store.read import Store


def write_files(report: View, out: Path, *, weights: bool = False) -> None:
    """Write front.parquet, figures/*.pdf and .svg, tables/*.csv and .tex, sweep.yaml and provenance.json.

    Args:
        report: what to write.
        out: the folder.
        weights: whether the LaTeX tables have a column for weights of subsets, which is wide.

    Raises:
        StoreError: `out` cannot be written.
    """
    front, manifest = front_rows(report.tradeoff), report.tradeoff.manifest
    write_atomically(out / "front.parquet", front.write_parquet)
    wide = [
        plain(n) for n, parts in searched_settings(front.columns).items() if len(parts) > 1 and not weights
    ]
    for name, (rows, texts) in report_tables(report, front).items():
        write_atomically(out / "tables" / f"{name}.csv", rows.write_csv)
        over = interval_text(report.tradeoff) if name != "coherence_by_size" else BY_SIZE_INTERVAL
        narrow = texts.drop(wide, strict=False).rename(lambda head: worded(head, manifest))
        _write_text(out / "tables" / f"{name}.tex", f"% After +- stands {over}.\n{latex_table(narrow)}")
    for name, figure in paper_figures(report).items():
        for kind in ("pdf", "svg"):
            write_atomically(out / "figures" / f"{name}.{kind}", partial(save_figure, figure, kind))
    _write_provenance(report, out)


BY_SIZE_INTERVAL = (
    "at most the half width of the 95 % interval over the held-out samples, which all pairs share"
)


def report_tables(report: View, front: pl.DataFrame) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """Return the tables by name, as data and as strings: the front, the picks, any coherence by size."""
    pairs = [(plain(p.label), p.trial_id) for p in report.tradeoff.picks]
    labels = pl.DataFrame(pairs, schema={"pick": pl.String, "trial_id": pl.String}, orient="row")
    picks = labels.join(front.drop("picks"), on="trial_id", how="left", maintain_order="left")
    named = front_text(picks.with_columns(picks="pick").drop("pick"))
    named = named.select(pl.col("picks").alias("pick"), pl.exclude("picks"))
    objectives = report.tradeoff.points.objectives
    means = zip(report.sizes["value"], Z_95 * report.sizes["stderr"], strict=True)
    texts = pl.Series([with_error(mean, error) for mean, error in means], dtype=pl.String)
    wide = report.sizes.with_columns(texts.alias("value")).pivot(
        "source_size", index="trial_id", values="value"
    )
    wide = labels.unique("trial_id", maintain_order=True).join(wide, on="trial_id", maintain_order="left")
    tables = {
        "front": (front, with_arrows(front_text(front), objectives)),
        "picks": (picks, with_arrows(named, objectives)),
    }
    if report.tradeoff.manifest.n_classes != 0:
        tables["coherence_by_size"] = report.sizes, wide.fill_null("").rename({"trial_id": "trial"})
    return tables


def _write_provenance(report: View, out: Path) -> None:
    """Write the provenance of the results, and the sweep's file, from which they can be reproduced."""
    import yaml

    manifest = report.tradeoff.manifest
    corner = ", ".join(f"{name} {number(value)}" for name, value in manifest.reference_point.items())
    content = {k: v for k, v in asdict(manifest).items() if k != "spec"} | {
        "trials": dict(report.tradeoff.trials["status"].value_counts().iter_rows()),
        "hypervolume": {"value": report.tradeoff.hypervolume, "above": corner},
        "reported_by": f"mopoe-sweep {version('mopoe-sweep')}",
        "commands": ["sweep run sweep.yaml --out RESULTS", "sweep report RESULTS"],
    }
    spec = yaml.safe_dump(dict(manifest.spec), sort_keys=False, allow_unicode=True)
    _write_text(out / "sweep.yaml", masked(spec))
    text = json.dumps(content, indent=2, ensure_ascii=False)
    _write_text(out / "provenance.json", masked(text) + "\n")


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


# The page holds all scripts, styles and images and loads nothing else, which the browser enforces.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def write_report(store: Store, out: Path, *, weights: bool = False) -> Path:
    """Write report.html and the files of `write_files`; return the page's path.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema, or `out` cannot be written.
    """
    report = view(store)
    write_files(report, out, weights=weights)
    return _write(report, out, None, "; see the files beside it")


def write_page(store: Store, out: Path, refresh: int) -> Path:
    """Write only report.html, which reloads itself every `refresh` seconds; return its path.

    Raises:
        StoreError: as for `write_report`.
    """
    return _write(view(store), out, refresh, "; <code>sweep report</code> writes the main ones as files")


def _write(report: View, out: Path, refresh: int | None, instead: str) -> Path:
    manifest = report.tradeoff.manifest
    note = (
        f"{status_line(report.tradeoff.trials)}. {manifest.data}, {len(manifest.modalities)} modalities. "
        f"As of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    )
    return write_html(out, manifest.name, note, report_cards(report), refresh, instead)


def write_html(
    out: Path, title: str, note: str, cards: Sequence[Card], refresh: int | None = None, instead: str = ""
) -> Path:
    """Write cards into `out` as report.html, which with `refresh` reloads itself every so many seconds.

    Without JavaScript the page shows the figures' descriptions and `instead`, which says where else to look.

    Raises:
        StoreError: it cannot be written.
    """
    scripts = [_part("figures.js"), _part("details.js")]
    if refresh is not None:
        scripts.append(_part("refresh.js").replace("SECONDS", str(refresh)))
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}: sweep report</title>
<link rel="icon" href="data:,">
<style>{_part("style.css")}</style>
<noscript><style>
figure[role] > div, .details {{ display: none }} figure[role]::before {{ content: attr(aria-label) }}
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
<script type="text/plain" id="plotly">{_packed_plotly()}</script>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>
"""
    _write_text(out / "report.html", text)
    return out / "report.html"


@cache
def _packed_plotly() -> str:
    """Return plotly.js compressed, a third as long."""
    from plotly.offline import get_plotlyjs

    return b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _part(name: str) -> str:
    return files("sweep.report").joinpath(name).read_text(encoding="utf-8")


def card_html(card: Card) -> str:
    """Return one section of the page."""
    parts = [f"<h2>{escape(card.title)}</h2>"]
    parts += [f'<p class="finding">{escape(paragraph)}</p>' for paragraph in card.finding.split("\n")]
    if card.figure_html is not None:
        parts.append(card.figure_html)
    if card.table is not None:
        parts.append(table_html(card.table, card.title))
    place = re.sub(r"[^a-z0-9]+", "-", card.title.lower())
    return f'<section id="{place}">{"".join(parts)}</section>\n'


def table_html(table: pl.DataFrame, title: str) -> str:
    """Return a table with right-aligned numbers, which scrolls horizontally on a narrow screen."""
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
