"""Details of one config at a time: settings, coherence by subset and target, learning curve, samples."""

from collections.abc import Mapping, Sequence
from html import escape

import polars as pl

from mopoe.subsets import subset_label, subset_masks
from sweep.report.formatting import number, pick_labels, row_terms
from sweep.report.theme import every_nth
from sweep.report.view import View

_MOST_CELLS = 40_000
"""Most cells of all heat maps together; beyond, only the front and some other configs have details."""
_MOST_EPOCHS = 80


def details_html(view: View) -> str:
    """Return a list of configs, and the details that are shown of one when it is chosen or clicked."""
    trade, names = view.tradeoff, view.tradeoff.manifest.modalities
    masks = subset_masks(len(names))
    ordered = trade.configs.with_columns(front=pl.Series(trade.on_front, dtype=pl.Boolean))
    ordered = ordered.sort("front", "trial_id", descending=[True, False])
    picked = pl.col("trial_id").is_in([p.trial_id for p in view.picked])
    most = max(len(view.picked), _MOST_CELLS // (len(masks) * len(names)))
    shown = pl.concat([ordered.filter(picked), ordered.filter(~picked)]).head(most).sort("trial_id")
    wanted = pl.col("trial_id").is_in(shown["trial_id"].implode())
    pairs = view.pairs.filter(wanted).partition_by("trial_id", as_dict=True)
    curves = view.curves.filter(wanted).partition_by("trial_id", as_dict=True)
    articles, options = [], {True: "", False: ""}
    for row in shown.iter_rows(named=True):
        trial = row["trial_id"]
        title = escape(trial + (f", {labels}" if (labels := pick_labels(trade.picks, trial)) else ""))
        options[row["front"]] += f'<option value="{escape(trial)}">{title}</option>'
        parts = [_settings(view, row)]
        if (trial,) in pairs:
            parts.append(_heat(pairs[trial,], names, masks))
        if (trial,) in curves:
            parts.append(_curve(curves[trial,]))
        articles.append(
            f'<article id="detail-{escape(trial)}" tabindex="-1" hidden><h3>{title}</h3>'
            f'<div class="beside">{"".join(parts)}</div><div class="strips"></div></article>'
        )
    groups = {"on the front": options[True], "others": options[False]}
    choices = "".join(f'<optgroup label="{k}">{v}</optgroup>' for k, v in groups.items() if v)
    return (
        '<div class="details"><p><label for="chosen">A config in detail</label> <select id="chosen">'
        f'<option value="">choose one here, or click on its point</option>{choices}</select></p>'
        f'<p id="announcement" class="unseen" role="status"></p>{"".join(articles)}'
        '<article id="detail-other" tabindex="-1" hidden><h3></h3><p></p><p class="note">This page holds the '
        "details of the front and some other configs; the tables hold all.</p></article></div>"
    )


def _settings(view: View, row: dict[str, object]) -> str:
    """Return a config's objectives, searched settings and seeds as a description list."""
    terms = row_terms(view.tradeoff.points.names, row)
    terms |= {"seeds": str(row["seeds"]), "config": str(row["config_id"])}
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in terms.items() if v)}</dl>"


def _heat(pairs: pl.DataFrame, names: tuple[str, ...], masks: Sequence[int]) -> str:
    """Return coherence by observed subset and target as a table with coloured cells."""
    rows = pairs.select("source_label", "target", "value", "in_source").iter_rows()
    cells = {(source, target): _cell(value, observed) for source, target, value, observed in rows}
    labels = [subset_label(mask, names) for mask in masks]
    return (
        '<div class="scroll heat" tabindex="0" role="region" aria-label="coherence by subset and target">'
        "<table><caption>Coherence by observed subset (rows) and target; in brackets, the target was observed"
        f"</caption>{_grid(cells, labels, names)}</table></div>"
    )


def _grid(cells: Mapping[tuple[str, str], str], titles: Sequence[str], names: Sequence[str]) -> str:
    """Return the head and body of a table of cells by title of the row and name; empty rows are left out."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = [
        # A subset's label may break after each plus sign.
        f'<tr><th scope="row"><div>{escape(title).replace("+", "+<wbr>")}</div></th>'
        + "".join(cells.get((title, name), "<td></td>") for name in names)
        + "</tr>"
        for title in titles
        if any((title, name) in cells for name in names)
    ]
    return f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody>"


def _cell(value: float, observed: bool) -> str:  # noqa: FBT001 - a column of the table
    return f'<td style="--v:{value:.2f}">{f"({value:.2f})" if observed else f"{value:.2f}"}</td>'


def _curve(curve: pl.DataFrame) -> str:
    """Return the ELBO by epoch as a small drawing, with its first and last value as text."""
    finite = curve.filter(pl.col("elbo").is_finite())
    if finite.height < 2:
        return ""
    thin = every_nth(finite, _MOST_EPOCHS)
    xs, ys = thin["epoch"].to_numpy(), thin["elbo"].to_numpy()
    low, high = float(ys.min()), float(ys.max())
    across = 300 * (xs - xs[0]) / (xs[-1] - xs[0])
    down = 100 * (high - ys) / ((high - low) or 1.0)
    points = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(across, down, strict=True))
    first, last = finite.row(0, named=True), finite.row(-1, named=True)
    text = (
        f"Training ELBO from {number(first['elbo'])} after epoch {first['epoch']} "
        f"to {number(last['elbo'])} nats per sample after epoch {last['epoch']}"
    )
    return (
        f'<figure class="curve"><svg viewBox="-4 -4 308 108" role="img" aria-label="{text}">'
        f'<polyline points="{points}"/></svg><figcaption>{text}</figcaption></figure>'
    )
