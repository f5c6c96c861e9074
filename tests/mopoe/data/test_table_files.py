"""Columns of files that are given to a trained model: by modality, joined by subject, mistakes told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mopoe.data.table_files import read_columns
from mopoe.errors import DataError

FEATURES = {"mri": ("hippocampus", "cortex"), "pet": ("amyloid",), "picture": ()}


def write(path: Path, columns: dict[str, Any]) -> str:
    """Write a table and return where it is."""
    frame = pl.DataFrame(columns)
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return str(path)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Three tables whose subjects overlap: 1 has no PET, 3 no MRI; ids begin with zeros."""
    mri = {"id": ["001", "002"], "site": ["Oslo", "Bonn"], "cortex": [3, 4], "hippocampus": [1.0, 2.0]}
    pet = {"id": ["003", "002"], "amyloid": [7.0, 8.0], "site": ["Rome", "Rome"]}
    age = {"id": ["002", "003", "001"], "age": [72, 73, 71]}
    return [
        write(tmp_path / "mri.csv", mri),
        write(tmp_path / "pet.parquet", pet),
        write(tmp_path / "age.csv", age),
    ]


def test_columns_of_one_file_are_taken_by_modality(paths: list[str]) -> None:
    """In the order of the features; ids stay text, and a file may lack them."""
    rest, found = read_columns(paths[:1], "id", FEATURES)
    assert rest.to_dict(as_series=False) == {"id": ["001", "002"], "site": ["Oslo", "Bonn"]}
    assert list(found) == ["mri"]
    np.testing.assert_array_equal(found["mri"], [[1.0, 3.0], [2.0, 4.0]])
    assert list(read_columns(paths[1:2], "subject", FEATURES)[1]) == ["pet"]


def test_rows_of_several_files_are_joined_by_subject(paths: list[str]) -> None:
    """Those of the first file first; what a subject lacks is NaN; the first file's site holds."""
    rest, found = read_columns(paths, "id", FEATURES)
    assert rest.to_dict(as_series=False) == {
        "id": ["001", "002", "003"],
        "site": ["Oslo", "Bonn", None],
        "age": [71, 72, 73],
    }
    np.testing.assert_array_equal(found["mri"], [[1.0, 3.0], [2.0, 4.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(found["pet"], [[np.nan], [8.0], [7.0]])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["age.csv"],
            "age.csv: has the columns of no modality; mri has 'hippocampus', ...; pet has 'amyloid'",
        ),
        (["half.csv"], "half.csv: there is no column 'cortex' of 'mri', but others of its features"),
        (
            ["gap.csv"],
            "gap.csv: column 'cortex' has no number for '002', but others of its modality do",
        ),
        (["words.csv"], "words.csv: column 'amyloid' holds String, but must hold numbers"),
        (["mri.csv", "twice.csv"], "twice.csv: '001' is in several rows, but a subject has one"),
        (["mri.csv", "nameless.csv"], "nameless.csv: there is no column 'id' of subjects; its first columns"),
        (["mri.csv", "no.csv"], "no.csv: there is no such file"),
    ],
)
def test_what_cannot_be_joined_is_told(
    tmp_path: Path, paths: Sequence[str], files: list[str], message: str
) -> None:
    """With the file and the column."""
    write(tmp_path / "half.csv", {"id": ["001"], "hippocampus": [1.0]})
    write(tmp_path / "gap.csv", {"id": ["001", "002"], "hippocampus": [1, 2], "cortex": [1, None]})
    write(tmp_path / "words.csv", {"id": ["001"], "amyloid": ["high"]})
    write(tmp_path / "twice.csv", {"id": ["001", "001"], "amyloid": [1.0, 2.0]})
    write(tmp_path / "nameless.csv", {"amyloid": [1.0, 2.0]})
    with pytest.raises(DataError) as error:
        read_columns([str(tmp_path / name) for name in files], "id", FEATURES)
    assert message in str(error.value)
