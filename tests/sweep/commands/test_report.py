"""`sweep best` and `sweep report` of two sweeps, as a user meets them."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from mopoe.config import TrialConfig
from sweep.config.objectives import Objective
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.store.read import open_store
from sweep.store.write import StoreWriter


@pytest.fixture(scope="module")
def planned(tmp_path_factory, make_planned, make_planned_record):
    """A sweep with a front of three configs, t0001 the knee, and one dominated."""
    root = tmp_path_factory.mktemp("best") / "sweep"
    spec, writer = make_planned(root)
    for number, (coherence, likelihood) in enumerate(
        ((0.8, -16000.0), (0.7, -12000.0), (0.3, -11000.0), (0.2, -17000.0))
    ):
        objectives = {"conditional_coherence": coherence, "log_likelihood": likelihood}
        stderr = {"conditional_coherence": 0.02, "log_likelihood": 40.0}
        more = {
            "status": "completed",
            "epochs": 2,
            "seconds": 30.0,
            "objectives": objectives,
            "stderr": stderr,
        }
        writer.write_trial(make_planned_record(spec, number, **more))
    return root


@pytest.mark.parametrize(
    ("options", "trial", "why"),
    [
        ((), "t0001", "the knee"),
        (("--pick", "knee"), "t0001", "the knee"),
        (("--pick", "log_likelihood"), "t0002", "the best log likelihood"),
        (("--coherence-at-least", "0.71"), "t0000", "the best with conditional coherence of at least 0.71"),
        (("--coherence-at-least", "0.7"), "t0001", "the best with conditional coherence of at least 0.7"),
        (("--at-least", "log_likelihood=-11500"), "t0002", "the best with log likelihood of at least -11500"),
        (
            ("--coherence-at-least", "0.1", "--at-least", "log_likelihood=-16500"),
            "t0000",
            "the best with conditional coherence of at least 0.1, log likelihood of at least -16500",
        ),
    ],
)
def test_the_best_config_is_a_file_that_a_trial_runs_as_it_is(sweep, planned, tmp_path, options, trial, why):
    """The printed file loads, and its one trial has every setting of the original, the seed too."""
    status, out, err = sweep("best", planned, *options)
    assert (status, err) == (0, "")
    assert out.startswith(f"# {trial} of tiny: {why}; conditional coherence 0.")
    file = tmp_path / "best.yaml"
    file.write_text(out, encoding="utf-8")
    spec = load_spec(file)
    row = open_store(planned).trials().filter(trial_id=trial).collect().row(0, named=True)
    config = trial_config_for(spec, ())
    assert config == TrialConfig.from_dict(json.loads(row["config_json"]))
    assert config.config_id == row["config_id"]
    assert spec.evaluation == load_spec(planned.parent / "planned.yaml").evaluation
    assert (spec.name, spec.trials) == (f"tiny-{trial}", 1)


def test_any_trial_is_exported(sweep, planned):
    """One that is dominated, too, with its own settings and status."""
    status, out, err = sweep("best", planned, "--trial", "t0003")
    assert (status, err) == (0, "")
    assert out.startswith("# t0003 of tiny: completed.\n# config ")
    row = open_store(planned).trials().filter(trial_id="t0003").collect().row(0, named=True)
    text = yaml.safe_load(out)
    assert text["search_space"]["beta"]["values"] == [json.loads(row["config_json"])["beta"]]
    assert text["name"] == "tiny-t0003"


def test_the_best_config_trains_at_once(sweep, planned, few_digits, tmp_path):
    """`sweep trial` takes the printed file, here to measure on the test split."""
    file = tmp_path / "best.yaml"
    file.write_text(sweep("best", planned)[1], encoding="utf-8")
    quick = ["-o", f"data={{name: polymnist, path: '{few_digits}'}}", "-o", "fixed.batch_size=40"]
    quick += ["-o", "evaluation.split=test"]
    status, _, err = sweep("trial", file, *quick, "--set", "epochs=1", "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    assert set(open_store(tmp_path / "out").subset_metrics().collect()["split"]) == {"test"}
    (row,) = open_store(tmp_path / "out").trials().collect().iter_rows(named=True)
    assert json.loads(row["config_json"])["beta"] == 1.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--coherence-at-least", "0.9"),
            (
                "no config reaches conditional_coherence of at least 0.9; the best reached: "
                "conditional_coherence 0.8 (t0000)"
            ),
        ),
        (
            ("--coherence-at-least", "0.5", "--at-least", "log_likelihood=-11000"),
            (
                "no config reaches conditional_coherence of at least 0.5 and log_likelihood of at least "
                "-11000; the best reached: conditional_coherence 0.8 (t0000), log_likelihood -11000 (t0002)"
            ),
        ),
        (
            ("--at-least", "coherence=0.5"),
            (
                "'coherence' is not an objective of this sweep; did you mean 'conditional_coherence'? "
                "possible: conditional_coherence, log_likelihood"
            ),
        ),
        (("--at-least", "log_likelihood"), "'log_likelihood' is not an assignment; write KEY=VALUE"),
        (("--at-least", "log_likelihood=high"), "--at-least 'log_likelihood=high': 'high' is not a number"),
        (("--pick", "kne"), "there is no pick 'kne'; did you mean 'knee'? possible: "),
        (
            ("--pick", "knee", "--coherence-at-least", "0.5"),
            "are three ways to choose; give only one of them",
        ),
        (("--pick", "knee", "--trial", "t0000"), "are three ways to choose; give only one of them"),
        (("--trial", "t0009"), "holds no trial 't0009'"),
    ],
)
def test_no_such_config_is_one_sentence_and_status_2(sweep, planned, options, sentence):
    """Nothing is printed but the sentence, which names what is possible."""
    status, out, err = sweep("best", planned, *options)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("configs", [1, 2, 3])
def test_a_small_front_has_a_best_config(sweep, tmp_path, make_planned, make_planned_record, configs):
    """Without a knee it is the best of the first objective; asking for the knee then says what there is."""
    spec, writer = make_planned(tmp_path / "sweep")
    for number in range(configs):
        values = {"conditional_coherence": 0.3 + 0.1 * number, "log_likelihood": -7000.0 - 500 * number}
        end = {
            "status": "completed",
            "epochs": 2,
            "objectives": values,
            "stderr": dict.fromkeys(values, 0.01),
        }
        writer.write_trial(make_planned_record(spec, number, **end))
    status, out, err = sweep("best", tmp_path / "sweep")
    assert (status, err) == (0, "")
    status, knee, err = sweep("best", tmp_path / "sweep", "--pick", "knee")
    if "the knee" in out:
        assert knee == out
    else:
        best = f"t{configs - 1:04} of tiny: the best conditional coherence"
        assert out.startswith(f"# {best}, as the front of {configs} has no knee; ")
        assert (status, err.startswith("sweep: the front has no knee; ")) == (2, True)


def test_before_the_first_config_there_is_none_to_pick(sweep, tmp_path, make_planned):
    """Either way of choosing says so."""
    make_planned(tmp_path / "sweep")
    assert sweep("best", tmp_path / "sweep")[2] == (
        "sweep: there is no config to pick: no trial has completed with finite objectives yet, so there is "
        "nothing to compare\n"
    )
    status, _, err = sweep("best", tmp_path / "sweep", "--coherence-at-least", "0.5")
    assert status == 2
    assert "of at least 0.5; none has completed yet" in err


def test_two_sweeps_are_compared(sweep, made_up_sweep, tmp_path, make_manifest, make_record, make_spec):
    """The terminal says hypervolumes and coverage; the page is where the last line says."""
    other = tmp_path / "other"
    writer = StoreWriter(other)
    spec = make_spec(name="other", seed=1)
    writer.write_manifest(replace(make_manifest(), name="other", sweep_id="other", spec=spec))
    values = {"conditional_coherence": 0.79, "log_likelihood": -1485.0}
    writer.write_trial(make_record("t0", status="completed", objectives=values))
    status, out, err = sweep("report", made_up_sweep, other, "--out", tmp_path / "page")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        (
            "Hypervolume from (conditional coherence 0, log likelihood -1700), the reference point of both: "
            "A 161, B 170. How sure this is cannot be told, because no config of B has a second seed."
        ),
        "Of 5 configs on A's front B dominates 3. Of 1 config on B's front A dominates none.",
        "",
        f"report: {tmp_path / 'page' / 'report.html'}",
    ]


def test_what_cannot_be_compared_is_one_sentence(sweep, made_up_sweep, tmp_path, make_manifest, make_spec):
    """Other objectives, or more than two folders."""
    one = {"objectives": ["log_likelihood"], "reference_point": {"log_likelihood": -9.0}}
    manifest = replace(make_manifest(), **one | {"objectives": (Objective(name="log_likelihood"),)})
    StoreWriter(tmp_path / "other").write_manifest(replace(manifest, spec=make_spec(**one)))
    status, out, err = sweep("report", made_up_sweep, tmp_path / "other")
    assert (status, out) == (2, "")
    assert err == (
        f"sweep: {made_up_sweep} has the objectives conditional_coherence, log_likelihood and "
        f"{tmp_path / 'other'} has log_likelihood: fronts of different objectives cannot be compared\n"
    )
    status, _, err = sweep("report", *[made_up_sweep] * 3)
    assert (status, err) == (
        2,
        "sweep: 3 results folders are given, but a report shows one or compares two\n",
    )


def test_the_report_is_written_with_its_provenance(sweep, made_up_sweep, tmp_path):
    """The front is printed, the page is where the last line says, and all that made it is beside it."""
    status, out, err = sweep("report", made_up_sweep, "--out", tmp_path)
    assert (status, err) == (0, "")
    page = Path(out.rpartition("report: ")[2].strip())
    assert page == tmp_path / "report.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    for trial in pl.read_csv(tmp_path / "tables" / "front.csv")["trial_id"]:
        assert trial in out
    found = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    wanted = {
        "sweep_id": "digits-20260102",
        "spec_hash": "0f1e2d3c",
        "data": "digits",
        "git_revision": "abc1234",
    }
    assert wanted.items() <= found.items()
    assert found["versions"] == {"mopoe-sweep": "0.1.0", "torch": "2.9.0"}
    assert found["classifier_accuracy"] == {"m0": 0.97, "m1": 0.97, "m2": 0.97}
    assert found["commands"] == ["sweep run sweep.yaml --out RESULTS", "sweep report RESULTS"]
    spec = yaml.safe_load((tmp_path / "sweep.yaml").read_text(encoding="utf-8"))
    assert spec == open_store(made_up_sweep).manifest.spec
