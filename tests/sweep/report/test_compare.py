"""Two sweeps beside each other, card by card."""

import re
from dataclasses import replace

import pytest

from sweep.errors import StoreError
from sweep.report.compare import compare
from sweep.store.read import Store, open_store
from sweep.store.write import StoreWriter


@pytest.fixture(scope="module")
def found(made_up_sweep, tmp_path_factory, make_manifest, make_record, make_spec):
    """Give the comparison of the made-up sweep with one of two configs, other settings and another corner."""
    root = tmp_path_factory.mktemp("other")
    corner = {"conditional_coherence": 0.1, "log_likelihood": -1800.0}
    spec = make_spec(name="other", reference_point=corner, seed=1)
    spec["search_space"] = spec["search_space"] | {"beta": {"type": "log_uniform", "low": 0.5, "high": 9.0}}
    manifest = replace(make_manifest(), name="other", spec=spec, versions={"mopoe-sweep": "0.2.0"})
    writer = StoreWriter(root)
    writer.write_manifest(replace(manifest, sweep_id="other", reference_point=corner))
    for trial, coherence, likelihood in (("t0", 0.79, -1485.0), ("t1", 0.3, -1479.0)):
        values = {"conditional_coherence": coherence, "log_likelihood": likelihood}
        parameters = {"gamma": 2.0}
        writer.write_trial(
            make_record(trial, config_id=trial, status="completed", objectives=values, parameters=parameters)
        )
    return compare(open_store(made_up_sweep), open_store(root))


def test_both_fronts_have_one_reference_point(found):
    """The worse of both in each objective; each hypervolume is that of the front's steps above it."""
    # Rectangles of B: 0.79 wide up to -1485, and 0.3 wide up to -1479.
    volume_b = 0.79 * 315 + 0.3 * 6
    # Those of A, from the right: 0.8, 0.78, 0.72, 0.55, 0.42 wide.
    volume_a = 0.8 * 160 + 0.78 * 70 + 0.72 * 58 + 0.55 * 22 + 0.42 * 10
    card = found.cards[0]
    assert card.finding == (
        "Hypervolume from (conditional coherence 0, log likelihood -1800), the worse of both reference "
        f"points in each objective: A {volume_a:.0f}, B {volume_b:.0f}. How sure this is cannot be told, "
        "because no config of B has a second seed."
    )
    assert card.figure_html.count("<figure") == 1
    for name in ("A: front", "B: front", "A: other configs", "B: other configs"):
        assert f'"name":"{name}"' in card.figure_html


def test_domination_is_told_config_by_config(found):
    """Both fronts in one table, although they searched different settings."""
    card = found.cards[1]
    assert (
        card.finding == "Of 5 configs on A's front B dominates 3. Of 2 configs on B's front A dominates none."
    )
    rows = card.table.select("sweep", "trial", "status", "beta", "gamma").rows()
    assert rows == [
        ("A", "t04", "", "8", ""),
        ("A", "t03", "dominated by B", "5", ""),
        ("A", "t02", "dominated by B", "2.5", ""),
        ("A", "t01", "dominated by B", "1", ""),
        ("A", "t00", "", "0.5", ""),
        ("B", "t0", "", "", "2"),
        ("B", "t1", "", "", "2"),
    ]


def test_attainment_takes_several_seeds_of_each(found):
    """Sweeps of single seeds say so and have no figure."""
    card = found.cards[2]
    assert card.finding == "This needs two objectives and, in both A and B, configs that share several seeds."
    assert card.figure_html is None


def test_attainment_is_told_where_each_leads_most(tmp_path, make_manifest, make_record):
    """Two configs a sweep, two seeds in A and three in B: the goals and who reaches them, by hand."""
    fronts = {"a": [(0.4, -10.0), (0.5, -20.0)], "b": [(0.3, -5.0), (0.5, -21.0)]}
    for name, seeds in (("a", 2), ("b", 3)):
        writer = StoreWriter(tmp_path / name)
        writer.write_manifest(replace(make_manifest(), sweep_id=name))
        for seed in range(seeds):
            for c, (coherence, likelihood) in enumerate(fronts[name]):
                # B's last seed is as good as nothing.
                values = {"conditional_coherence": coherence, "log_likelihood": likelihood - 40 * (seed == 2)}
                writer.write_trial(
                    make_record(
                        f"t{c}{seed}", config_id=f"c{c}", seed=seed, status="completed", objectives=values
                    )
                )
    card = compare(open_store(tmp_path / "a"), open_store(tmp_path / "b")).cards[2]
    assert card.finding == (
        "A leads most at conditional coherence 0.4 and log likelihood -20, which 2 of 2 of its seeds reach "
        "and 0 of 3 of B's. B leads most at conditional coherence 0.3 and log likelihood -5, which 2 of 3 of "
        "its seeds reach and 0 of 2 of A's. This compares 2 configs of A with 2 seeds each and 2 configs of "
        "B with 3 seeds each."
    )
    assert card.figure_html.count("<figure") == 1
    assert '"name":"A: half of the seeds"' in card.figure_html


@pytest.mark.parametrize(
    ("folds", "word"), [((None, None), "seed"), ((2, 2), "fold"), ((None, 2), "replicate")]
)
def test_folds_are_called_so(tmp_path, make_manifest, make_record, folds, word):
    """Where both sweeps have them; of one with seeds and one with folds, both are replicates."""
    for name, count in zip("ab", folds, strict=True):
        writer, manifest = StoreWriter(tmp_path / name), make_manifest()
        spec = manifest.spec | ({"replicates": {"folds": count}} if count else {})
        writer.write_manifest(replace(manifest, sweep_id=name, spec=spec))
        for k in range(2):
            values = {"conditional_coherence": 0.4, "log_likelihood": -10.0 - k}
            writer.write_trial(
                make_record(f"t{k}", config_id="c", seed=k, status="completed", objectives=values)
            )
    cards = compare(Store(tmp_path / "a"), Store(tmp_path / "b")).cards[:3]
    text = " ".join(f"{card.title} {card.finding} {card.figure_html}" for card in cards)
    assert {found for found in ("seed", "fold", "replicate") if re.search(rf"\b{found}s?\b", text)} == {word}
    assert cards[2].title == f"Attainment over {word}s"
    assert "1 config of A with 2 " + word in cards[2].finding
    columns = {"folds" if count else "seeds" for count in folds}
    assert columns == {"folds", "seeds"} & set(cards[1].table.columns)


def test_what_was_changed(found):
    """Every key of the files that differs, at any depth, and the versions."""
    card = found.cards[-1]
    assert card.finding == "Between the files and versions of A and B 7 keys differ."
    assert card.table.rows() == [
        ("name", "made-up", "other"),
        ("reference_point.conditional_coherence", "0.0", "0.1"),
        ("reference_point.log_likelihood", "-1700.0", "-1800.0"),
        ("search_space.beta.high", "8.0", "9.0"),
        ("versions.mopoe-sweep", "0.1.0", "0.2.0"),
        ("versions.torch", "2.9.0", "absent"),
        ("seed", "absent", "1"),
    ]


def test_a_sweep_equals_itself(made_up_sweep):
    """Nothing dominates, nothing was changed."""
    same = compare(open_store(made_up_sweep), open_store(made_up_sweep))
    assert same.title == "made-up, compared"
    assert "the reference point of both: A 161, B 161." in same.cards[0].finding
    assert "dominates none. Of 5 configs on B's front A dominates none." in same.cards[1].finding
    assert same.cards[-1].table is None


def test_other_classifiers_are_told(tmp_path, make_manifest, make_record):
    """Under the title, as coherence then says little."""
    stores = []
    for name, judge in (("a", "111"), ("b", "222"), ("c", None)):
        writer = StoreWriter(tmp_path / name)
        writer.write_manifest(replace(make_manifest(), classifier_hash=judge))
        values = {"conditional_coherence": 0.5, "log_likelihood": -1500.0}
        writer.write_trial(make_record("t0", config_id="t0", status="completed", objectives=values))
        stores.append(open_store(tmp_path / name))
    told = "Coherence is not comparable: its classifiers differ (111 and 222)."
    assert told in compare(stores[0], stores[1]).note
    for other in (stores[0], stores[2]):
        assert "comparable" not in compare(stores[0], other).note


def test_sweeps_on_other_data_are_not_compared(tmp_path, make_manifest):
    """Their numbers are of different samples."""
    stores = []
    for name in ("a", "b"):
        StoreWriter(tmp_path / name).write_manifest(replace(make_manifest(), data_fingerprint=f"f00{name}"))
        stores.append(open_store(tmp_path / name))
    with pytest.raises(StoreError, match="different data: their fingerprints are f00a and f00b"):
        compare(*stores)
