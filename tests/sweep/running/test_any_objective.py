"""A sweep with objectives and limits beside the three of every evaluation, from its file to its report."""

import json
import re
import shutil

import polars as pl
import pytest

from mopoe.quantities import with_quantities
from mopoe.reports import OBJECTIVES as OBJECTIVES_OF_ALL
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.report.cards import split_card
from sweep.report.view import view
from sweep.running.driver import run_sweep
from sweep.running.reporting import ReportWriter
from sweep.running.shared_inputs import load_inputs
from sweep.running.worker import checkpoint_name, run_trial
from sweep.store.read import open_store
from sweep.store.write import StoreWriter
from sweep.verify import problems

OBJECTIVES = "objectives: [frechet.1, 'coherence:m0', parameters, log_likelihood]\n"
CORNER = "{frechet.1: 1000000, 'coherence:m0': -0.1, parameters: 10000000, log_likelihood: -200000}"
LIMITS = "constraints: {'nll:m1': '<= 1.0e9', epoch_seconds: '<= 1000'}\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory, quick_sweep, sharing_ray):
    """Run such a sweep."""
    folder = tmp_path_factory.mktemp("any")
    corner = "{conditional_coherence: 0.0, log_likelihood: -20000}"
    text = quick_sweep.replace(corner, CORNER).replace(
        "  beta: {", "  latent_dim: {type: int, low: 2, high: 9}\n  beta: {"
    )
    text = text.replace("latent_dim: 4, ", "").replace(
        "pictures: 2", "pictures: 0, subset_sizes: [1], final_metrics: [frechet]"
    )
    path = folder / "any.yaml"
    path.write_text(text + OBJECTIVES + LIMITS, encoding="utf-8")
    with sharing_ray():
        run_sweep(load_spec(path, ["resources.concurrent=1"]), folder / "out", say=print)
    return folder / "out"


@pytest.mark.ray
def test_the_trials_record_what_the_sweep_is_about(results):
    """By the definition of each, from the tables; a mean's standard error is at most its parts' own."""
    store = open_store(results)
    trials = store.trials().filter(status="completed").sort("trial_id").collect()
    assert trials.height == 3
    assert trials["o_parameters"].to_list() == trials["n_parameters"].to_list()
    metrics, pairs = store.subset_metrics().collect(), store.pair_coherence().collect()
    other = pl.col("target") != pl.col("subset_label")
    single = metrics.filter(other, metric="frechet", subset_size=1)
    of_m0 = pairs.filter(~pl.col("in_source"), target="m0")
    for row in trials.iter_rows(named=True):
        mine = single.filter(trial_id=row["trial_id"])
        assert mine.height == 20
        assert row["o_frechet.1"] == pytest.approx(mine["value"].mean())
        generated = of_m0.filter(trial_id=row["trial_id"])
        assert generated.height == 4
        assert row["o_coherence:m0"] == pytest.approx(generated["value"].mean())
        nll = metrics.filter(metric="nll", target="m1", trial_id=row["trial_id"])
        assert row["o_nll:m1"] == nll["value"].item()
        assert row["se_nll:m1"] == nll["stderr"].item()
        assert row["o_epoch_seconds"] == pytest.approx(row["seconds"] / 2)
        assert row["se_frechet.1"] is None
        assert row["se_coherence:m0"] == pytest.approx(generated["stderr"].mean())
    # A distance is measured after the last epoch alone, everything else whenever there is an evaluation.
    assert store.epochs().filter(epoch=2).collect()["o_frechet.1"].null_count() == 0
    assert list(problems(store)) == []


@pytest.mark.ray
def test_the_sweep_is_read_as_any_other(results, sweep, tmp_path):
    """Report, best, export and resume know the minimised objectives, without a direction in the file."""
    manifest = json.loads((results / "sweep.json").read_text())
    assert manifest["spec"]["objectives"][0] == {"name": "frechet.1", "direction": "minimize"}
    assert manifest["spec"]["objectives"][1] == "coherence:m0"
    status, out, err = sweep("report", results)
    assert (status, err) == (0, "")
    assert "best frechet.1: t" in out
    (file,) = (results / "report").glob("*.html")
    page = file.read_text(encoding="utf-8")
    assert "frechet.1, lower is better" in page
    assert "coherence:m0, higher is better" in page
    assert "Frechet distance in its classifier" in page
    status, out, _ = sweep("best", results, "--pick", "frechet.1")
    assert status == 0
    (tmp_path / "best.yaml").write_text(out)
    best = load_spec(tmp_path / "best.yaml")
    assert best.objectives == load_spec(results.parent / "any.yaml").objectives
    trials = open_store(results).trials().filter(status="completed").collect()
    lowest = trials.sort("o_frechet.1").row(0, named=True)
    assert out.startswith(f"# {lowest['trial_id']} of tiny: ")
    status, out, _ = sweep("export", results, "--deepcave", tmp_path / "cave")
    assert status == 0
    heads = pl.read_csv(tmp_path / "cave" / "trials.csv").columns
    (head,) = [h for h in heads if "frechet" in h]
    assert head.startswith("metric:frechet_1 [")
    assert head.endswith("] (minimize)")
    status, out, err = sweep("resume", results)
    assert (status, err) == (0, "")


@pytest.mark.ray
def test_its_objectives_are_measured_on_another_split(results, sweep, tmp_path):
    """`sweep evaluate` stores them all, and the report has each beside its value on the sweep's split."""
    root = shutil.copytree(results, tmp_path / "copy")
    status, out, err = sweep("evaluate", root, "--split", "test")
    assert (status, err) == (0, "")
    assert "frechet.1 " in out
    store = open_store(root)
    table = split_card(view(store)).table
    assert table is not None
    for name in ("frechet.1", "coherence:m0", "parameters", "log likelihood"):
        assert {f"{name}, validation", f"{name}, test"} <= set(table.columns)
    assert table["parameters, test"].to_list() == table["parameters, validation"].to_list()
    assert list(problems(store)) == []


def test_a_final_metric_beside_an_early_stop_does_not_fail_the_trial(make_evaluation):
    """What was stopped lacks it, and is judged by what the rung compared."""
    from sweep.config.objectives import Objective
    from sweep.search.trial import TrialReport, final_status

    both = Objective(name="log_likelihood"), Objective(name="frechet", direction="minimize")
    found = with_quantities(make_evaluation(("m0", "m1"), 0.5, -9.0), ["frechet"], ("m0", "m1"), 2, 1.0)
    last = TrialReport(epoch=2, objectives=found.objectives, stopped="one of the worse")
    assert final_status(last, 4, both) == ("stopped", "one of the worse")
    whole = TrialReport(epoch=4, objectives=found.objectives)
    assert final_status(whole, 4, both) == ("failed", "frechet is not a finite number")


def test_a_trial_that_only_its_record_lacks_measures_final_metrics_again(load, quick_sweep, tmp_path):
    """The driver was lost after the last epoch: every objective is there again, to the last digit."""
    corner = "reference_point: {frechet.1: 1000000, log_likelihood: -20000}"
    text = re.sub("reference_point.*", corner, quick_sweep) + "objectives: [frechet.1, log_likelihood]\n"
    spec = load(text.replace("pictures: 2", "pictures: 0, subset_sizes: [1], final_metrics: [frechet]"))
    config, inputs, told = trial_config_for(spec, ()), load_inputs(spec), []
    for _ in range(2):
        reports = ReportWriter(StoreWriter(tmp_path / "out"), "t0000", 0, spec.modalities)
        given = (spec, config, inputs, reports, checkpoint_name("t0000"), "cpu")
        run_trial(*given, on_report=lambda _: None, on_saved=told.append)
    *_, last, again = told
    assert set(last.objectives) == {*OBJECTIVES_OF_ALL, "frechet.1"}
    assert again.objectives == last.objectives
