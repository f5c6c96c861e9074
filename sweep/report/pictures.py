"""Generated images as HTML tables: a row per source subset, a column per target, labels beneath."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

import polars as pl

from mopoe.subsets import subset_label, subset_masks


def sample_table(samples: pl.DataFrame, modalities: Sequence[str]) -> str:
    """Return the strips of one trial: held-out inputs, then one row per source subset, then prior draws.

    A predicted label that differs from the true one is marked.

    Args:
        samples: the trial's rows of the samples table.
        modalities: names, in the order of the bits of a subset mask.
    """
    strips = {
        (kind, mask, target): (png, tuple(labels))
        for kind, mask, target, png, labels in samples.select(
            "kind", "source_mask", "target", "png", "labels"
        ).iter_rows()
    }
    truth = {target: labels for (kind, _, target), (_, labels) in strips.items() if kind == "input"}
    rows = [("input", 0, "held-out data")]
    rows += [
        ("conditional", mask, "from " + subset_label(mask, modalities))
        for mask in subset_masks(len(modalities))
    ]
    rows += [("joint", 0, "from the prior")]
    body = []
    for kind, mask, title in rows:
        cells = []
        for target in modalities:
            png, labels = strips.get((kind, mask, target), (b"", ()))
            expected = truth.get(target, ()) if kind == "conditional" else ()
            cells.append(
                f"<td>{_strip(png, labels, expected, f'{target}, {title}')}</td>" if png else "<td></td>"
            )
        if any(cell != "<td></td>" for cell in cells):
            # A long subset may break after each plus sign.
            label = escape(title).replace("+", "+<wbr>")
            body.append(f'<tr><th scope="row"><div>{label}</div></th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in modalities)
    head = f"<thead><tr><td></td>{head}</tr></thead>"
    return f'<table class="samples">{head}<tbody>{"".join(body)}</tbody></table>'


def _strip(png: bytes, labels: Sequence[int], expected: Sequence[int], title: str) -> str:
    """Return one strip with its labels beneath, aligned to the pictures."""
    said = " ".join(map(str, labels))
    text = escape(f"{title}: {'predicted' if expected else 'labels'} {said}")
    image = f'<img src="data:image/png;base64,{b64encode(png).decode()}" alt="{text}">'
    spans = []
    for place, label in enumerate(labels):
        wrong = place < len(expected) and expected[place] != label
        spans.append(f'<b class="wrong">{label}</b>' if wrong else f"<span>{label}</span>")
    return f'{image}<div class="labels" aria-hidden="true">{"".join(spans)}</div>'
