"""Covariates of tables: where they are found, how they are scaled, and every mistake in one sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from mopoe.data import _own, load_data
from mopoe.data.container import SPLITS, MultimodalData
from mopoe.data.folds import check_folds, fold
from mopoe.data.registry import COVARIATES
from mopoe.errors import MopoeError

N = 60
SUBJECTS = [f"s{i:02}" for i in range(N)]
AGE = [20 + 0.5 * i for i in range(N)]
SITE = ["north", "south", "west"] * (N // 3)
WELL = [i % 4 > 0 for i in range(N)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with two tables, of which b lacks every fifth subject, and one of covariates."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a = {"id": SUBJECTS, "number": range(N), "x": rng.normal(size=N), "age": AGE, "site": SITE}
    pl.DataFrame(a).write_parquet("a.parquet")
    b = pl.DataFrame({"id": SUBJECTS[::-1], "y": rng.normal(size=N), "age": AGE[::-1]})
    b.filter(pl.Series([i % 5 > 0 for i in range(N)])).write_csv("b.csv")
    write()
    yield
    _own.cache_clear()


def write(**columns: Any) -> None:
    """Write the file of covariates, with other columns in it, and forget what was read."""
    _own.cache_clear()
    known = {"id": SUBJECTS[::-1], "age": AGE[::-1], "site": SITE[::-1], "well": WELL[::-1]} | columns
    pl.DataFrame(known, strict=False).sample(fraction=1, shuffle=True, seed=1).write_csv("clinic.csv")


def leave_out(*names: str) -> None:
    """Take columns out of the modalities' files."""
    pl.read_parquet("a.parquet").drop(*names, strict=False).write_parquet("a.parquet")
    pl.read_csv("b.csv").drop(*names, strict=False).write_csv("b.csv")


def load(**options: Any) -> MultimodalData:
    """Load both tables, with the covariates of their own files."""
    return load_data("tables", modalities={"a": "a.parquet", "b": "b.csv"}, **options)


def subjects(data: MultimodalData, split: str) -> list[int]:
    """Return the number of each sample's subject, which is a feature."""
    spec, x = data.modalities[0], data.split(split).x["a"][:, 0]
    return (x * spec.scale[0] + spec.offset[0]).round().long().tolist()


def check_numbers(data: MultimodalData) -> None:
    """Check that age and site of every sample are those of its subject, scaled by the training split."""
    age, site = data.modalities[0].covariates
    rows = subjects(data, "train")
    mean, deviation = np.mean([AGE[i] for i in rows]), np.std([AGE[i] for i in rows])
    assert (age.name, age.offset, age.scale) == ("age", pytest.approx(mean), pytest.approx(deviation))
    assert (site.name, site.categories, site.offset, site.scale) == ("site", ("north", "south", "west"), 0, 1)
    for split in SPLITS:
        expected = [
            [(AGE[i] - mean) / deviation, *(float(SITE[i] == s) for s in site.categories)]
            for i in subjects(data, split)
        ]
        found = data.split(split).x[COVARIATES]
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_they_are_columns_of_the_modalities_files_and_no_features() -> None:
    """As labels are: the first file that has a subject's value gives it, whatever the order of its rows."""
    data = load(covariates=["age", "site"])
    assert [m.features for m in data.modalities] == [("number", "x"), ("y",)]
    assert [m.covariates for m in data.modalities] == [data.modalities[0].covariates] * 2
    assert list(data.train.x) == ["a", "b", COVARIATES]
    check_numbers(data)


def test_they_are_columns_of_a_file_of_their_own() -> None:
    """Which may have further subjects; booleans are categories."""
    leave_out("age", "site")
    more = pl.read_csv("clinic.csv")
    more.vstack(pl.DataFrame({"id": "z", "age": 0.0, "site": "moon", "well": True})).write_csv("clinic.csv")
    check_numbers(load(covariates=["age", "site"], covariates_file="clinic.csv"))
    (well,) = load(covariates=["well"], covariates_file="clinic.csv").modalities[1].covariates
    assert well.columns == ["well=False", "well=True"]


def test_each_fold_has_its_own_scale() -> None:
    """Numbers are standardised by the fold's training samples, categories stay; the user's units are kept."""
    data = load(covariates=["age", "site"])
    for number in range(3):
        check_numbers(fold(data, number, 3))


def test_none_is_as_if_the_option_were_not_there() -> None:
    """The same data, fingerprint and options, so that results folders and checkpoints stay what they were."""
    leave_out("site")
    plain, none = load(), load(covariates=[], covariates_file="")
    assert plain.fingerprint == none.fingerprint
    assert none.options == plain.options
    assert not {"covariates", "covariates_file"} & {*plain.options}
    assert COVARIATES not in none.train.x


OWN = {"covariates_file": "clinic.csv"}
MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no column": (
        {},
        {"covariates": ["weight"]},
        "there is no column 'weight' with a covariate in the modalities' files",
    ),
    "no column of the file": (
        {},
        {"covariates": ["x"], **OWN},
        "there is no column 'x' with a covariate in clinic.csv",
    ),
    "no file": ({}, {"covariates": ["x"], "covariates_file": "no.csv"}, "no.csv: there is no such file"),
    "a feature": (
        {},
        {"covariates": ["well", "age"], **OWN},
        "covariate 'age' is in clinic.csv and a feature in a.parquet; leave one out",
    ),
    "constant": (
        {"dose": [1] * N},
        {"covariates": ["dose"], **OWN},
        "covariates: constant among the training samples and so without information: 'dose'; leave",
    ),
    "one category": (
        {"arm": ["x"] * N},
        {"covariates": ["arm"], **OWN},
        "without information: 'arm=x'; leave such columns out",
    ),
    "missing number": (
        {"dose": [None, *range(1, N)]},
        {"covariates": ["dose"], **OWN},
        "covariate 'dose' is missing for 's59' in clinic.csv",
    ),
    "NaN": (
        {"dose": [np.nan, *range(1, N)]},
        {"covariates": ["dose"], **OWN},
        "covariate 'dose' is missing for 's59' in clinic.csv",
    ),
    "infinite": (
        {"dose": [np.inf, *range(1, N)]},
        {"covariates": ["dose"], **OWN},
        "covariate 'dose' is inf for 's59' in clinic.csv, but must be a finite number",
    ),
    "missing category": (
        {"arm": [None, *"xy" * (N // 2 - 1), "x"]},
        {"covariates": ["arm"], **OWN},
        "covariate 'arm' is missing for 's59' in clinic.csv",
    ),
    "the id": ({}, {"covariates": ["id"]}, "covariates: 'id' is the column of subjects"),
    "the labels": (
        {},
        {"covariates": ["site"], "labels": "site"},
        "covariates: 'site' is the column of labels",
    ),
    "twice": ({}, {"covariates": ["age", "age"]}, "covariates: 'age' is named twice"),
    "only a file": ({}, OWN, "covariates_file is given, but covariates does not say which columns to read"),
}


@pytest.mark.parametrize(("columns", "options", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(columns: dict[str, Any], options: dict[str, Any], sentence: str) -> None:
    """With the column and the subject or the file."""
    if not {"site"} & {*options.get("covariates", ())}:
        leave_out("site")
    write(**columns)
    with pytest.raises(MopoeError) as error:
        load(**options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_category_that_no_training_subject_has_is_refused() -> None:
    """It would be read as none of them; in a fold, too."""
    leave_out("site")
    data = load(covariates=["age"])
    of_split = {split: f"s{subjects(data, split)[0]:02}" for split in ("train", "test")}
    for rare in of_split.values():
        write(arm=["rare" if s == rare else "xy"[int(s[1:]) % 2] for s in SUBJECTS[::-1]])
        if rare == of_split["train"]:
            found = load(covariates=["arm"], **OWN)
            continue
        told = f"'arm' is 'rare' for '{rare}' in clinic.csv, as for no training sample; possible: x, y"
        with pytest.raises(MopoeError, match=told):
            load(covariates=["arm"], **OWN)
    sentence = r"^fold \d of 3: covariates: constant among the .*: 'arm=rare'; leave such columns out$"
    with pytest.raises(MopoeError, match=sentence):
        check_folds(found, 3)
