"""The report of a sweep with a minimised objective, against values worked out by hand."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from sweep.config.objectives import Objective
from sweep.report.cards import front_card, table_card
from sweep.report.compare import compare
from sweep.report.page import report_tables, write_report
from sweep.report.paper import front_figure
from sweep.report.summary import summary_card
from sweep.report.tables import front_rows, latex_table, print_front
from sweep.report.trust import attainment_card, level_card, method_card
from sweep.report.view import view
from sweep.store.read import Store
from sweep.store.write import StoreWriter

COST, COHERENCE = Objective(name="cost", direction="minimize"), Objective(name="coherence")
CONFIGS = {"t1": (8.0, 0.9), "t2": (3.0, 0.7), "t3": (2.0, 0.5), "t4": (5.0, 0.6)}
"""Cost and coherence. t2 dominates t4; from the worst cost to the best, the front is t1, t2, t3."""


@pytest.fixture(scope="module")
def make_store(tmp_path_factory, make_manifest, make_record):
    """Give what writes a store of configs by name."""

    def make(configs, objectives=(COST, COHERENCE), corner=(10.0, 0.0), seeds=1):
        root = tmp_path_factory.mktemp("directions")
        writer = StoreWriter(root)
        reference = {o.name: value for o, value in zip(objectives, corner, strict=True)}
        manifest = replace(make_manifest(), objectives=objectives, reference_point=reference)
        writer.write_manifest(replace(manifest, sweep_id=root.name))
        for k, (config, values) in enumerate(configs.items()):
            for seed in range(seeds):
                record = make_record(f"{config}-s{seed}" if seed else config, status="completed")
                measured = dict(zip(reference, values, strict=True))
                settings = {"method": ["mopoe", "mvae"][k % 2]}
                ended = record.started_at + timedelta(hours=k)
                same = {"config_id": config, "seed": seed, "parameters": {"beta": 1.0 + k}}
                same |= {"config_json": json.dumps(settings), "stderr": dict.fromkeys(measured, 0.3)}
                writer.write_trial(replace(record, objectives=measured, ended_at=ended, **same))
        return Store(root)

    return make


@pytest.fixture(scope="module")
def store(make_store):
    """Give the store of the four configs."""
    return make_store(CONFIGS)


@pytest.fixture(scope="module")
def found(store):
    """Give what the report of that store shows."""
    return view(store)


def test_the_finding_and_the_table(found):
    """Steps of height 8, 7 and 2; the knee lies (0.5 + 5/6 - 1) / sqrt(2) above the line."""
    volume = 0.5 * 8 + 0.2 * 7 + 0.2 * 2
    assert summary_card(found).finding.startswith(
        "3 configs of 4 are on the front; on it cost runs from 2 to 8 and coherence runs from 0.5 to 0.9; "
        "the knee, t2, gives up 1.00 ± 0.83 of cost and 0.20 ± 0.83 of coherence against the best.\n"
    )
    assert front_card(found).finding == f"Hypervolume from (cost 10, coherence 0): {volume:.1f}."
    card = table_card(found)
    assert card.finding.startswith("t3 has the lowest cost. t1 has the highest coherence. t2 is the knee: ")
    assert "(0.24 with the front scaled to 0..1)" in card.finding
    assert card.table["trial"].to_list() == ["t3", "t2", "t1", "t4"]
    assert card.table.columns[1:3] == ["cost\N{NO-BREAK SPACE}↓", "coherence\N{NO-BREAK SPACE}↑"]


def test_the_terminal_and_latex(store, found):
    """Both begin with the lowest cost; LaTeX has an arrow for each direction."""
    screen = Console(width=100, record=True, force_terminal=False)
    with screen.capture() as shown:
        print_front(store, screen)
    assert re.findall(r"^t\d", shown.get(), flags=re.MULTILINE) == ["t3", "t2", "t1"]
    _, texts = report_tables(found, front_rows(found.tradeoff))["front"]
    tex = latex_table(texts)
    assert r"& cost~$\downarrow$ & coherence~$\uparrow$ &" in tex
    assert re.findall(r"^t\d", tex, flags=re.MULTILINE) == ["t3", "t2", "t1"]


def traces(page: str, figure: str) -> list[dict]:
    """Return what Plotly draws in a figure of a page."""
    return json.loads(re.search(f'<div id="{figure}".*?<script [^>]*>(.*?)</script>', page)[1])["data"]


def test_the_figures(store, found, tmp_path):
    """Steps go from the worst cost to the best, first vertically; rings and labels name the picks."""
    page = write_report(store, tmp_path).read_text(encoding="utf-8")
    parts = {t.get("name", i): t for i, t in enumerate(traces(page, "front-cost-coherence"))}
    front = parts["front"]
    assert (front["x"], front["y"], front["line"]["shape"]) == ([8, 3, 2], [0.9, 0.7, 0.5], "vh")
    assert front["customdata"] == ["t1", "t2", "t3"]
    rings = {name: (t["x"], t["y"]) for name, t in parts.items() if str(name).startswith(("best", "knee"))}
    assert rings == {"best coherence": ([8], [0.9]), "knee": ([3], [0.7]), "best cost": ([2], [0.5])}
    assert "cost, lower is better" in page
    axes = front_figure(found.tradeoff).axes[0]
    (steps,) = (line for line in axes.lines if line.get_drawstyle() == "steps-pre")
    assert steps.get_xydata().tolist() == [[8, 0.9], [3, 0.7], [2, 0.5]]
    labels = {
        t.get_text(): (t.get_position(), t.get_horizontalalignment(), t.get_verticalalignment())
        for t in axes.texts
    }
    up = ((-5, 4), "right", "baseline")
    # Beyond the lowest cost there is room below, where no other label is.
    assert labels == {"best\ncoherence": up, "knee": up, "best cost": ((-5, -4), "right", "top")}


def test_bounds_are_largest_values(found):
    """A cost of at most c: 8 allows t1, 7 to 3 t2, and 2 only t3."""
    card = level_card(found)
    assert card.title == "Best coherence with cost at most c"
    assert card.table["c"].to_list() == ["8", "7 to 3", "2"]
    assert card.table["trial"].to_list() == ["t1", "t2", "t3"]


def test_methods(found):
    """The best of a minimised objective is the smallest; volumes are 0.9 * 2 + 0.5 * 6 and 0.7 * 7."""
    rows = method_card(found).table.sort("method").rows(named=True)
    assert [(r["best cost"], r["best coherence"]) for r in rows] == [
        ("2.00 ± 0.59", "0.90 ± 0.59"),
        ("3.00 ± 0.59", "0.70 ± 0.59"),
    ]
    assert [r["hypervolume"] for r in rows] == pytest.approx([0.9 * 2 + 0.5 * 6, 0.7 * 7])


def test_comparison(store, make_store):
    """B's only config dominates t3 of A; with three seeds each B leads where its cost is lower."""
    cards = compare(store, make_store({"t0": (1.0, 0.6)}, corner=(9.0, 0.0))).cards
    assert cards[0].finding == (
        "Hypervolume from (cost 10, coherence 0), the worse of both reference points in each objective: "
        "A 5.8, B 5.4. How sure this is cannot be told, because no config of A has a second seed."
    )
    assert cards[1].table.filter(status="dominated by B")["trial"].to_list() == ["t3"]
    cards = compare(make_store(CONFIGS, seeds=3), make_store({"t0": (1.0, 0.6)}, seeds=3)).cards
    assert cards[0].finding.endswith(" (200 draws from both posteriors).")
    assert cards[2].finding.startswith(
        "A leads most at cost 8 and coherence 0.7, which 3 of 3 of its seeds reach and 0 of 3 of B's."
        " B leads most at cost 2 and coherence 0.6, which 3 of 3 of its seeds reach and 0 of 3 of A's."
    )


def test_a_mirrored_sweep_says_the_same(make_store):
    """Every card of shares has the same numbers if the cost is negated and maximised."""
    gain = {name: (-cost, coherence) for name, (cost, coherence) in CONFIGS.items()}
    pair = Objective(name="cost"), COHERENCE
    down, up = view(make_store(CONFIGS, seeds=3)), view(make_store(gain, pair, (-10.0, 0.0), seeds=3))
    assert attainment_card(down).finding == attainment_card(up).finding
    down, up = view(make_store(CONFIGS)), view(make_store(gain, pair, (-10.0, 0.0)))
    assert down.stability.levels.drop("c").equals(up.stability.levels.drop("c"))
    assert table_card(down).table["trial"].equals(table_card(up).table["trial"])
