"""A sweep whose replicates are folds: each trial has its fold, and everything that reads it knows."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mopoe.checkpoint import load_model, read_progress
from mopoe.data import _own, load_data
from mopoe.data.container import Split
from mopoe.data.folds import fold
from mopoe.evaluation import pictures
from mopoe.evaluation.evaluate import Evaluator
from sweep.results import open_results
from sweep.running.local import run_single
from sweep.running.samples import choose_checkpoint
from sweep.running.shared_inputs import _loaded, inputs_of_trial, load_inputs
from sweep.store.read import Store, open_store
from sweep.verify import problems

Sweep = Callable[..., tuple[int, str, str]]
FILE = """\
name: cut
data: {name: tables, modalities: {a: a.csv, b: b.csv}, labels: kind}
trials: 2
sampler: random
objectives: [log_likelihood, joint_coherence]
reference_point: {log_likelihood: -200, joint_coherence: 0}
search_space: {beta: {type: uniform, low: 0.5, high: 1}}
fixed: {epochs: 2, batch_size: 20, latent_dim: 2, lr: 0.005, initialisation: he}
evaluation: {likelihood_samples: 50, importance_samples: 6, joint_samples: 20, final_metrics: [frechet]}
replicates: {folds: 3}
keep: all
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder with two tables of two classes and the sweep's file."""
    path = tmp_path_factory.mktemp("folds")
    rng, n = np.random.default_rng(0), 90
    kind = rng.integers(0, 2, n)
    for name in "ab":
        x = 2 * kind[:, None] + rng.normal(size=(n, 3))
        table = {"id": range(n), "kind": kind} | {f"{name}{i}": c for i, c in enumerate(x.T)}
        pl.DataFrame(table).write_csv(path / f"{name}.csv")
    (path / "cut.yaml").write_text(FILE)
    yield path
    _own.cache_clear()
    _loaded.cache_clear()


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder."""
    monkeypatch.chdir(folder)


@pytest.fixture
def store(folder: Path, shared_ray: list[str], sweep: Sweep) -> Store:
    """Give the results, which the first test that asks for them makes."""
    if not (folder / "results").exists():
        status, _, err = sweep("run", "cut.yaml", "-o", "resources.concurrent=1")
        assert status == 0, err
    return open_store(folder / "results" / "cut")


@pytest.mark.ray
def test_each_replicate_is_validated_on_its_fold(store: Store) -> None:
    """Its weights give its recorded objectives on that fold, whose training samples its scale is of."""
    trials = store.latest_trials().collect().sort("trial_id")
    assert trials["trial_id"].to_list() == [f"t{c:04}{s}" for c in range(2) for s in ("", "-s1", "-s2")]
    assert trials["config_id"].n_unique() == 2
    assert trials["seed"].to_list() == [0, 1, 2] * 2
    spec, data = store.spec, load_data("tables", modalities={"a": "a.csv", "b": "b.csv"}, labels="kind")
    inputs = load_inputs(spec, store.files.address, store.manifest.classifier_hash)
    assert store.manifest.data_fingerprint == inputs[0].fingerprint == data.fingerprint
    for row in trials.head(3).iter_rows(named=True):
        path = choose_checkpoint(Path(store.files.address), row["trial_id"])
        own, classifiers = inputs_of_trial(spec, inputs, row["trial_id"])
        assert own.fingerprint == fold(data, row["seed"], 3).fingerprint == read_progress(path).fingerprint
        assert read_progress(path).modalities == own.modalities
        model = load_model(path, own.modalities)
        found = Evaluator(own, classifiers, spec.evaluation, epochs=2).measure(model)
        for name in ("log_likelihood", "joint_coherence"):
            assert row[f"o_{name}"] == pytest.approx(found.objectives[name], rel=1e-5)
    samples = store.sample_values().filter(metric="log_likelihood").collect()
    assert set(samples["values"].list.len()) == {81 // 3}


@pytest.mark.ray
def test_the_statistics_and_the_page_are_over_folds(store: Store, sweep: Sweep, folder: Path) -> None:
    """A config's error is that over its folds; the page says so, and its last card alone tells seeds."""
    front = open_results(folder / "results" / "cut").front()
    trials = store.latest_trials().collect()
    (first, *_) = front.iter_rows(named=True)
    own = trials.filter(config_id=first["config_id"])["o_log_likelihood"]
    assert first["folds"] == 3
    assert "seeds" not in first
    assert first["o_log_likelihood"] == pytest.approx(own.mean())
    assert first["se_log_likelihood"] == pytest.approx(own.std() / np.sqrt(3))
    assert first["ci_log_likelihood"] > 0
    status, out, _ = sweep("report", "results/cut")
    assert status == 0
    assert "over folds and held-out samples" in out
    assert "seed" not in out
    page = (folder / "results/cut/report/report.html").read_text(encoding="utf-8")
    said = re.sub(r"<(style)\b.*?</\1>|<pre>.*?</pre>", " ", page, flags=re.DOTALL)
    assert "Attainment over folds" in said
    assert re.findall(r"\bseeds?\b.{0,14}", said) == ["seeds of its trials"]
    status, out, _ = sweep("best", "results/cut")
    assert "by 3 folds." in out
    assert list(problems(store)) == []


@pytest.mark.ray
def test_other_folds_are_another_sweep(store: Store, sweep: Sweep, folder: Path) -> None:
    """Theirs were trained on other samples. The same ones go on, and their weights meet the test split."""
    for other, found in (("replicates={folds: 4}", 4), ("replicates={seeds: 3}", "absent")):
        status, _, err = sweep("run", "cut.yaml", "-o", other)
        assert status == 2
        assert (
            f"another sweep: replicates.folds was 3 there and is {found} here; choose another folder" in err
        )
        assert "--allow-changed" not in err
    assert sweep("resume", "results/cut")[0] == 0
    status, out, err = sweep("evaluate", "results/cut", "--split", "test")
    assert (status, err) == (0, "")
    assert out.count(" on test: ") == 6


@pytest.mark.ray
def test_samples_are_in_the_scale_of_the_trials_fold(
    store: Store, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is of that fold's data, and the test samples are shown as the model reads them."""
    seen: list[Split] = []
    monkeypatch.setattr(pictures, "sample_grid", lambda model, split, *_: seen.append(split))
    monkeypatch.setattr(pictures, "save_grid", lambda *_: None)
    status, out, err = sweep("samples", "results/cut", "--trial", "t0001-s2")
    assert (status, err) == (0, "")
    assert "(t0001-s2)" in out
    data = load_data("tables", modalities={"a": "a.csv", "b": "b.csv"}, labels="kind")
    expected = fold(data, 2, 3)
    assert torch.equal(seen[0].x["a"], expected.test.x["a"])


def test_what_cannot_be_cut_is_refused_before_a_trial_begins(sweep: Sweep, folder: Path) -> None:
    """By a sentence with what was asked for and what there is."""
    for given, sentence in (
        ("{folds: 1}", "replicates: folds is 1, but must be a whole number between 2 and 1,000, or null"),
        (
            "{folds: 3, seeds: 2}",
            "seeds is 2 and folds is 3, but a config has several seeds or several folds",
        ),
        (
            "{folds: 41}",
            "41 folds need 82 samples or more, but only 81 of the training and validation splits",
        ),
    ):
        for more in ([], ["--dry-run"]):
            status, _, err = sweep("run", "cut.yaml", *more, "--out", "none", "-o", f"replicates={given}")
            assert (status, err.count("\n")) == (2, 1), err
            assert sentence in err
            assert not (folder / "none" / "sweep.json").exists()


def test_a_single_trial_has_the_splits_as_they_are(folder: Path) -> None:
    """Its name ends in its seed, which is no fold; nor has its folder any."""
    from sweep.config.sweep_spec import load_spec, trial_config_for

    spec = load_spec("cut.yaml", ["fixed.epochs=1", "evaluation.final_metrics=[]"])
    config = trial_config_for(spec, ["seed=7"])
    given = {"resume": False, "device": "cpu", "on_report": lambda _: None}
    record = run_single(spec, config, folder / "single", **given)
    store = open_store(folder / "single")
    assert record.status == "completed"
    assert store.manifest.folds is None
    progress = read_progress(choose_checkpoint(folder / "single", record.trial_id))
    assert progress.fingerprint == store.manifest.data_fingerprint
