"""A first sweep's file is written for any data set, by flags or answers; it is complete, checked and runs."""

import math

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from mopoe.errors import ConfigError
from sweep.commands.init import _asked
from sweep.config.sweep_spec import load_spec
from sweep.running.first_file import first_file


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Give two tables of 200 subjects, three and two columns, and their classes in a third file."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, columns in (("a", 3), ("b", 2)):
        x = {f"{name}{i}": random.normal(size=200) for i in range(columns)}
        pl.DataFrame({"id": range(200), **x}).write_csv(f"{name}.csv")
    known = {"kind": [i % 4 for i in range(200)], "age": random.normal(size=200), "sex": ["m", "f"] * 100}
    pl.DataFrame({"id": range(200), **known}).write_csv("kinds.csv")
    return {"name": "tables", "modalities": {"a": "a.csv", "b": "b.csv"}}


@pytest.mark.parametrize("name", ["digits", "polymnist", "mnist_svhn_text", "celeba", "translated_polymnist"])
def test_a_shipped_data_set_has_its_shipped_sweep(name, tmp_path):
    """Under the new name, with the options that were given; nothing else changes."""
    data = {"name": name} if name == "digits" else {"name": name, "path": "/data/x"}
    file = tmp_path / "mine.yaml"
    file.write_text(first_file(file, data))
    spec, shipped = load_spec(file), load_spec(name)
    assert spec.name == "mine"
    assert spec.data.options == shipped.data.options | {k: v for k, v in data.items() if k != "name"}
    assert {**spec.plain(), "name": 0, "data": 0} == {**shipped.plain(), "name": 0, "data": 0}
    assert f"results/{name}" not in file.read_text()


def test_a_file_for_tables_without_labels(tables, tmp_path):
    """Two objectives that need none; the reference point is a tenth below standard normals."""
    file = tmp_path / "mine.yaml"
    file.write_text(first_file(file, tables))
    spec = load_spec(file)
    assert [o.name for o in spec.objectives] == ["log_likelihood", "log_likelihood_conditional"]
    # Standardised features: -log sqrt(2 pi) - 1/2 nats each, for infinitely many of them.
    entropy = 0.5 * math.log(2 * math.pi) + 0.5
    assert spec.reference_point["log_likelihood"] == pytest.approx(-1.1 * 5 * entropy, rel=0.15)
    assert spec.reference_point["log_likelihood_conditional"] == pytest.approx(-1.1 * 2.5 * entropy, rel=0.15)
    assert spec.fixed["batch_size"] == 16
    assert (
        "likelihood_samples: 20 # all held-out samples that have every modality; with so few"
        in file.read_text()
    )
    assert spec.fixed["epochs"] * math.ceil(160 / 16) == pytest.approx(3000, rel=0.02)
    assert yaml.safe_load(file.read_text())["data"] == tables


def test_with_labels_coherence_is_an_objective(tables, tmp_path):
    """Its reference is chance."""
    data = tables | {"labels": "kind", "labels_file": "kinds.csv"}
    file = tmp_path / "mine.yaml"
    file.write_text(first_file(file, data))
    spec = load_spec(file)
    assert [o.name for o in spec.objectives] == ["conditional_coherence", "log_likelihood"]
    assert spec.reference_point["conditional_coherence"] == 0.25


def test_the_file_runs_as_it_is(tables, tmp_path, sweep):
    """From the command to the cost of the sweep."""
    words = ("-o", "modalities.a=a.csv", "-o", "modalities.b=b.csv")
    status, out, err = sweep("init", "mine", "--data", "tables", *words)
    assert (status, err) == (0, "")
    assert out == "mine.yaml is written\nnext: sweep run mine.yaml --dry-run\n"
    status, out, err = sweep("run", "mine.yaml", "--dry-run", "-o", "fixed.epochs=1")
    assert status == 0, err
    assert "24 trials" in out


def test_labels_and_covariates_are_given_by_flags(tables, sweep):
    """As docs/tables_data.md writes them; a list without brackets is told its form."""
    words = ["-o", "modalities.a=a.csv", "-o", "modalities.b=b.csv", "-o", "labels=kind"]
    words += ["-o", "labels_file=kinds.csv", "-o", "covariates_file=kinds.csv", "-o"]
    status, out, err = sweep("init", "mine", "--data", "tables", *words, "covariates=age,sex")
    assert (status, out) == (2, "")
    assert err.endswith(
        "covariates is 'age,sex', but must be a list of words; a list is written as [age,sex]\n"
    )
    assert sweep("init", "mine", "--data", "tables", *words, "covariates=[age,sex]")[0] == 0
    assert load_spec("mine.yaml").data.options["covariates"] == ["age", "sex"]


def test_own_images_have_a_baseline_by_their_likelihood(tmp_path, monkeypatch):
    """A function of the user's own: one constant image has the mean absolute deviation as error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_data.py").write_text(OWN)
    from mopoe.plugins import also_import_from

    also_import_from(str(tmp_path))
    file = tmp_path / "pictures.yaml"
    file.write_text(first_file(file, {"name": "mine_data:load"}))
    # Pixels are 0 or 1 with equal chances, the median is one of both, and the error 1/2 of a pixel.
    pixels = 2 * 16 * 16
    one = pixels * (-0.5 / 0.75 - math.log(1.5))
    found = load_spec(file).reference_point["log_likelihood"]
    assert found == pytest.approx(1.1 * one, rel=0.05)


OWN = """
import mopoe
import torch

@mopoe.plugin
def load():
    torch.manual_seed(0)
    x = {m: torch.randint(2, (300, 1, 16, 16)).float() for m in "ab"}
    rows = {"train": slice(0, 200), "validation": slice(200, 250), "test": slice(250, 300)}
    return mopoe.data_from_arrays(**{s: {m: v[r] for m, v in x.items()} for s, r in rows.items()})
"""


def test_a_dialogue_asks_for_what_is_needed(tables, capsys):
    """Files until there are no more, their names, the columns; or the options of a data set."""
    asked = []

    def told(*answers):
        left = iter(answers)

        def ask(text, **_):
            asked.append(text.strip())
            return next(left)

        found = _asked(ask)
        assert next(left, None) is None
        return found

    files = ("tables", "no.csv", "a.csv", "mri", "b.csv", "PET", "")
    of_files = {"name": "tables", "modalities": {"mri": "a.csv", "PET": "b.csv"}}
    assert told(*files, "subject", "", "") == of_files | {"id": "subject"}
    assert asked[0] == "data set"
    assert "there is no file no.csv\n" in capsys.readouterr().out
    own = {"labels": "kind", "covariates": ["age", "sex"]}
    assert told(*files, "id", "kind", "", "age, sex", "") == of_files | {"id": "id", **own}
    own |= {"labels_file": "kinds.csv", "covariates_file": "kinds.csv"}
    assert told(*files, "id", "kind", "kinds.csv", "age,sex", "kinds.csv") == of_files | {"id": "id", **own}
    assert told("polymnist", "/data/MMNIST") == {"name": "polymnist", "path": "/data/MMNIST"}
    assert asked[-1].startswith("the folder MMNIST")
    assert "digits" in capsys.readouterr().out


def test_an_answer_that_cannot_be_is_asked_for_again(tables, sweep, monkeypatch):
    """The sentence is said, and files and columns are asked for anew; without an answer the files stay."""
    files = ["tables", "a.csv", "a", "b.csv", "b", ""]
    wrong = ["tables", "a.csv", "a", "kinds.csv", "b", "", "id", "", ""]
    left = iter(
        [*wrong, *files[1:], "id", "kind", "", "age", "", "", "id", "kind", "kinds.csv", "age", "kinds.csv"]
    )
    monkeypatch.setattr("sweep.commands.init.typer.prompt", lambda *_, **__: next(left))
    monkeypatch.setattr("sweep.commands.init.sys.stdin.isatty", lambda: True, raising=False)
    status, out, err = sweep("init", "mine")
    assert (status, err, next(left, None)) == (0, "", None)
    assert "kinds.csv: column" in out
    assert "there is no column 'kind' with" in out
    options = load_spec("mine.yaml").data.options
    assert options["modalities"] == tables["modalities"]
    assert (options["labels_file"], options["covariates"]) == ("kinds.csv", ["age"])
    left = iter(["tables", "", "id", "", ""])
    status, _, err = sweep("init", "other")
    assert (status, "modalities" in err, next(left, None)) == (2, True, None)


def test_bad_input_is_one_sentence_and_writes_nothing(tables, tmp_path, sweep):
    """What is there already, a folder or a data set that is not, a name of no sweep, nobody to ask."""
    (tmp_path / "there.yaml").write_text("x")
    for words, sentence in {
        ("there",): "there.yaml exists already; name another one",
        ("no/mine",): "no/mine.yaml cannot be written: no is not a folder",
        ("mine",): "nobody can be asked here; give --data",
        ("mine", "-d", "digit"): "'digits'",
        ("mine", "-d", "tables"): "needs the option 'modalities'",
        ("mine", "-d", "polymnist", "-o", "pat=x"): "path",
        ("-mine!", "-d", "digits"): "",
    }.items():
        status, out, err = sweep("init", *words)
        assert (status, out) == (2, ""), words
        assert sentence in err
    assert [path.name for path in tmp_path.glob("*.yaml")] == ["there.yaml"]


def test_a_modality_without_baseline_is_said(tables, tmp_path, monkeypatch):
    """A likelihood of the user's own need not know its best constant."""
    monkeypatch.setattr("mopoe.likelihoods.FeatureNormal.constant", lambda self, x: None)
    with pytest.raises(ConfigError, match="modality 'a' has no baseline; write its sweep's file by hand"):
        first_file(tmp_path / "x.yaml", tables)
    assert torch.is_inference_mode_enabled() is False
