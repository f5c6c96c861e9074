import json
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from sweep.analysis.summaries import hypervolume_history
from sweep.config.objectives import Objective
from sweep.report.trust import (
    attainment_card,
    checks_card,
    history_card,
    importance_card,
    level_card,
    method_card,
    rung_card,
    stability_card,
)
from sweep.report.view import view
from sweep.store.read import Store, open_store
from sweep.store.write import StoreWriter

CARDS = (
    level_card,
    stability_card,
    checks_card,
    method_card,
    importance_card,
    rung_card,
    attainment_card,
    history_card,
)


@pytest.fixture(scope="module")
def seen(made_up_sweep):
    """Give the view of the made-up sweep."""
    return view(open_store(made_up_sweep))


@pytest.fixture(scope="module")
def rich(tmp_path_factory, make_manifest, make_record, make_report, make_evaluation):
    """Give the view of 12 configs of two methods with two seeds each, evaluated after both epochs."""
    root, random, names = tmp_path_factory.mktemp("rich"), np.random.default_rng(0), ("m0", "m1")
    writer = StoreWriter(root)
    writer.write_manifest(make_manifest(names))
    for k in range(24):
        config, seed = k // 2, k % 2
        coherence, likelihood = (
            0.3 + config / 30 + random.normal() / 100,
            -1500.0 - 8 * config + random.normal(),
        )
        found = make_evaluation(names, coherence, likelihood)
        early = make_evaluation(names, coherence / 2, likelihood - 100 + 5 * (config % 2))
        reports = [make_report(e, names, found=f) for e, f in ((1, early), (2, found))]
        record = make_record(
            f"t{k:02}",
            config_id=f"c{config:02}",
            seed=seed,
            epochs_max=2,
            parameters={"beta": 0.5 + config, "noise": float(random.random())},
            config_json=json.dumps({"method": "mopoe" if config % 3 else "mvae"}),
        )
        writer.write_reports(record.trial_id, 0, reports, names)
        ended = {"epochs": 2, "ended_at": record.started_at + timedelta(minutes=k + 1)}
        ended |= {"objectives": found.objectives, "stderr": found.stderr}
        writer.write_trial(replace(record, status="completed", **ended))
    return view(open_store(root))


def test_level_card(seen):
    """For each round bound the table has the best likelihood of those that keep it."""
    card = level_card(seen)
    assert card.title == "Best log likelihood with conditional coherence at least c"
    assert re.fullmatch(
        r"The best log likelihood depends on c: with at least 0\.45 it is -1490 ± \d+, with at least 0\.8 it "
        r"is -1640 ± \d+\. The probabilities, at the last c of a row, are shares of 1000 draws from the "
        r"posterior\.",
        card.finding,
    )
    assert card.table["c"].to_list() == ["0.45 to 0.55", "0.6 to 0.7", "0.75", "0.8"]
    assert card.table["trial"].to_list() == ["t01", "t02", "t03", "t04"]
    assert card.table.row(1)[2].startswith("-1512")
    assert set(card.table["P(same pick)"]) <= {"below 0.2", "undecided", "above 0.8"}


def test_one_config_that_is_best_at_every_level_is_a_sentence(seen):
    """A table would name it in every row; of one level no range is told, and without seeds no probability."""
    levels = seen.stability.levels
    of = {"row": pl.lit(levels["row"][3]), "agree": pl.Series([0.5] * 7 + [0.95]), "keeps": pl.lit(0.05)}
    sure = replace(seen.stability, levels=levels.with_columns(**of), few_seeds=seen.stability.few_seeds)
    card = level_card(replace(seen, stability=sure))
    assert card.table is None
    assert re.fullmatch(
        r"For every c from 0\.45 to 0\.8 it is t02: log likelihood -1512 ± \d+, conditional coherence "
        r"0\.7\d* ± [\d.]+\. Probabilities at the last c: same pick above 0\.8, constraint holds below 0\.2 "
        r"\(1000 draws from the posterior\)\.",
        card.finding,
    )
    alone = level_card(replace(seen, stability=replace(sure, draws=0, levels=sure.levels.tail(1))))
    assert re.fullmatch(
        r"For 0\.8 it is t02: log likelihood -1512 ± \d+, conditional coherence [\d.]+ ± [\d.]+\.",
        alone.finding,
    )


def test_stability_card(seen):
    """Probabilities of being on the front are told, and that they are classes where seeds are few."""
    card = stability_card(seen)
    assert card.finding.startswith("Of 7 configs, 5 are on the front with a probability of at least 0.5, and")
    assert (
        "with fewer than 3 seeds, and for all where most have fewer, they hold only roughly"
        in card.figure_html
    )
    assert "not paired" not in card.figure_html
    assert card.figure_html.count("<figure") == 1


def test_checks_card_has_worries_first(seen):
    """What is to be looked at stands first; what was not measured does not pass."""
    card = checks_card(seen)
    assert card.finding == "7 of 11 checks pass."
    assert card.table["result"].to_list() == ["warn"] + ["unknown"] * 3 + ["pass"] * 7


def test_importance_card(rich):
    """Beta decides everything here, so that twelve configs are enough to tell it; noise is pale."""
    card = importance_card(rich)
    assert card.finding == "Most important: beta for conditional coherence (95%)."
    assert card.figure_html.count("<figure") == 1
    assert "0.3" in card.figure_html


def test_importance_card_without_a_finding(rich):
    """Where nothing is told from chance the card names no setting, but how many configs it would take."""
    ids, random = rich.tradeoff.configs["trial_id"], np.random.default_rng(1)
    values = random.normal(size=(len(ids), 2))
    noise = replace(rich.tradeoff, points=replace(rich.tradeoff.points, values=values))
    assert importance_card(replace(rich, tradeoff=noise)).finding == (
        "With 12 configs no setting can be told from chance; if the clearest difference here is real, about "
        "50 would show it."
    )


def test_rung_card(rich):
    """The agreement after the first epoch is told by objective, and what a rung there would have kept."""
    card = rung_card(rich)
    assert card.finding == (
        "After epoch 1, Kendall's tau between the order of 24 trials and that at full budget is 1.00 for "
        f"conditional coherence and {kendall(rich):.2f} for log likelihood; a rung there that continues 1 of "
        "3 keeps 100% of the final front."
    )


def kendall(rich) -> float:
    """Return the tau of the likelihoods by counting pairs."""
    values = (
        rich.curves.pivot("epoch", index="trial_id", values="o_log_likelihood").select("1", "2").to_numpy()
    )
    agree = np.sign(values[:, None] - values[None]).prod(axis=2)
    return float(agree.sum() / (24 * 23))


def test_method_card(rich):
    """Methods are listed by hypervolume, with the number of their configs and their best values."""
    card = method_card(rich)
    assert card.finding.startswith("Hypervolume by method: mopoe ")
    assert "(8 configs), mvae " in card.finding
    assert card.finding.endswith(" More configs alone increase it.")
    assert card.table["configs"].to_list() == [8, 4]
    best = rich.tradeoff.configs.sort("o_log_likelihood").row(-1, named=True)
    assert card.table["best log likelihood"][1].startswith(f"{best['o_log_likelihood']:.0f}")


def test_attainment_card(rich):
    """From three seeds on, the volumes of their fronts are told beside that of the means."""
    assert attainment_card(rich) is None  # two seeds each
    third = rich.usable.filter(seed=0).sort("config_id")
    third = third.with_columns(
        pl.col("o_conditional_coherence") + pl.Series([0.1, -0.1] * 6),
        trial_id=pl.col("trial_id") + "c",
        seed=pl.lit(2, rich.usable.schema["seed"]),
    )
    card = attainment_card(replace(rich, usable=rich.usable.vstack(third)))
    assert card.finding.startswith(
        "For 12 configs with 3 seeds each, the front of a single seed has a hypervol"
    )
    assert "larger on average" in card.finding
    assert "every seed" in card.figure_html


def test_history_card(rich, seen):
    """The last quarter of 24 trials is told with what it added; all three measures of cost are drawn."""
    card = history_card(rich)
    assert "of 24 trials" in card.finding
    assert "of 0.4 hours" in card.finding
    assert "of 48 epochs" in card.finding
    assert card.figure_html.count("<figure") == 3
    assert "of 161 epochs" in history_card(seen).finding


def test_a_hypervolume_may_fall(rich, monkeypatch):
    """When a further seed lowers a config of the front; the first time at nine tenths counts."""

    def dipped(*arguments):
        history = hypervolume_history(*arguments)
        n = history.height
        values = [0.1, 0.95, *[0.6] * (n - 3), 1.0]
        return history.with_columns(pl.Series("hypervolume", values))

    monkeypatch.setattr("sweep.report.trust.hypervolume_history", dipped)
    second = hypervolume_history_of(rich)["trials"][1]
    assert f"was reached after {second} of 24 trials" in history_card(rich).finding


def hypervolume_history_of(view):
    """Return the history that the card shows."""
    of = (view.tradeoff.manifest.objectives, view.tradeoff.manifest.reference_point)
    return hypervolume_history(view.tradeoff.trials, view.usable, view.curves, *of)


def test_cards_that_do_not_apply_are_not_there(seen, tmp_path, make_manifest, make_record):
    """Without methods, seeds in common, errors or earlier evaluations."""
    assert [make(seen) for make in (method_card, importance_card, rung_card)] == [None] * 3
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    values = {"conditional_coherence": 0.5, "log_likelihood": -1800.0}
    writer.write_trial(make_record("t0", status="completed", objectives=values))
    alone = view(open_store(tmp_path))
    assert [make(alone) for make in (level_card, stability_card, attainment_card, history_card)] == [None] * 4


@pytest.mark.parametrize("objectives", [1, 3])
def test_other_numbers_of_objectives(tmp_path, make_manifest, make_record, objectives):
    """All cards stand with one objective, which is to be minimised, and with three."""
    names = ("loss", "conditional_coherence", "log_likelihood")[:objectives]
    ways = ("minimize" if n == "loss" else "maximize" for n in names)
    several = tuple(Objective(name=n, direction=way) for n, way in zip(names, ways, strict=True))
    writer = StoreWriter(tmp_path)
    corner = dict.fromkeys(names, 0.0) | {"loss": 9.0}
    writer.write_manifest(replace(make_manifest(), objectives=several, reference_point=corner))
    for k in range(12):
        record = make_record(f"t{k}", status="completed", parameters={"beta": float(k)})
        values = {n: 1.0 + (k * (i + 2)) % 7 for i, n in enumerate(names)}
        config = json.dumps({"method": ["mopoe", "mvae"][k % 2]})
        ended = {"ended_at": record.started_at, "config_json": config, "epochs_max": 1}
        writer.write_trial(replace(record, objectives=values, **ended))
    found = view(Store(tmp_path))
    cards = {make: make(found) for make in CARDS}
    assert "hypervolume" in cards[history_card].finding
    assert cards[method_card].table.height == 2
    assert (cards[method_card].figure_html is None) == (objectives == 1)
    assert (cards[level_card] is None) == (objectives == 1)
    assert objectives == 1 or cards[level_card].title == "Best log likelihood with loss at most c"
