"""Reads a table with a row per subject from a file, and says of a mistake in it where it stands.

Axes: N subject, F feature.
"""

import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mopoe.data.features import impossible
from mopoe.data.registry import Distribution
from mopoe.errors import DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows, each of another subject."""

    path: str
    """The file, as the sweep's file has it."""
    frame: "pl.DataFrame"
    """All columns, without that of the subjects."""
    subjects: tuple[str, ...]
    """The subject of each row."""

    def with_subjects(self, id_: str) -> "pl.DataFrame":
        """Return all columns, that of the subjects first, as text."""
        import polars as pl

        return pl.DataFrame({id_: self.subjects}).hstack(self.frame)

    def features(
        self, distribution: Distribution, leave_out: Sequence[str]
    ) -> tuple[tuple[str, ...], Tensor]:
        """Return the names of the columns, and their numbers: float64 [N, F].

        Raises:
            DataError: a column holds no numbers, is constant, or holds what the distribution cannot give.
        """
        import polars as pl

        frame = self.frame.drop(*leave_out, strict=False)
        for column in frame:
            if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
                raise DataError(f"{self.path}: column {column.name!r} {self._not_numbers(column)}")
            if re.fullmatch(r"Unnamed: \d+", column.name):
                index = "is the index that pandas wrote; leave it out, as to_csv(index=False) does"
                raise DataError(f"{self.path}: column {column.name!r} {index}")
        if not frame.width:
            raise DataError(f"{self.path}: there is no column of numbers beside that of the subjects")
        x_NF = torch.from_numpy(frame.cast(pl.Float64).to_numpy().copy())
        wrong_NF, possible = impossible(distribution, x_NF)
        if wrong_NF.any():
            row, at = wrong_NF.nonzero()[0].tolist()
            empty = int(x_NF.isnan().sum()) if x_NF[row, at].isnan() else 0
            found = "no number" if empty else f"{float(x_NF[row, at]):g}"
            others = f"; {empty} such cells in all" if empty > 1 else ""
            remedy = "; fill them, or leave out their rows: those subjects then lack this modality"
            raise DataError(
                f"{self.path}: column {frame.columns[at]!r} has {found} for {self.subjects[row]!r}, but must "
                f"have {possible} (likelihood {distribution}){others}{remedy if empty else ''}"
            )
        refuse_constant(self.path, frame.columns, x_NF)
        return tuple(frame.columns), x_NF

    def _not_numbers(self, column: "pl.Series") -> str:
        """Return what a column holds that are no numbers, as the rest of a sentence."""
        import polars as pl

        texts = column.cast(pl.String)
        wrong = texts.is_not_null() & texts.cast(pl.Float64, strict=False).is_null()
        row = int(wrong.arg_max() or 0)
        return (
            f"holds {column.dtype}, such as {texts[row]!r} for {self.subjects[row]!r}, but must hold numbers"
        )


def refuse_constant(path: str, names: Sequence[str], x_NF: Tensor, among: str = "") -> None:
    """Raise DataError, with the names of the columns, if there are any that do not vary over the rows."""
    same_F = (x_NF == x_NF[0]).all(0)
    if constant := [names[i] for i in same_F.nonzero().flatten().tolist()]:
        more = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
        told = ", ".join(map(repr, constant[:5])) + more
        raise DataError(f"{path}: constant{among} and so without information: {told}; leave such columns out")


def read_table(path: str, id_: str) -> Table:
    """Return the table in a .csv, .parquet or .npz file; `id_` is the column of subjects.

    Of an .npz file each array [N] is a column, and each array [N, F] named x the columns x_0, x_1, ...

    Raises:
        DataError: the file is missing or of another format, or a row has no subject or one that another has.
    """
    import polars as pl

    frame = _frame(path, id_)
    if id_ not in frame.columns:
        some = ", ".join(map(repr, frame.columns[:5]))
        raise DataError(f"{path}: there is no column {id_!r} of subjects; its first columns are: {some}")
    subjects = frame[id_]
    if not (subjects.dtype == pl.String or subjects.dtype.is_integer()) or subjects.null_count():
        found = "a row without one" if subjects.null_count() else str(subjects.dtype)
        raise DataError(f"{path}: subjects in {id_!r} must be text or whole numbers, but there is {found}")
    if not frame.height:
        raise DataError(f"{path}: there are no rows")
    subjects = subjects.cast(pl.String).str.strip_chars()  # 'S01 ' of another file is S01
    if (twice := subjects.filter(subjects.is_duplicated())).len():
        raise DataError(f"{path}: {twice[0]!r} is in several rows, but a subject has one")
    return Table(path, frame.drop(id_), tuple(subjects))


def read_columns(
    paths: Sequence[str], id_: str, features: Mapping[str, Sequence[str]]
) -> tuple["pl.DataFrame", dict[str, "np.ndarray"]]:
    """Return the columns of .csv or .parquet files that are features of modalities, and those that are not.

    The rows of several files are joined by subject. An empty cell, or a row that a file lacks, is NaN.

    Args:
        paths: the files, at least one.
        id_: the column of subjects, which a single file need not have.
        features: the names of each modality's features.

    Returns:
        the other columns, and the features of each modality of which the files have them all, float64 [N, F].

    Raises:
        DataError: a file cannot be read, they have no modality or one in part, or a feature is text; of
            several, one has no subjects, or one in several rows.
    """
    import polars as pl

    path, found = ", ".join(paths), dict[str, np.ndarray]()
    frame = _frame(path, id_) if len(paths) == 1 else _joined(paths, id_)
    for name, columns in features.items():
        absent = [column for column in columns if column not in frame.columns]
        if len(absent) == len(columns):
            continue
        if absent:
            raise DataError(
                f"{path}: there is no column {absent[0]!r} of {name!r}, but others of its features"
            )
        for column in frame.select(columns):
            if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
                raise DataError(f"{path}: column {column.name!r} holds {column.dtype}, but must hold numbers")
        x_NF = frame.select(pl.col(columns).cast(pl.Float64).fill_null(math.nan)).to_numpy()
        _refuse_gaps(path, x_NF, columns, frame[id_] if id_ in frame.columns else range(1, len(frame) + 1))
        found[name] = x_NF
    if not found:
        known = "; ".join(f"{name} has {columns[0]!r}, ..." for name, columns in features.items() if columns)
        raise DataError(f"{path}: has the columns of no modality; {known or 'the model has no table'}")
    return frame.drop([column for name in found for column in features[name]]), found


def _joined(paths: Sequence[str], id_: str) -> "pl.DataFrame":
    """Return the rows of several files by subject; of a column in two files that of the first holds."""
    frame, *others = (read_table(path, id_).with_subjects(id_) for path in paths)
    for other in others:
        new = other.select(id_, *(column for column in other.columns if column not in frame.columns))
        frame = frame.join(new, on=id_, how="full", coalesce=True, maintain_order="left_right")
    return frame


def _refuse_gaps(path: str, x_NF: "np.ndarray", columns: Sequence[str], subjects: Any) -> None:
    """Raise DataError, with the first subject, if there are rows with some of a modality's features alone."""
    gaps_NF = np.isnan(x_NF)
    partly_N = gaps_NF.any(1) & ~gaps_NF.all(1)
    if partly_N.any():
        row = int(partly_N.argmax())
        column = columns[int(gaps_NF[row].argmax())]
        where = (
            f"{path}: column {column!r} has no number for {subjects[row]!r}, but others of its modality do"
        )
        raise DataError(f"{where}; fill the cell, or empty them all, and the modality is imputed")


def _frame(path: str, id_: str) -> "pl.DataFrame":
    import polars as pl

    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        match file.suffix:
            case ".csv":
                as_text = {id_: pl.String}  # 007 is no 7
                return pl.read_csv(file, infer_schema_length=None, schema_overrides=as_text)
            case ".parquet":
                return pl.read_parquet(file)
            case ".npz":
                return _read_npz(file)
    except (OSError, TypeError, ValueError, EOFError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: not a readable {file.suffix} file of columns ({first})") from error
    raise DataError(f"{path}: must be a file .csv, .parquet or .npz")


def _read_npz(file: Path) -> "pl.DataFrame":
    import polars as pl

    columns: dict[str, np.ndarray] = {}
    with np.load(file, allow_pickle=False) as arrays:
        for name, array in arrays.items():
            blocks = {name: array} if array.ndim == 1 else {f"{name}_{i}": a for i, a in enumerate(array.T)}
            columns |= blocks
    return pl.DataFrame(columns)
