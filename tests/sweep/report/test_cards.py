import math
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sweep.config.objectives import Objective
from sweep.report.cards import (
    CARDS,
    curve_card,
    failure_card,
    front_card,
    measured_card,
    prediction_card,
    report_cards,
    sample_card,
    setting_card,
    size_card,
    table_card,
)
from sweep.report.theme import scale
from sweep.report.view import view
from sweep.store.read import open_store
from sweep.store.write import StoreWriter

NAMES = ("m0", "m1", "m2")


@pytest.fixture(scope="module")
def seen(made_up_sweep):
    """Give the view of the made-up sweep."""
    return view(open_store(made_up_sweep))


def test_front_card(seen):
    """The trade-off is told with chance and hypervolume; its range and knee are in the summary alone."""
    card = front_card(seen)
    assert card.finding == (
        "The chance level of coherence is 0.12. "
        "Hypervolume from (conditional coherence 0, log likelihood -1700): 161."
    )
    assert card.figure_html.count('<figure role="img"') == 1
    assert re.search(r"conditional coherence 0\.720* \\u00b1 0\.\d+", card.figure_html)
    assert "the half width of the 95 % interval over seeds and held-out samples" in card.figure_html


def test_table_card(seen):
    """The table has all configs, the front first, and the finding the reason of each pick."""
    card = table_card(seen)
    assert card.finding == (
        "t04 has the highest conditional coherence. t00 has the highest log likelihood. "
        "t02 is the knee: it lies farthest above the line between the extremes of the front "
        "(0.42 with the front scaled to 0..1)."
    )
    objectives = ["conditional coherence\N{NO-BREAK SPACE}↑", "log likelihood\N{NO-BREAK SPACE}↑"]
    assert (card.table.columns[:3], card.table.columns[-1]) == (["trial", *objectives], "place")
    assert card.table["trial"].to_list() == ["t04", "t03", "t02", "t01", "t00", "t06", "t05"]
    picks = "front: best conditional coherence", "front: knee", "front: best log likelihood"
    assert card.table["place"].to_list() == [picks[0], "front", picks[1], "front", picks[2], "", ""]


def test_size_card(seen):
    """Coherence of each pick is told with the fewest and the most observed modalities."""
    assert size_card(seen).finding == (
        "Coherence of targets that were not observed: best conditional coherence (t04) from 0.80 with 1 to "
        "0.82 with 2; best log likelihood (t00) from 0.42 with 1 to 0.44 with 2; knee (t02) from 0.72 with 1 "
        "to 0.74 with 2. The weakest pair of t02 is m1 from m0 (0.72, 95 % interval 0.63 to 0.80)."
    )


def test_size_card_of_two_modalities(seen):
    """Where only one can be observed there is one value for each pick, and no line to draw."""
    card = size_card(replace(seen, sizes=seen.sizes.filter(source_size=1)))
    assert "best log likelihood (t00) 0.42 with 1; knee (t02) 0.72 with 1." in card.finding
    assert card.figure_html is None


def test_measured_card_has_the_means_by_size(seen):
    """Of the knee; a column for what was measured alone."""
    card = measured_card(seen)
    assert card.title == "Latents and further measurements"
    assert card.finding == "Means of t02 over its seeds and the subsets of each size."
    assert card.table.to_dict(as_series=False) == {
        "observed modalities": ["1", "2", "3"],
        "kl": ["10", "20", "30"],
    }
    rows = pl.DataFrame(
        {
            "trial_id": "t02",
            "metric": ["frechet"] * 3 + ["collapsed"],
            "subset_mask": [0, 1, 2, 1],
            "target": ["m0", "m1", "m1", None],
            "subset_size": [0, 1, 1, 1],
            "value": [9.0, 5.0, 1.0, 1.0],
            "stderr": [0.1] * 4,
            "error": [None] * 4,
        },
        schema_overrides={"subset_mask": pl.Int32, "error": pl.String},
    )
    card = measured_card(replace(seen, metrics=rows))
    assert card.table.rows() == [("none (prior)", "9"), ("1", "5")]
    more = rows.with_columns(pl.col("metric").replace("frechet", "mmd"), pl.col("value") - 6)
    card = measured_card(replace(seen, metrics=pl.concat([rows, more])))
    assert card.table.columns == ["observed modalities", "frechet", "mmd"]
    assert card.table.rows() == [("none (prior)", "9", "3"), ("1", "5", "-1")]


def test_prediction_card_has_the_means_over_seeds(seen):
    """Of both seeds of the knee; without what is measured for it there is no card."""
    assert prediction_card(seen) is None
    seeds = seen.usable.filter(pl.col("config_id") == seen.usable.filter(trial_id="t02")["config_id"][0])
    rows = [
        {"trial_id": trial, "metric": metric, "target": "m1", "value": value + i / 10, "stderr": error}
        for i, trial in enumerate(seeds.sort("seed")["trial_id"])
        for metric, value, error in (("predicted", 0.5, 0.02), ("explained", 0.8, None))
    ]
    assert len(rows) == 4
    card = prediction_card(replace(seen, metrics=pl.DataFrame(rows)))
    assert card.table.rows() == [("m1", "0.550 ± 0.039", "0.85")]
    assert card.table.columns == ["modality", "given all others", "given all"]


def test_measured_card_has_no_number_where_one_was_impossible(seen):
    """A dash for the size, and the reason in the finding."""
    row = {"trial_id": "t02", "metric": "log_likelihood_conditional", "target": None, "stderr": 0.1}
    impossible = "log p(text | svhn) would be 132.9, but the likelihoods allow 0 at most"
    rows = [
        row | {"subset_mask": mask, "subset_size": mask.bit_count(), "value": value, "error": error}
        for mask, value, error in ((1, -5.0, None), (2, float("nan"), impossible), (3, -4.0, None))
    ]
    kinds = {"subset_mask": pl.Int32, "target": pl.String, "error": pl.String}
    card = measured_card(replace(seen, metrics=pl.DataFrame(rows, schema_overrides=kinds)))
    assert card.table["log likelihood conditional"].to_list() == ["-", "-4"]
    assert card.finding.endswith(f"A dash stands where one could not be measured: {impossible}.")


def test_sample_card_marks_wrong_labels(seen):
    """Each pick has its inputs and 7 subsets of strips; a wrong prediction is marked, a right one is not."""
    page = sample_card(seen).figure_html
    assert page.count("<details") == 3
    assert page.count("<details open><summary>knee: t02") == 1
    assert page.count("<img ") == 3 * (3 + 7 * 3)
    # The last label is wrong for the 9 of 21 strips whose target was not observed.
    assert page.count('<b class="wrong">8</b>') == 3 * 9
    assert 'alt="m1, from m0: predicted 3 1 4 1 5 9 2 8"' in page
    assert 'alt="m1, held-out data: labels 3 1 4 1 5 9 2 6"' in page


def test_sample_card_names_the_classes(seen):
    """Under the card's title, the first twenty; without names nothing is said of them."""

    def finding(*classes):
        trade = seen.tradeoff
        return sample_card(
            replace(seen, tradeoff=replace(trade, manifest=replace(trade.manifest, classes=classes)))
        ).finding

    assert " The classes are 0 benign, 1 malignant." in finding("benign", "malignant")
    assert ", 19 c19 and so on." in finding(*(f"c{i}" for i in range(21)))
    assert "The classes" not in finding()


def test_curve_card_counts_trials_still_improving(tmp_path, make_manifest, make_record, make_report):
    """Of two completed trials the one whose ELBO still rises is counted."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    for trial, rise in (("t1", 50.0), ("t2", 0.1)):
        reports = [replace(make_report(e, NAMES), elbo=rise * e - 2000) for e in range(1, 21)]
        writer.write_reports(trial, 0, reports, NAMES)
        writer.write_trial(make_record(trial, status="completed"))
    card = curve_card(view(open_store(tmp_path)))
    assert card.finding.startswith(
        "1 of 2 completed trials still raised the ELBO by more than 1 % in the last tenth of the epochs."
    )


def test_a_trial_of_one_epoch_has_a_curve(tmp_path, make_manifest, make_report, make_record):
    """Too few to say whether its ELBO still rose."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    writer.write_reports("t1", 0, [make_report(1, NAMES)], NAMES)
    writer.write_trial(make_record("t1", status="completed", epochs=1, epochs_max=1))
    card = curve_card(view(open_store(tmp_path)))
    assert card.finding.startswith("Reconstruction and KL count here without beta")
    assert card.figure_html.count("<figure") == 1


def test_curves_show_a_retried_epoch_once(tmp_path, make_manifest, make_report):
    """An epoch trained in two attempts is drawn as the later one had it."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    for attempt, elbo in ((1, -5.0), (0, -9.0)):
        writer.write_reports("t1", attempt, [replace(make_report(1, NAMES), elbo=elbo)], NAMES)
    assert view(open_store(tmp_path)).curves.select("trial_id", "epoch", "elbo").rows() == [("t1", 1, -5.0)]


def test_setting_card_names_the_strongest_link(seen):
    """The strongest rank correlation is told with its sign, and that few configs prove little."""
    card = setting_card(seen)
    assert card.finding == (
        "The strongest monotone link is beta with log likelihood: rank correlation -0.93 over 7 configs. "
        "With so few configs, such a link may be chance."
    )
    assert card.figure_html.count("<figure") == 3


@pytest.mark.parametrize(
    ("name", "written", "values", "scale"),
    [
        ("beta", {"type": "log_uniform", "low": 1.0, "high": 8.0}, (1.0, 2.0, 3.0), "log"),
        ("beta", {"type": "uniform", "low": 0.1, "high": 8.0}, (0.1, 2.0, 8.0), "linear"),
        ("latent_dim", {"type": "int", "low": 1, "high": 64, "log": True}, (2, 4, 64), "log"),
        ("latent_dim", {"type": "choice", "values": [1, 10, 100]}, (1, 10, 100), "log"),
        ("latent_dim", {"type": "choice", "values": [1, 2, 4]}, (1, 2, 4), "linear"),
    ],
)
def test_an_axis_is_logarithmic_if_its_setting_was_drawn_so(
    tmp_path, make_manifest, make_record, make_spec, name, written, values, scale
):
    """As the range says, however wide it is; of a choice, if it spans a decade."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(replace(make_manifest(), spec=make_spec(search_space={name: written})))
    for k, value in enumerate(values):
        found = {"conditional_coherence": k / 10, "log_likelihood": -1600.0 - k}
        writer.write_trial(
            make_record(f"t{k}", status="completed", parameters={name: value}, objectives=found)
        )
    page = setting_card(view(open_store(tmp_path))).figure_html
    assert ('"type":"log"' in page) == (scale == "log")
    assert "log\\u003cbr\\u003elikelihood\\u003cbr\\u003e(nats)" in page


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.5, 8.0, "0.1 0.2 0.5 1 2 5 10 20 50"),
        (1e-3, 1.0, "0.001 0.01 0.1 1"),
        (1e-8, 1.0, "1e-08 1e-06 0.0001 0.01 1"),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    """1, 2 and 5 of one decade or two, the powers of ten of more, and every second one of many."""
    values = pl.Series(np.geomspace(low, high, 20))
    found = scale(values, log=True)
    assert found["ticktext"] == ticks.split()
    assert found["tickvals"] == pytest.approx([float(t) for t in ticks.split()])


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([16, 64, 128], False, [16, 64, 128]),
        ([16, 20, 128], False, None),
        ([0.11, 0.811, 0.871, 2.59], False, None),
        ([1.0, 10.0, 100.0], True, [1.0, 10.0, 100.0]),
        ([0.11, 0.811, 0.871, 2.59], True, [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]),
        ([3], False, [3]),
    ],
)
def test_few_values_are_ticks_unless_their_labels_would_meet(values, log, ticks):
    """Otherwise the axis has the usual ones."""
    found = scale(pl.Series(values), log=log).get("tickvals")
    assert found == (ticks and pytest.approx(ticks))


def test_settings_beyond_twelve_are_left_out(tmp_path, make_manifest, make_record):
    """Of fifteen weights the twelve most linked are drawn, and the card says so."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    for k in range(4):
        writer.write_trial(
            make_record(
                f"t{k}",
                status="completed",
                parameters={f"w_{i}": float(k if i == 9 else (k * i) % 3) for i in range(1, 16)},
                objectives={"conditional_coherence": k / 10, "log_likelihood": -1600.0 - k},
            )
        )
    card = setting_card(view(open_store(tmp_path)))
    assert "The figure shows the 12 of 15 settings with the strongest links." in card.finding
    assert "w 9 with" in card.finding
    assert card.figure_html.count('<figure role="img"') == 12
    assert 'id="setting-w_9"' in card.figure_html


def test_what_has_nothing_to_show_has_no_card(tmp_path, make_manifest):
    """Before the first trial there are the reason, in one sentence, and provenance."""
    StoreWriter(tmp_path).write_manifest(make_manifest())
    found = view(open_store(tmp_path))
    cards = report_cards(found)
    assert [c.title for c in cards] == ["Summary", "Provenance"]
    assert cards[0].finding == (
        "No trial has completed with finite objectives yet, so there is nothing to compare."
    )
    others = (front_card, curve_card, failure_card, size_card, measured_card, sample_card, setting_card)
    assert [make(found) for make in others] == [None] * 7


def test_a_sweep_that_failed_begins_with_its_failures(tmp_path, make_manifest, make_record):
    """And with a traceback of each reason, opened, the most frequent first; text from it is no markup."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    for trial, error, where in (
        ("t0", "no memory", "File <net>, line 7"),
        ("t1", "bad shape", 'File "one", line 1'),
        ("t2", "bad shape\nof x", 'File "two", line 1'),
        ("t3", "the node was lost", None),
    ):
        writer.write_trial(make_record(trial, status="failed", error=error, traceback=where))
    first, *others = report_cards(view(open_store(tmp_path)))
    assert [c.title for c in others] == ["Summary", "Provenance"]
    assert first.finding.startswith(
        "4 of 4 trials failed: bad shape (2 trials); no memory (1 trial); the node"
    )
    assert re.findall("<details open><summary>(.*?)</summary>", first.figure_html) == [
        "Traceback of t1",
        "Traceback of t0",
    ]
    assert '<pre tabindex="0">File &lt;net&gt;, line 7</pre>' in first.figure_html


@pytest.mark.parametrize(("objectives", "figures"), [(1, 0), (3, 3)])
def test_other_numbers_of_objectives(tmp_path, make_manifest, make_record, make_spec, objectives, figures):
    """One objective has no trade-off to draw; three have a figure for each two; all cards stand."""
    names = ("conditional_coherence", "log_likelihood", "joint_coherence")[:objectives]
    writer = StoreWriter(tmp_path)
    writer.write_manifest(
        replace(
            make_manifest(),
            objectives=tuple(Objective(name=n) for n in names),
            reference_point=dict.fromkeys(names, 0.0),
            spec=make_spec(objectives=list(names), reference_point=dict.fromkeys(names, 0.0)),
        )
    )
    for k in range(3):
        values = {n: float((k + i) % 3) for i, n in enumerate(names)}
        writer.write_trial(
            make_record(f"t{k}", status="completed", objectives=values, parameters={"beta": float(k)})
        )
    found = view(open_store(tmp_path))
    cards = [make(found) for make in CARDS]
    assert (cards[1].figure_html or "").count('<figure role="img"') == figures
    assert ("1 config of 3 is" if objectives == 1 else "3 configs of 3 are") in cards[0].finding


def test_a_trial_that_diverged_does_not_hide_the_others(tmp_path, make_manifest, make_report):
    """ELBOs that are no numbers, or hugely negative, neither break the curves nor set their scale."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    for trial in range(5):
        reports = [replace(make_report(e, NAMES), elbo=-100.0 - trial) for e in range(1, 21)]
        writer.write_reports(f"t{trial}", 0, reports, NAMES)
    wild = [replace(make_report(1, NAMES), elbo=-1e12), replace(make_report(2, NAMES), elbo=math.nan)]
    writer.write_reports("t9", 0, wild, NAMES)
    page = curve_card(view(open_store(tmp_path))).figure_html
    assert '"range":[-104.0,-99.8]' in page
