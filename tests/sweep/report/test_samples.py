"""Samples on the page: each kind of modality as what it is, with the held-out samples beside."""

import io
import re
from base64 import b64decode

import polars as pl
import pytest
from PIL import Image

from mopoe.reports import Picture
from sweep.report.samples import samples_html
from sweep.store.schema import TABLES


def page(*samples, modalities=("a", "b")):
    """Return the page's part with these samples."""
    columns = [name for name in TABLES["samples"].names if name in Picture.__dataclass_fields__]
    rows = [{name: getattr(sample, name) for name in columns} for sample in samples]
    schema = pl.Schema(TABLES["samples"])
    return samples_html(pl.DataFrame(rows, schema={n: schema[n] for n in columns}), modalities)


def three(**content):
    """Return samples of modality `a`: the held-out ones, those from `b`, those from the prior."""
    kinds = (("input", 0), ("conditional", 2), ("joint", 0))
    return [
        Picture(kind=kind, source_mask=mask, target="a", labels=(), **{k: v[i] for k, v in content.items()})
        for i, (kind, mask) in enumerate(kinds)
    ]


def heads(text):
    """Return the words of all headers."""
    return [re.sub("<[^>]*>", "", head) for head in re.findall(r"<th [^>]*>(.*?)</th>", text)]


def test_features_have_rows_with_names_of_bars_and_marks():
    """From 0 to 4 and a held-out mean of 1: bars from there; marks at what was held out, not on the prior."""
    values = ((0.0, 9.5, 2.0, 9.5), (4.0, 9.5, 1.0, 9.5), (1.0, 9.5, 0.0, 9.5))
    text = page(*three(values=values, features=[("dose <1", "same")] * 3))
    assert heads(text) == ["range", "held-out data", "from b", "from the prior", "dose &lt;1", "same"]
    assert text.count('aria-label="samples of a"') == 1
    drawn = re.findall(
        r'aria-label="dose &lt;1 of a, ([^"]*)"><path d="([^"]*)"/><path[^>]* d="([^"]*)"', text
    )
    assert drawn == [
        ("held-out data: 0 2", "M1 18.0V24.0h6V18.0zM9 18.0V12.0h6V18.0z", "M0 18.0h16"),
        ("from b: 4 1", "M1 18.0V0.0h6V18.0zM9 18.0V18.0h6V18.0z", "M0 18.0h16M0 24.0h8M8 12.0h8"),
        ("from the prior: 1 0", "M1 18.0V18.0h6V18.0zM9 18.0V24.0h6V18.0z", "M0 18.0h16"),
    ]
    assert "<td>0 to 4</td>" in text
    assert "<td>9.5 to 9.5</td>" in text


def test_counts_are_heat_strips():
    """By logarithm from the smallest to the largest of a feature, if all held-out numbers are whole."""
    values = ((0.0, 3.0), (0.5, 1.0), (3.0, 7.0))
    text = page(*three(values=values, features=[("gene",)] * 3))
    assert "<path" not in text
    shades = [float(s) for s in re.findall(r'fill-opacity="([^"]*)"', text)]
    assert shades == pytest.approx([0, 2 / 3, 0.195, 1 / 3, 2 / 3, 1], abs=0.01)


def test_long_vectors_are_curves():
    """One per sample in its own colour, before it the held-out one; the highest value is at the top."""
    features = [tuple(map(str, range(1, 26)))] * 3
    line = tuple(float(i) for i in range(25))
    text = page(*three(values=(line, line[::-1], line), features=features))
    curves = [re.findall(r'points="([^"]*)"', svg) for svg in re.findall("<svg.*?</svg>", text)]
    assert [len(c) for c in curves] == [1, 2, 1]
    assert curves[0][0].startswith("0,24.0 4,23.0 ")
    assert curves[0][0].endswith(" 100,0.0")
    assert curves[1][0] == curves[0][0]
    assert curves[1][1].startswith("0,0.0 ")
    assert 'aria-label="a, from b, elements 1 to 25"' in text


def test_texts_are_texts_with_their_labels():
    """As they are, blanks too; a wrong prediction is marked."""
    rows = three(texts=(("one <", " two"), ("one", "two "), ("a", "b")))
    labels = ((1, 2), (1, 1), (7, 8))
    text = page(
        *(
            Picture(**{k: getattr(r, k) for k in ("kind", "source_mask", "target", "texts")}, labels=of)
            for r, of in zip(rows, labels, strict=True)
        )
    )
    items = re.findall("<li><code>(.*?)</code>(.*?)</li>", text)
    assert items[:2] == [("one &lt;", "<span>1</span>"), (" two", "<span>2</span>")]
    assert items[2:4] == [("one", "<span>1</span>"), ("two ", '<b class="wrong">1</b>')]
    assert items[4][1] == "<span>7</span>"
    assert page(*rows).count("<li><code>") == 6


@pytest.mark.parametrize(("size", "shown"), [((84, 28), (120, 40)), ((192, 64), (192, 64))])
def test_images_are_at_least_forty_pixels_high_and_small_in_bytes(size, shown):
    """Noise, which a PNG holds badly, is a JPEG that is close; one colour stays a PNG."""
    noise = Image.effect_noise(size, 60).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "PNG")
    flat = io.BytesIO()
    Image.new("RGB", size, "navy").save(flat, "PNG")
    text = page(*three(png=(file.getvalue(), flat.getvalue(), file.getvalue())))
    images = re.findall(r'<img src="data:image/(\w+);base64,([^"]*)" width="(\d+)" height="(\d+)"', text)
    assert [kind for kind, *_ in images] == ["jpeg", "png", "jpeg"]
    assert {(int(w), int(h)) for *_, w, h in images} == {shown}
    data = b64decode(images[0][1])
    assert len(data) < 0.8 * len(file.getvalue())
    with Image.open(io.BytesIO(data)) as found:
        pairs = zip(found.convert("L").tobytes(), noise.convert("L").tobytes(), strict=True)
        assert sum(abs(x - y) for x, y in pairs) / (size[0] * size[1]) < 4


def test_numbers_that_are_none_are_not_drawn():
    """A NaN has no bar, and the page no path that a browser would complain about."""
    nan = float("nan")
    text = page(*three(values=((0.5, nan), (nan, nan), (1.0, 0.2)), features=[("x",)] * 3))
    assert "nan" not in re.sub('aria-label="[^"]*"', "", text)
    every = page(*three(values=((nan, 0.5),) * 3, features=[("x", "y")] * 3))
    assert "nan" not in re.sub('aria-label="[^"]*"', "", every)
    assert "<rect" not in page(*three(values=((nan,), (nan,), (nan,)), features=[("x",)] * 3))


def test_a_folder_of_an_earlier_release_has_pictures_alone():
    """Its rows have neither texts nor numbers."""
    file = io.BytesIO()
    Image.new("L", (28, 28)).save(file, "PNG")
    rows = {"kind": ["input"], "source_mask": [0], "target": ["a"], "png": [file.getvalue()], "labels": [[3]]}
    empty = {name: pl.Series([None], dtype=pl.List(pl.String)) for name in ("texts", "values", "features")}
    text = samples_html(pl.DataFrame(rows).with_columns(**empty), ("a",))
    assert 'alt="a, held-out data: labels 3"' in text
