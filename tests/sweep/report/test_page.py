import gzip
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest

from sweep.analysis.tradeoff import tradeoff
from sweep.errors import StoreError
from sweep.report.compare import compare, write_comparison
from sweep.report.page import table_html, write_page, write_report
from sweep.report.tables import front_rows
from sweep.store.read import open_store
from sweep.store.write import StoreWriter

VOID = {"meta", "link", "img", "br", "wbr"}


class Outline(HTMLParser):
    """Gathers headings, outside references and tags that are left open."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.references, self.bare = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.references += [v for k, v in attrs if k in ("src", "href")]
        self.bare += tag == "img" and not found.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(made_up_sweep, tmp_path_factory):
    """Give the folder of a written report."""
    return write_report(open_store(made_up_sweep), tmp_path_factory.mktemp("report") / "new").parent


@pytest.fixture(scope="module")
def outline(written) -> Outline:
    """Give the parsed page."""
    found = Outline()
    found.feed((written / "report.html").read_text(encoding="utf-8"))
    return found


def test_page_has_its_cards_in_order(outline):
    """Every tag is closed, the sweep's name is the title and each card a heading."""
    assert outline.open == []
    assert outline.headings == [
        "made-up",
        "Summary",
        "Trade-off",
        "Configs",
        "Best log likelihood with conditional coherence at least c",
        "Uncertainty of the front",
        "Checks",
        "Coherence by number of observed modalities",
        "Latents and further measurements",
        "Samples of the picks",
        "Learning curves",
        "Hyperparameters against objectives",
        "Hypervolume over the sweep",
        "Failures and stops",
        "Provenance",
    ]


def test_page_is_self_contained(outline, written):
    """Every reference is inside the page, and the browser is told to load nothing else."""
    assert outline.references
    assert all(reference.startswith("data:") for reference in outline.references)
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    packed = re.search('<script type="text/plain" id="plotly">(.*?)</script>', text)[1]
    assert b"plotly.js v" in gzip.decompress(b64decode(packed))[:200]
    style = re.search("<style>(.*?)</style>", text, re.DOTALL).group(1)
    assert "color-scheme: light dark" in style
    assert "url(" not in style


def test_a_page_is_small_enough_to_send(written):
    """Below 3 MB with its scripts and the figures of a small sweep."""
    assert (written / "report.html").stat().st_size < 2_300_000


def without_scripts(page) -> str:
    """Return the sentence of a page for a browser without JavaScript, near the top."""
    text = page.read_text(encoding="utf-8")
    return re.search('</h1>.*?<noscript><p class="note">(.*?)</p></noscript>\n</header>', text, re.DOTALL)[1]


def test_without_javascript_a_page_points_to_the_files_that_are_there(written, made_up_sweep, tmp_path):
    """A report to its files, a watched page to the command that writes them, a comparison to none."""
    need, store = "The figures of this page need JavaScript", open_store(made_up_sweep)
    assert without_scripts(written / "report.html") == f"{need}; see the files beside it."
    later = f"{need}; <code>sweep report</code> writes the main ones as files."
    assert without_scripts(write_page(store, tmp_path, refresh=2)) == later
    assert without_scripts(write_comparison(compare(store, store), tmp_path)) == f"{need}."


def test_without_javascript_a_figure_is_its_description(written):
    """No gap is left for it, nor a list to choose from; the page's policy allows the style that does it."""
    text = (written / "report.html").read_text(encoding="utf-8")
    style = re.search("<noscript><style>\n(.*?)\n</style></noscript>\n</head>", text)[1]
    assert style == (
        "figure[role] > div, .details { display: none } figure[role]::before { content: attr(aria-label) }"
    )
    assert "style-src 'unsafe-inline'" in text
    assert len(re.findall('<figure role="img" aria-label="[^"]+"><div ', text)) == text.count("<figure role=")


def test_every_image_is_described(outline):
    """No image lacks an alternative text."""
    assert outline.bare == 0


def test_front_files_hold_the_front(written, made_up_sweep):
    """CSV and Parquet have the rows of `front_rows`, and nothing else lies in the folder."""
    expected = front_rows(tradeoff(open_store(made_up_sweep)))
    assert pl.read_parquet(written / "front.parquet").equals(expected)
    assert pl.read_csv(written / "tables" / "front.csv")["p_beta"].to_list() == expected["p_beta"].to_list()
    drawn = ("front", "front_wide", "coherence_by_size", "coherence_by_size_wide", "hyperparameters")
    shown = ("front", "picks", "coherence_by_size")
    names = {"report.html", "front.parquet", "provenance.json", "sweep.yaml"}
    names |= {f"figures/{n}.{kind}" for n in drawn for kind in ("pdf", "svg")}
    names |= {f"tables/{n}.{kind}" for n in shown for kind in ("csv", "tex")}
    assert {str(p.relative_to(written)) for p in written.rglob("*") if p.is_file()} == names


def test_user_text_cannot_become_markup(tmp_path, make_manifest, make_record):
    """Text from the YAML file, errors and settings is shown, not run."""
    evil = "<img src=x onerror=alert(1)></script>"
    writer = StoreWriter(tmp_path)
    found = make_manifest(("m0", "m1"))
    spec = {**found.spec, "data": {"name": "polymnist", "path": evil}}
    writer.write_manifest(replace(found, data="polymnist", spec=spec, versions={evil: evil}))
    values = {"conditional_coherence": 0.5, "log_likelihood": -9.0}
    for trial in ("t1", "t2"):
        writer.write_trial(
            make_record(trial, status="completed", parameters={evil: evil, "beta": 1.0}, objectives=values)
        )
    writer.write_trial(make_record("t3", status="failed", error=evil))
    text = write_report(open_store(tmp_path), tmp_path / "report").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_empty_sweep_has_a_page(tmp_path, make_manifest):
    """A sweep without trials has a page that says so, and an empty front."""
    StoreWriter(tmp_path).write_manifest(make_manifest())
    page = write_report(open_store(tmp_path), tmp_path / "report")
    assert "No trial has completed with finite objectives yet" in page.read_text(encoding="utf-8")
    assert pl.read_parquet(tmp_path / "report" / "front.parquet").height == 0


def test_report_into_a_file_is_refused(made_up_sweep, tmp_path):
    """A target that is a file gives one sentence."""
    (tmp_path / "report").write_text("")
    with pytest.raises(StoreError, match=r"^cannot write .*/report/front\.parquet: "):
        write_report(open_store(made_up_sweep), tmp_path / "report")


def test_columns_of_numbers_stand_to_the_right():
    """A column is set as numbers if every cell is one or empty; text is escaped."""
    table = pl.DataFrame({"a<": ["x", "1"], "b": ["0.5 ± 0.1", ""], "c": [1.5, None]})
    assert table_html(table, "T") == (
        '<div class="scroll" tabindex="0" role="region" aria-label="T"><table><thead><tr>'
        '<th scope="col">a&lt;</th><th scope="col" class="number">b</th><th scope="col" class="number">c</th>'
        '</tr></thead><tbody><tr><td>x</td><td class="number">0.5 ± 0.1</td><td class="number">1.5</td></tr>'
        '<tr><td>1</td><td class="number"></td><td class="number"></td></tr></tbody></table></div>'
    )
