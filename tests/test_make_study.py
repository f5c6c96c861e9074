"""The page of the methods: contrasts against the textbook, verdicts, and every quantity from a store."""

import itertools
import re

import made_up
import numpy as np
import polars as pl
import pytest
from contrasts import QUANTITIES, Contrast, quantities
from make_study import (
    CLAIMS,
    FLAT,
    NAMES,
    SETTINGS,
    Claim,
    decided,
    main,
    predicted,
    size_figure,
    trade_off_figure,
)

from sweep.store.read import Store
from sweep.store.write import StoreWriter

MODALITIES = tuple(f"m{m}" for m in range(5))


def test_verdicts():
    """Above zero, or next to nothing, with all of the interval."""
    assert [Contrast(v, 0.1).positive for v in (0.2, 0.05, -0.2)] == [True, False, False]
    assert [Contrast(v, h).within(FLAT) for v, h in ((0.005, 0.01), (0.005, 0.03), (0.03, 0.001))] == [
        True,
        False,
        False,
    ]
    assert [str(Contrast(0.1234, 0.0213)), str(Contrast(-50.6, 12.3))] == ["0.123 ± 0.021", "-51 ± 12"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of the four methods with three betas and seeds, whose numbers follow a rule."""
    root = tmp_path_factory.mktemp("study")
    writer = StoreWriter(root)
    writer.write_manifest(made_up.manifest(MODALITIES))
    for number, (m, beta, seed) in enumerate(itertools.product(range(4), (0.3, 1.0, 2.5), range(3))):
        values = {
            "coherence": 0.3 + 0.1 * m + 0.01 * seed,
            "log_likelihood": -6000.0 - 50 * m - 10 * beta + seed * m,
            "probe": 0.5 + 0.1 * m + 0.01 * seed,
            "joint": 0.05 + 0.01 * seed * (1 + m),
            "joint_mixture": 0.25 + 0.01 * seed * (1 + m),
        }
        made_up.write_study_trial(writer, number, seed, {"method": list(NAMES)[m], "beta": beta}, values)
    return Store(root)


def test_quantities_come_from_the_tables(store):
    """Coherence by observed modalities without those that were seen, probes by size, joint coherences."""
    table = quantities(store, SETTINGS)
    assert table.height == 36
    row = table.row(
        by_predicate=(pl.col("method") == "mopoe") & (pl.col("beta") == 1.0) & (pl.col("seed") == 2),
        named=True,
    )
    expected = {
        "coherence": 0.52,
        "log_likelihood": -6106.0,
        **{f"coherence_{n}": 0.52 + 0.02 * (n - 1) for n in (1, 2, 3, 4)},
        "representation_1": 0.72,
        "representation_5": 0.72,
        "joint": 0.11,
        "joint_mixture": 0.31,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert decided(table, Claim("x", "log_likelihood", "poe", "mopoe")).value == pytest.approx(98)
    rises = Claim("x", "coherence_4", "moe", "moe", "coherence_1")
    assert decided(table, rises).value == pytest.approx(0.06)
    assert decided(table, rises).half < 1e-9
    assert not decided(table, rises).within(FLAT)


def test_the_page_decides_every_claim(store, tmp_path):
    """Of the made-up numbers those hold that follow from the rule; figures and page are written."""
    main(str(store.files), folder=tmp_path)
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert text.count("| holds |") + text.count("| does not hold |") == sum(map(len, CLAIMS.values()))
    assert "| mixtures give up likelihood: MVAE is above MoPoE | 98.0 ± 5.0 | holds |" in text
    assert "| and MoPoE is above MMVAE | -49.0 ± 2.5 | does not hold |" in text
    assert re.search(r"\| MMVAE is flat \| 0\.06\S* .* \| does not hold \|", text)
    assert "| MVAE | 0.3 | -6003 | 0.310 |" in text
    assert "36 trials" in text
    words = " ".join(text.split())
    assert re.search(r"\| MoPoE minus MMVAE \| .* \| -49\.0 ± 2\.5 \|", text)
    assert "betas: coherence against MVAE and MMVAE; likelihood against MVTCAE. **What it costs**: " in words
    assert "**What it costs**: coherence against MVTCAE; likelihood against MVAE and MMVAE. **What" in words
    assert len(list(tmp_path.glob("study-*.svg"))) == 2


def test_predictions_hold_what_they_say():
    """95 % of the means of a second run with two seeds lie in the intervals of a first one with three."""
    random, inside, of = np.random.default_rng(2), 0, 0
    configs = [(m, b) for m in "abcd" for b in (1.0, 2.0, 3.0)]
    for _ in range(30):
        runs = []
        for seeds in (3, 2):
            rows = [
                (s, m, b, *(b + random.normal(scale=b, size=len(QUANTITIES))))
                for m, b in configs
                for s in range(seeds)
            ]
            runs.append(pl.DataFrame(rows, schema=["seed", "method", "beta", *QUANTITIES], orient="row"))
        found = predicted(*runs)
        inside, of = inside + found[0], of + found[1]
    assert of == 30 * 12 * 10
    assert inside / of == pytest.approx(0.95, abs=0.015)


def test_a_second_run_is_told(store, tmp_path):
    """The same run again keeps every sign and lies in every interval."""
    main(str(store.files), str(store.files), folder=tmp_path)
    text = " ".join((tmp_path / "study.md").read_text(encoding="utf-8").split())
    n = sum(map(len, CLAIMS.values()))
    assert f"3 other seeds each, {n} of the {n} differences keep their sign, and 120 of 120 means" in text


def test_figures_have_a_line_per_method(store):
    """Each in its colour, with an interval at every point."""
    table = quantities(store, SETTINGS)
    for figure in (trade_off_figure(table), size_figure(table)):
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(NAMES.values())
