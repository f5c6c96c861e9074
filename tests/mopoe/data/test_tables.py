"""Modalities from tables: how rows are joined, split and scaled, and every mistake in one sentence."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from mopoe.data import _own, load_data
from mopoe.data.container import SPLITS, MultimodalData
from mopoe.data.tables import subjects_of_splits
from mopoe.errors import MopoeError

N = 40
SUBJECTS = [f"{i:03}" for i in range(N)]
VALUES = np.random.default_rng(0).normal(size=(N, 3))
Rows = Callable[..., None]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with two tables: x.csv lacks six subjects, counts.npz has another order."""
    monkeypatch.chdir(tmp_path)
    write("x.csv", {"id": SUBJECTS, "a": 5 + 2 * VALUES[:, 0], "b": VALUES[:, 1] - 100}, slice(6, None))
    order = np.arange(N)[::-1]
    np.savez("counts.npz", id=np.array(SUBJECTS)[order], n=(np.arange(2 * N).reshape(N, 2))[order])
    yield
    _own.cache_clear()


def write(name: str, columns: dict[str, Any], rows: slice = slice(None)) -> None:
    """Write some rows of a table."""
    frame = pl.DataFrame({k: list(v)[rows] for k, v in columns.items()}, strict=False)
    frame.write_csv(name) if name.endswith(".csv") else frame.write_parquet(name)


def load(**options: Any) -> MultimodalData:
    """Load the two tables, or others."""
    given = {"modalities": {"x": "x.csv", "counts": "counts.npz"}, "likelihoods": {"counts": "poisson"}}
    return load_data("tables", **given | options)


def all_rows(data: MultimodalData, name: str) -> torch.Tensor:
    """Return a modality's rows of all splits that have it, in the unit of the file."""
    m = next(i for i, spec in enumerate(data.modalities) if spec.name == name)
    parts = []
    for split in map(data.split, SPLITS):
        assert split.present is not None
        parts.append(split.x[name][split.present[:, m]])
    spec = data.modalities[m]
    found = torch.cat(parts)
    return torch.tensor(spec.offset) + found * torch.tensor(spec.scale) if spec.offset else found


def test_rows_are_joined_by_subject() -> None:
    """Whatever their order: both modalities of a sample are of one subject; who lacks one is not complete."""
    data = load()
    assert [(m.name, m.shape, m.features) for m in data.modalities] == [
        ("x", (2,), ("a", "b")),
        ("counts", (2,), ("n_0", "n_1")),
    ]
    assert sum(len(data.split(s)) for s in SPLITS) == N
    assert sum(len(data.split(s).complete()) for s in SPLITS) == N - 6
    assert data.n_classes == 0
    subject = data.train.complete().x["counts"][:, 0].long() // 2
    a = data.modalities[0].offset[0] + data.train.complete().x["x"][:, 0] * data.modalities[0].scale[0]
    assert a.tolist() == pytest.approx((5 + 2 * VALUES[:, 0])[subject], rel=1e-5)


def test_features_are_standardised_by_the_training_subjects_alone() -> None:
    """Mean 0 and deviation 1 in training; offset and scale give the file's numbers back; counts stay."""
    data = load()
    assert data.train.present is not None
    own = data.train.x["x"][data.train.present[:, 0]]
    torch.testing.assert_close(own.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(own.std(0, correction=0), torch.ones(2))
    assert data.validation.x["x"].mean().abs() > 1e-3
    assert sorted(all_rows(data, "x")[:, 1].tolist()) == pytest.approx(sorted(VALUES[6:, 1] - 100), rel=1e-5)
    assert sorted(all_rows(data, "counts").flatten().tolist()) == list(range(2 * N))
    counts = data.modalities[1]
    assert counts.scale == pytest.approx(data.train.x["counts"].mean(0).tolist(), rel=1e-6)


def test_shares_and_seed_decide_the_splits() -> None:
    """So many subjects as the shares say, other ones with another seed; the same file gives the same data."""
    data = load(split={"validation": 0.25, "test": 0.3})
    assert [len(data.split(s)) for s in SPLITS] == [18, 10, 12]
    assert load(split={"validation": 0.25, "test": 0.3}, seed=1).fingerprint != data.fingerprint
    _own.cache_clear()
    assert load(split={"validation": 0.25, "test": 0.3}).fingerprint == data.fingerprint


@pytest.mark.parametrize("where", ["table", "file"])
def test_labels_are_a_column_of_a_table_or_of_a_file(where: str) -> None:
    """They are no feature; each class has its share of a split; classes are in the order of their names."""
    site = ["b" if i % 4 else "a" for i in range(N)]
    columns = {"id": SUBJECTS, "a": VALUES[:, 0], "site": site}
    options: dict[str, Any] = {"modalities": {"x": "y.parquet", "counts": "counts.npz"}, "labels": "site"}
    if where == "file":
        write("sites.csv", {"id": SUBJECTS, "site": site})
        options["labels_file"] = "sites.csv"
    write("y.parquet", columns)
    data = load(**options, split={"validation": 0.2, "test": 0.2})
    assert (data.n_classes, data.classes, data.modalities[0].features) == (2, ("a", "b"), ("a",))
    assert torch.bincount(data.validation.labels).tolist() == [2, 6]
    counts = data.train.x["counts"]
    assert torch.equal(data.train.labels, ((counts[:, 0] // 2).long() % 4 > 0).long())


@pytest.mark.parametrize("kinds", [{}, {"labels": "kind", "labels_file": "kinds.csv"}], ids=["", "labels"])
def test_every_site_has_its_share_of_each_split(kinds: dict[str, Any]) -> None:
    """It is no feature, and may be a covariate; without the option the splits are as ever."""
    site = ["b" if i % 4 else "a" for i in range(N)]
    write("y.parquet", {"id": SUBJECTS, "a": VALUES[:, 0], "site": site})
    write("kinds.csv", {"id": SUBJECTS, "kind": ["m" if i % 8 < 4 else "n" for i in range(N)]})
    files = {"modalities": {"x": "y.parquet", "counts": "counts.npz"}}
    options = {**files, "covariates": ["site"], **kinds}
    data = load(**options, split_by="site", split={"validation": 0.2, "test": 0.3})
    assert data.modalities[0].features == ("a",)
    for split, of_a, of_b in (("validation", 2, 6), ("test", 3, 9), ("train", 5, 15)):
        counts = data.split(split).x["counts"]
        of_site = (counts[:, 0] // 2).long() % 4 > 0
        assert torch.bincount(of_site.long()).tolist() == [of_a, of_b]
        if kinds:  # both classes are as frequent at either site; up to one subject per site
            assert abs(int(data.split(split).labels.sum()) - (of_a + of_b) / 2) <= 2
    assert load(**options, split_by="").fingerprint == load(**options).fingerprint != data.fingerprint
    assert "split_by" not in load(**options).options


@pytest.mark.parametrize("option", ["labels_file", "covariates_file"])
def test_sites_are_read_from_a_file_of_their_own(option: str) -> None:
    """Which then need have neither labels nor covariates."""
    write("y.parquet", {"id": SUBJECTS, "a": VALUES[:, 0]})
    write("sites.csv", {"id": SUBJECTS, "site": ["b" if i % 4 else "a" for i in range(N)]})
    options: dict[str, Any] = {"modalities": {"x": "y.parquet"}, "split_by": "site", option: "sites.csv"}
    found = subjects_of_splits(**options, id="id", split={"validation": 0.2, "test": 0.3})
    of_a = {split: sum(int(subject) % 4 == 0 for subject in some) for split, some in found.items()}
    assert of_a == {"train": 5, "validation": 2, "test": 3}
    data = load_data("tables", **options)
    assert (data.n_classes, data.modalities[0].features, data.modalities[0].covariates) == (0, ("a",), ())


def test_the_subjects_of_a_split_are_in_the_order_of_its_samples() -> None:
    """So that what a model makes of a split can be set beside other columns of the subjects."""
    write("y.parquet", {"id": SUBJECTS, "number": [int(subject) for subject in SUBJECTS]})
    options: dict[str, Any] = {"modalities": {"x": "y.parquet"}, "id": "id", "seed": 3}
    data, found = load_data("tables", **options), subjects_of_splits(**options)
    (m,) = data.modalities
    for split in ("train", "validation", "test"):
        numbers = data.split(split).x["x"][:, 0] * m.scale[0] + m.offset[0]
        assert numbers.round().int().tolist() == [int(subject) for subject in found[split]]


def test_symbols_and_switches_are_stored_as_their_networks_read_them() -> None:
    """Symbols as int8 with their number, switches as 0 and 1 whether they are numbers or booleans."""
    write("s.parquet", {"id": SUBJECTS, "p": [i % 5 for i in range(N)], "q": [i % 3 for i in range(N)]})
    write(
        "t.parquet", {"id": SUBJECTS, "on": [i % 2 == 0 for i in range(N)], "off": [i % 2 for i in range(N)]}
    )
    kinds = {"s": "categorical", "t": "bernoulli"}
    data = load(modalities={"s": "s.parquet", "t": "t.parquet"}, likelihoods=kinds)
    assert (data.train.x["s"].dtype, data.modalities[0].symbols) == (torch.int8, 5)
    assert torch.equal(data.train.x["t"].sum(1), torch.ones(len(data.train)))
    assert data.train.present is None


def test_options_survive_the_checkpoint_in_their_order() -> None:
    """As JSON, in which a checkpoint keeps them: the order of modalities is that of the bits of subsets."""
    data = load(modalities={"z": "x.csv", "counts": "counts.npz"})
    again = load_data("tables", **json.loads(json.dumps(data.options)))
    assert [m.name for m in again.modalities] == ["z", "counts"]
    assert again.fingerprint == data.fingerprint


X = {"id": SUBJECTS, "a": VALUES[:, 0]}
TWICE = {"id": [*SUBJECTS[:-1], "000"], "a": VALUES[:, 0]}
MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "empty cell": (
        {**X, "a": [None, None, *VALUES[2:, 0]]},
        {},
        "has no number for '000', but must have finite numbers (likelihood normal); 2 such cells in all",
    ),
    "infinite": (
        {**X, "a": [*VALUES[1:, 0], np.inf]},
        {},
        "column 'a' has inf for '039', but must have finite numbers (likelihood normal)",
    ),
    "text": (
        {**X, "b": ["1.5"] * 3 + ["n/a"] + ["2"] * (N - 4)},
        {},
        "column 'b' holds String, such as 'n/a' for '003', but must hold numbers",
    ),
    "index": (
        {"Unnamed: 0": range(N), **X},
        {},
        "column 'Unnamed: 0' is the index that pandas wrote; leave it out, as to_csv(index=False) does",
    ),
    "spaces": (
        {**X, "id": [*SUBJECTS[:-1], " 000 "]},
        {},
        "'000' is in several rows, but a subject has one",
    ),
    "twice": (TWICE, {}, "'000' is in several rows, but a subject has one"),
    "constant": ({**X, "b": [1] * N}, {}, "constant and so without information: 'b'; leave such columns out"),
    "many constant": (
        {**X} | {f"c{i}": [0] * N for i in range(9)},
        {},
        "constant and so without information: 'c0', 'c1', 'c2', 'c3', 'c4' and 4 more; leave",
    ),
    "negative counts": (
        {**X, "a": [*[3] * (N - 1), -1]},
        {"x": "poisson"},
        "column 'a' has -1 for '039', but must have whole numbers of at least 0 (likelihood poisson)",
    ),
    "fractions of counts": (
        {**X, "a": [*[3] * (N - 1), 2.5]},
        {"x": "negative_binomial"},
        "column 'a' has 2.5 for '039', but must have whole numbers of at least 0 (likelihood",
    ),
    "no features": ({"id": SUBJECTS}, {}, "there is no column of numbers beside that of the subjects"),
    "fractions as ids": (
        {**X, "id": VALUES[:, 1]},
        {},
        "subjects in 'id' must be text or whole numbers, but there is Float64",
    ),
    "no id": ({**X, "id": [None, *SUBJECTS[1:]]}, {}, "whole numbers, but there is a row without one"),
    "no column": (
        {"subject": SUBJECTS},
        {},
        "there is no column 'id' of subjects; its first columns are: 's",
    ),
}


@pytest.mark.parametrize(("columns", "likelihoods", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_file_has_its_place(
    columns: dict[str, Any], likelihoods: dict[str, str], sentence: str
) -> None:
    """The file, the column and the subject, as far as there are."""
    write("x.parquet", columns)
    with pytest.raises(MopoeError) as error:
        load(modalities={"x": "x.parquet", "counts": "counts.npz"}, likelihoods=likelihoods)
    assert str(error.value).startswith("data set 'tables': x.parquet: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_that_is_constant_in_training_is_refused() -> None:
    """Whatever its value: the mean of equal numbers may differ from them by rounding."""
    train = load().train
    ids = {SUBJECTS[int(row[0]) // 2] for row in train.x["counts"]}
    write("x.parquet", {**X, "b": [0.1 if s in ids else 3.0 for s in SUBJECTS]})
    with pytest.raises(MopoeError, match=r"constant among the training subjects and so .*: 'b'; leave"):
        load(modalities={"x": "x.parquet", "counts": "counts.npz"})


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing held out": ({"split": {"test": 0.01}}, "split: test is 0.01, which is no subject of 40"),
    "nothing trained on": ({"split": {"test": 0.9}}, "split has the shares 0.1 and 0.9, which leave nothing"),
    "an unknown split": ({"split": {"tst": 0.2}}, "split: unknown key 'tst'; did you mean 'test'?"),
    "no file": ({"modalities": {"x": "y.csv"}}, "y.csv: there is no such file"),
    "no format": ({"modalities": {"x": "x.xlsx"}}, "x.xlsx: must be a file .csv, .parquet or .npz"),
    "another format": ({"modalities": {"x": "csv.parquet"}}, "csv.parquet: not a readable .parquet file"),
    "no archive": ({"modalities": {"x": "csv.npz"}}, "csv.npz: not a readable .npz file of columns"),
    "no labels": ({"labels": "site"}, "there is no column 'site' with labels in the modalities' files"),
    "labels of numbers": ({"labels": "a"}, "x.csv: column 'a' holds Float64, but labels are classes"),
    "some labels": (
        {"labels": "s", "labels_file": "s.csv"},
        "10 of 40 subjects have no 's', such as '030'; name a file that has all in labels_file, or give",
    ),
    "some strata": (
        {"split_by": "s", "labels": "s", "labels_file": "s.csv"},
        "10 of 40 subjects have no 's'",
    ),
    "no strata": (
        {"split_by": "site"},
        "there is no column 'site' with values of split_by in the modalities' files",
    ),
    "strata of numbers": (
        {"split_by": "a"},
        "x.csv: column 'a' holds Float64, but values of split_by are classes, as text or whole numbers",
    ),
    "strata of one": ({"split_by": "id"}, "split_by: 'id' is the column of subjects"),
    "labels of no column": ({"labels_file": "s.csv"}, "labels_file is given, but labels does not say which"),
    "no subject in a split": (
        {"modalities": {"x": "two.csv", "counts": "counts.npz"}},
        "validation: none of its 4 subjects has 'x'",
    ),
    "other subjects": (
        {"modalities": {"x": "other.csv", "counts": "counts.npz"}},
        "none of its 8 subjects has all modalities; do the files have the same subjects?",
    ),
}


@pytest.mark.parametrize(("options", "sentence"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_cannot_be_met_are_refused(options: dict[str, Any], sentence: str) -> None:
    """One sentence with the option, the file or the split."""
    write("s.csv", {"id": SUBJECTS, "s": ["a", "b"] * (N // 2)}, slice(0, 30))
    write("other.csv", {"id": [f"x{i}" for i in range(N)], "a": VALUES[:, 0], "b": VALUES[:, 1]})
    write("two.csv", {"id": ["005", "011"], "a": [1.0, 2.0]})
    for name in ("x.xlsx", "csv.parquet", "csv.npz"):
        Path(name).write_text("id,a\n1,2\n")
    with pytest.raises(MopoeError) as error:
        load(**({"likelihoods": {}} | options))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
