"""Sweeps over tables from their file alone: without labels, and the page's example; mistakes in the file."""

import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mopoe.checkpoint import load_model
from mopoe.data import _own, load_data
from search_spaces import parsed
from sweep.config.sweep_spec import load_spec, spec_of
from sweep.results import open_results
from sweep.running.shared_inputs import _loaded
from sweep.store.read import open_store

PAGE = Path(__file__).parents[3] / "docs" / "tables_data.md"
Sweep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder, in which Ray was not started, as it is deleted; forget its data afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    _own.cache_clear()
    _loaded.cache_clear()


def blocks(language: str) -> list[str]:
    """Return the page's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run_example(number: int, name: str, scripts: tuple[str, str], sweep: Sweep) -> dict[str, Any]:
    """Run one of the page's examples with fewer trials and epochs; return what its last script found."""
    for script, text in zip(scripts, blocks("python")[2 * number :], strict=False):
        Path(script).write_text(text, encoding="utf-8")
    Path(f"{name}.yaml").write_text(blocks("yaml")[number], encoding="utf-8")
    found: dict[str, Any] = {}
    commands = [block for block in blocks("sh") if block.startswith("python ")]
    for line in commands[number].splitlines():
        program, *words = shlex.split(line)
        if program == "python":
            found = runpy.run_path(words[0])
            continue
        fewer = ["-o", "resources.concurrent=1", "-o", "trials=2", "-o", "fixed.epochs=10"]
        status, _, err = sweep(*words, *(fewer if words[0] == "run" else []))
        assert status == 0, err
    return found


def write_tables() -> None:
    """Write two tables of numbers and one of counts that share three factors; they lack 15 % of the rows."""
    rng, n = np.random.default_rng(0), 240
    z = rng.normal(size=(n, 3))
    subjects = np.array([f"s{i}" for i in range(n)])
    a = 50 + 10 * z @ rng.normal(size=(3, 6)) + rng.normal(size=(n, 6))
    b = z @ rng.normal(size=(3, 4)) + 0.1 * rng.normal(size=(n, 4))
    counts = rng.poisson(np.exp(2 + 0.5 * z @ rng.normal(size=(3, 8))))
    there = rng.random((3, n)) >= 0.15
    for name, x, rows in (("a", a, there[0]), ("b", b, there[1])):
        table = pl.DataFrame({"subject": subjects[rows]} | {f"{name}{i}": c[rows] for i, c in enumerate(x.T)})
        table.write_csv("a.csv") if name == "a" else table.write_parquet("b.parquet")
    np.savez("genes.npz", subject=subjects[there[2]], gene=counts[there[2]])


FILE = """\
name: three
data:
  name: tables
  modalities: {b: b.parquet, a: a.csv, genes: genes.npz}
  id: subject
  likelihoods: {genes: poisson}
trials: 2
sampler: random
objectives: [log_likelihood]
reference_point: {log_likelihood: -200}
search_space: {beta: {type: uniform, low: 0.5, high: 1}}
fixed: {epochs: 6, batch_size: 20, latent_dim: 3, lr: 0.005, initialisation: he}
evaluation: {likelihood_samples: 10, importance_samples: 14, final_metrics: [conditional_likelihood]}
"""


@pytest.mark.ray
def test_a_sweep_over_three_tables_runs_from_its_file_alone(
    sweep: Sweep, shared_ray: list[str], folder: Path
) -> None:
    """Without labels and with missing rows: trained, measured, reported, sound; its model can be loaded."""
    write_tables()
    (folder / "three.yaml").write_text(FILE)
    status, _, err = sweep("run", "three.yaml", "-o", "resources.concurrent=1")
    assert status == 0, err
    store = open_store(folder / "results" / "three")
    trials = store.latest_trials().collect()
    assert trials["status"].to_list() == ["completed"] * 2
    assert store.manifest.modalities == ("b", "a", "genes")
    assert (store.manifest.n_classes, store.manifest.shapes["genes"]) == (0, (8,))
    metrics = store.subset_metrics().collect()
    explained = metrics.filter(metric="explained")
    assert set(explained["target"]) == {"a", "b", "genes"}
    assert explained["value"].min() > 0
    assert set(metrics.filter(metric="log_likelihood_conditional", target="a")["subset_mask"]) == {1, 4, 5}
    by_sample = store.sample_values().collect().filter(metric="log_likelihood_conditional")
    assert by_sample["values"].list.len().to_list() == [10, 10]
    assert sweep("verify", "results/three")[:2] == (0, "results/three is sound\n")
    assert sweep("report", "results/three")[0] == 0
    page = (folder / "results/three/report/report.html").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert {"Trade-off", "Samples of the picks"} <= set(titles)
    assert "Coherence by number of observed modalities" not in titles
    status, out, _ = sweep("best", "results/three")
    (folder / "best.yaml").write_text(out)
    assert status == 0
    status, out, _ = sweep("trial", "best.yaml", "--set", "epochs=1")
    assert status == 0
    assert re.search(
        r" next: sweep report results/\S+-trials$", " ".join(out.split())
    )  # vectors are no pictures
    (weights, *_) = sorted((folder / "results/three/checkpoints").glob("*.safetensors"))
    assert load_model(weights).names == ("b", "a", "genes")
    status, _, err = sweep("impute", "results/three", "--from", "b.parquet", "--out", "others.csv")
    assert (status, err) == (0, "")
    others, given = pl.read_csv("others.csv"), pl.read_parquet("b.parquet")
    assert others.columns == ["subject", *(f"a{i}" for i in range(6)), *(f"gene_{i}" for i in range(8))]
    assert others["subject"].equals(given["subject"])
    model = open_results(folder / "results" / "three").model()
    direct = model.impute({"b": given.drop("subject").to_numpy()})
    np.testing.assert_allclose(others.select(pl.col("^a.$")).to_numpy(), direct["a"], rtol=1e-5)
    assert abs(others["a0"].mean() - 50) < 10  # in the file's units
    assert others.select(pl.col("^gene.*$")).to_numpy().min() >= 0
    given.tail(-3).write_parquet("few.parquet")
    both = ("--from", "a.csv", "--from", "few.parquet")
    assert sweep("impute", "results/three", *both, "--out", "filled.csv")[0] == 0
    filled = pl.read_csv("filled.csv").join(given, on="subject", suffix="_given", maintain_order="right")
    kept = np.isclose(filled["b0"], filled["b0_given"])  # what a subject has stays as it was given
    assert kept.tolist() == [False] * 3 + [True] * (len(given) - 3)


def test_the_pages_first_files_are_written(sweep: Sweep, folder: Path) -> None:
    """Without labels, and with labels and covariates of another file, by the page's own lines."""
    rng, subjects = np.random.default_rng(0), [f"s{i}" for i in range(60)]
    for name in ("mri", "pet"):
        columns = {f"{name}{i}": x for i, x in enumerate(rng.normal(size=(3, 60)))}
        pl.DataFrame({"subject": subjects} | columns).write_csv(f"{name}.csv")
    clinic = {"subject": subjects, "diagnosis": ["AD", "CN"] * 30}
    clinic |= {"age": range(60), "sex": ["f", "m", "m"] * 20, "site": ["Bonn", "Oslo", "Rome"] * 20}
    pl.DataFrame(clinic).write_csv("clinic.csv")
    plain, line = (block for block in blocks("sh") if block.startswith("sweep init"))
    assert sweep(*shlex.split(plain)[1:])[0] == 0
    assert load_spec("study.yaml").objectives[1].name == "log_likelihood_conditional"
    assert sweep(*shlex.split(line.replace("\\\n", "").replace("study.yaml", "mine.yaml"))[1:])[0] == 0
    asked = load_spec("mine.yaml").data
    data = load_data(asked.name, **asked.options)
    assert data.classes == ("AD", "CN")
    assert [c.name for c in data.modalities[0].covariates] == ["age", "sex"]


@pytest.mark.ray
def test_the_pages_example_runs_from_end_to_end(sweep: Sweep, shared_ray: list[str], folder: Path) -> None:
    """Two modalities with labels are swept over: coherence is above chance, and imputing beats the mean."""
    found = run_example(0, "tumours", ("make_tables.py", "check_tables.py"), sweep)
    assert len(found["explained"]) == 10
    assert found["explained"]["worst radius"] > 0.8
    assert np.median([*found["explained"].values()]) > 0.4
    store = open_store(folder / "results" / "tumours")
    trials = store.latest_trials().collect()
    assert trials["status"].to_list() == ["completed"] * 2
    assert trials["o_conditional_coherence"].min() > store.pair_coherence().collect()["chance"].max()
    assert store.manifest.n_classes == 2
    assert store.manifest.classes == ("benign", "malignant")


@pytest.mark.ray
def test_the_pages_halves_of_digits_are_imputed(sweep: Sweep, shared_ray: list[str], folder: Path) -> None:
    """Better than by each pixel's more frequent value; the halves' MMD is known, with its standard error."""
    found = run_example(1, "halves", ("make_halves.py", "check_halves.py"), sweep)
    assert found["majority"] == pytest.approx(0.72, abs=0.005)
    assert found["right"] > found["majority"] + 0.03
    store = open_store(folder / "results" / "halves")
    assert store.manifest.n_classes == 10
    mmd = store.subset_metrics().filter(metric="mmd").collect()
    assert mmd.select("subset_mask", "target").n_unique() == 8
    assert mmd["stderr"].min() > 0


def test_an_option_left_out_is_in_no_hash(folder: Path) -> None:
    """A results folder from before there were covariates is of the same sweep, as long as there are none."""
    write_tables()
    hashes = []
    for more in ("", "  covariates: []\n  covariates_file: ''\n"):
        spec = spec_of(parsed(FILE.replace("  id:", f"{more}  id:"), folder / "three.yaml"))
        options = "name modalities id labels labels_file likelihoods split seed"
        assert {*spec.plain()["data"]} == {*options.split()}
        hashes.append(spec.spec_hash)
    assert hashes[0] == hashes[1]


@pytest.mark.ray
def test_the_pages_patients_are_conditioned_on(sweep: Sweep, shared_ray: list[str], folder: Path) -> None:
    """On age and sex, which are read from the file of `impute` and may be others; all else runs, too."""
    found = run_example(2, "patients", ("make_patients.py", "check_patients.py"), sweep)
    assert repr(found["model"]).endswith("given age, sex; 3 latents>")
    assert found["change"]["s1"] > 3
    imputed = pl.read_csv("imputed.csv")
    assert imputed.columns == ["patient", "age", "sex", "s1", "s2", "s3", "s4", "s5", "s6"]
    np.testing.assert_allclose(imputed.select("^s[1-6]$").to_numpy(), found["now"], rtol=1e-4)
    assert sweep("evaluate", "results/patients", "--split", "test")[0] == 0
    pl.read_csv("given.csv").drop("sex").write_csv("less.csv")
    status, _, err = sweep("impute", "results/patients", "--from", "less.csv", "--out", "x.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith("the model is conditioned on it; add it to the file, one value a row\n")
    assert "less.csv: there is no column 'sex', but " in err
    arrays = {name: np.array(pl.read_csv("given.csv")[name].to_list()) for name in ("age", "sex")}
    np.savez("given.npz", body=pl.read_csv("body.csv").drop("patient").to_numpy(), **arrays)
    assert sweep("impute", "results/patients", "--from", "given.npz", "--out", "imputed.npz")[0] == 0
    with np.load("imputed.npz") as file:
        np.testing.assert_allclose(file["blood"], found["now"], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ("  id: subject\n", ""),
            "there is no column 'id' of subjects; its first columns are: 'subject', 'b0'",
        ),
        (("a.csv", "nowhere.csv"), "data set 'tables': nowhere.csv: there is no such file"),
        (
            ("poisson", "poison"),
            "three.yaml:3: data: data set 'tables': likelihoods: genes is 'poison'; did you mean 'poisson'?",
        ),
        (
            ("{genes: p", "{gens: p"),
            "three.yaml:3: data: data set 'tables': likelihoods: unknown key 'gens'; did you mean 'genes'?",
        ),
        (("  id:", "  idd: x\n  id:"), "three.yaml:5: data: unknown key 'idd'; did you mean 'id'?"),
        (
            ("  modalities: {b: b.parquet, a: a.csv, genes: genes.npz}\n", ""),
            "key 'modalities' is missing; a",
        ),
        (
            ("b: b.parquet", "b: 3"),
            "three.yaml:3: data: data set 'tables': modalities: b is 3, but must be a word",
        ),
        (
            ("  id:", "  size_factors: [b]\n  id:"),
            "size_factors: b has the likelihood normal, but only counts",
        ),
        (
            ("  id:", "  covariates: age, sex\n  id:"),
            "covariates is 'age, sex', but must be a list of words; a list is written as [age,sex]",
        ),
        (("  id:", "  covariates: [age]\n  id:"), "there is no column 'age' with a covariate in the modal"),
        (("  id:", "  split: {test: 1}\n  id:"), "split: test is 1, but must be a number between 0 and 1"),
    ],
)
@pytest.mark.parametrize("command", ["run", "show-config"])
def test_a_mistake_is_one_sentence_before_anything_runs(
    sweep: Sweep, folder: Path, change: tuple[str, str], sentence: str, command: str
) -> None:
    """With the line in the sweep's file, or the table it is about; status 2, and no results folder."""
    write_tables()
    assert change[0] in FILE
    (folder / "three.yaml").write_text(FILE.replace(*change))
    status, _, err = sweep(command, "three.yaml")
    assert (status, err.count("\n")) == (2, 1), err
    assert sentence in err
    assert not (folder / "results").exists()
