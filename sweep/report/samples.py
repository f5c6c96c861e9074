"""Samples of one trial on the page, held-out ones beside generated ones, each modality in its own kind.

Images are pictures and symbols are text. A vector has a row of bars for each of its features, or a heat strip
if its numbers are counts; one of more elements is a curve.
"""

import io
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

import polars as pl

from mopoe.subsets import subset_label, subset_masks
from sweep.report.formatting import number

_LEAST_PIXELS = 40
"""Height on the page of an image that has fewer pixels."""
_MOST_ROWS = 24
"""Most elements of a vector that have a row each; of more it is a curve."""
_WIDE, _TALL = 8, 24
"""Size of the drawing of a value in a row; a curve is 100 wide."""

_Row = Mapping[str, Any]


def samples_html(samples: pl.DataFrame, modalities: Sequence[str]) -> str:
    """Return one trial's samples: a block per modality, with its held-out data, each source and the prior.

    Predicted labels that differ from the true ones are marked.

    Args:
        samples: the trial's rows of the samples table.
        modalities: names, in the order of the bits of a subset mask.
    """
    rows = {(r["kind"], r["source_mask"], r["target"]): r for r in samples.iter_rows(named=True)}
    masks = subset_masks(len(modalities))
    blocks = []
    for m, target in enumerate(modalities):
        sources = [("input", 0, "held-out data"), ("joint", 0, "from the prior")]
        sources[1:1] = [
            ("conditional", mask, f"from {subset_label(mask, modalities)}{' (seen)' * (mask >> m & 1)}")
            for mask in masks
        ]
        found = {title: row for kind, mask, title in sources if (row := rows.get((kind, mask, target)))}
        if found:
            features = next(iter(found.values()))["features"] or ()
            table = (_by_feature if 0 < len(features) <= _MOST_ROWS else _by_source)(target, found)
            name = escape(target)
            blocks.append(
                f'<figure><figcaption>{name}</figcaption><div class="scroll" tabindex="0" role="region" '
                f'aria-label="samples of {name}">{table}</div></figure>'
            )
    return "".join(blocks)


def _by_source(target: str, found: Mapping[str, _Row]) -> str:
    """Return a row per source of images, texts or curves, from left to right."""
    rows, held = [], next(iter(found.values()))
    every = [v for row in found.values() for _, v in _finite(row["values"] or ())]
    for title, row in found.items():
        expected, about = _expected(row, held), f"{target}, {title}"
        below = _labels(row["labels"], expected)
        if row["texts"]:
            texts = zip(row["texts"], below or [""] * len(row["texts"]), strict=True)
            items = (f"<li><code>{escape(text)}</code>{label}</li>" for text, label in texts)
            cell = f'<ol aria-label="{escape(about)}">{"".join(items)}</ol>'
        else:
            said = f": {'predicted' if expected else 'labels'} {' '.join(map(str, row['labels']))}"
            about = escape(about + said * bool(below))
            cell = _image(row["png"], about) if row["png"] else _curves(row, held, every, about)
            cell += _aligned(below)
        rows.append(f'<tr>{_head("row", title)}<td><div class="strip">{cell}</div></td></tr>')
    return f"<table>{''.join(rows)}</table>"


def _by_feature(target: str, found: Mapping[str, _Row]) -> str:
    """Return a row per feature: the samples' values in each source, and held-out ones as marks over them."""
    held = next(iter(found.values()))
    columns = {title: list(zip(*_by_sample(row), strict=True)) for title, row in found.items()}
    counts = all(v >= 0 and abs(v - round(v)) < 1e-3 for _, v in _finite(held["values"]))
    heads = [_head("col", t, _aligned(_labels(r["labels"], _expected(r, held)))) for t, r in found.items()]
    rows = [f"<thead><tr><td></td>{_head('col', 'range')}{''.join(heads)}</tr></thead>"]
    n = len(held["values"]) // len(held["features"])
    for f, feature in enumerate(held["features"]):
        every, data = [v for of in columns.values() for _, v in _finite(of[f])], columns[next(iter(found))][f]
        cells = [f"<td>{number(min(every))} to {number(max(every))}</td>" if every else "<td></td>"]
        for title, values in columns.items():
            marks = data if found[title]["kind"] == "conditional" else ()
            drawn = _fields(values[f], every) if counts else _bars(values[f], data, marks, every or [0.0])
            told = escape(f"{feature} of {target}, {title}: {' '.join(map(number, values[f]))}")
            cells.append(f"<td>{_svg(_WIDE * n, drawn, told)}</td>")
        rows.append(f"<tr>{_head('row', feature)}{''.join(cells)}</tr>")
    return f'<table class="features" style="--n:{n}">{"".join(rows)}</table>'


def _bars(values: Sequence[float], data: Sequence[float], marks: Sequence[float], every: list[float]) -> str:
    """Return bars from the mean of the held-out values, and marks at other values."""
    zero = _down(fmean([v for _, v in _finite(data)] or [0.0]), every)
    bars = "".join(f"M{_WIDE * i + 1} {zero}V{_down(v, every)}h6V{zero}z" for i, v in _finite(values))
    ticks = "".join(f"M{_WIDE * i} {_down(v, every)}h{_WIDE}" for i, v in _finite(marks))
    return f'<path d="{bars}"/><path class="mark" d="M0 {zero}h{_WIDE * len(values)}{ticks}"/>'


def _fields(values: Sequence[float], every: list[float]) -> str:
    """Return a field per value, from light at the smallest of all to dark at the largest, by logarithm."""
    low, high = (math.log1p(max(end(every, default=0.0), 0.0)) for end in (min, max))
    shades = ((i, (math.log1p(max(v, 0.0)) - low) / ((high - low) or 1.0)) for i, v in _finite(values))
    size = f'width="{_WIDE}" height="{_TALL}"'
    return "".join(f'<rect x="{_WIDE * i}" {size} fill-opacity="{shade:.2f}"/>' for i, shade in shades)


def _curves(row: _Row, held: _Row, every: list[float], about: str) -> str:
    """Return a curve per sample, over that of the held-out sample."""
    behind, drawings = _by_sample(held), []
    for i, values in enumerate(_by_sample(row)):
        lines = [behind[i], values] if row["kind"] == "conditional" else [values]
        step = 100 / (len(values) - 1)
        points = [" ".join(f"{step * x:.0f},{_down(y, every)}" for x, y in _finite(line)) for line in lines]
        drawings.append(_svg(100, "".join(f'<polyline points="{line}"/>' for line in points)))
    about += f", elements {row['features'][0]} to {row['features'][-1]}"
    return f'<div class="curves" role="img" aria-label="{about}">{"".join(drawings)}</div>'


def _image(png: bytes, alt: str) -> str:
    """Return a strip as an image; as JPEG, of which nobody sees the difference, if that is smaller."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        buffer, (width, height) = io.BytesIO(), image.size
        image.save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
    data = min(png, buffer.getvalue(), key=len)
    kind, tall = "png" if data is png else "jpeg", max(height, _LEAST_PIXELS)
    source = f"data:image/{kind};base64,{b64encode(data).decode()}"
    return f'<img src="{source}" width="{width * tall // height}" height="{tall}" alt="{alt}">'


def _down(value: float, every: Sequence[float]) -> float:
    """Return how far below the top of a drawing a value lies."""
    low, high = min(every), max(every)
    return round(_TALL * (high - value) / ((high - low) or 1.0), 1)


def _svg(width: int, content: str, about: str = "") -> str:
    known = f' role="img" aria-label="{about}"' if about else ""
    return f'<svg viewBox="0 0 {width} {_TALL}" preserveAspectRatio="none"{known}>{content}</svg>'


def _finite(values: Sequence[float]) -> list[tuple[int, float]]:
    return [(i, v) for i, v in enumerate(values) if math.isfinite(v)]


def _by_sample(row: _Row) -> list[Sequence[float]]:
    """Return the values of each sample of a vector."""
    size = len(row["features"])
    return [row["values"][i : i + size] for i in range(0, len(row["values"]), size)]


def _head(scope: str, title: str, more: str = "") -> str:
    # A subset's label may break after each plus sign.
    return f'<th scope="{scope}"><div>{escape(title).replace("+", "+<wbr>")}{more}</div></th>'


def _expected(row: _Row, held: _Row) -> Sequence[int]:
    """Return the labels that samples should have: the true ones of what was generated from a subset."""
    return (held["labels"] if row["kind"] == "conditional" else None) or ()


def _labels(labels: Sequence[int], expected: Sequence[int]) -> list[str]:
    wrong = [i < len(expected) and expected[i] != label for i, label in enumerate(labels or ())]
    return [
        f'<b class="wrong">{label}</b>' if bad else f"<span>{label}</span>"
        for label, bad in zip(labels or (), wrong, strict=True)
    ]


def _aligned(labels: Sequence[str]) -> str:
    """Return labels in a row as wide as the samples beside them."""
    return f'<div class="labels" aria-hidden="true">{"".join(labels)}</div>' if labels else ""
