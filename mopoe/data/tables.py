"""Modalities from one table each, whose rows are joined by subject; a missing row is a missing modality.

Features of a normal likelihood are standardised by the training subjects. Axes: C covariates' number,
N subject, F feature, M modality.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mopoe.cache import short_hash
from mopoe.data.container import SPLITS, MultimodalData, Split, fingerprint, stratified_order
from mopoe.data.covariates import covariate, numbers, rescaled
from mopoe.data.features import described, stored
from mopoe.data.registry import COVARIATES, Covariate, Distribution, ModalitySpec
from mopoe.data.table_files import Table, read_table, refuse_constant
from mopoe.data.table_options import TableOptions
from mopoe.errors import DataError
from mopoe.plugins import plugin
from mopoe.wording import did_you_mean

_FILES = "the modalities' files"
"""Where labels and covariates are that have no file of their own, in messages."""


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a data set, each of which is read once."""

    modalities: Mapping[str, Table]
    """By modality."""
    others: Mapping[str, Table]
    """Those of labels and covariates that are no modality's, by file."""
    subjects: list[str]
    """All that a modality has, in order."""

    @classmethod
    def read(cls, asked: TableOptions) -> "_Tables":
        modalities = {name: read_table(path, asked.id) for name, path in asked.modalities.items()}
        own = [file for file in (asked.labels_file, asked.covariates_file) if file]
        others = {file: read_table(file, asked.id) for file in own}
        return cls(modalities, others, sorted({s for table in modalities.values() for s in table.subjects}))

    def of(self, file: str) -> list[Table]:
        """Return the table of a file, or those of all modalities if none is named."""
        return [self.others[file]] if file else [*self.modalities.values()]


@plugin
def load(**options: Any) -> MultimodalData:
    """Return the data set that some files make; the options are those of `TableOptions`.

    Raises:
        ConfigError: an option is impossible.
        DataError: a file is missing or has a mistake, or a split lacks a modality; one sentence says where.
    """
    asked = TableOptions(**options)
    tables = _Tables.read(asked)
    labels, classes = _labels(asked, tables)
    rows = _split(_strata(asked, tables, labels), asked)
    place = {subject: i for i, subject in enumerate(tables.subjects)}
    present_NM = torch.zeros(len(place), len(tables.modalities), dtype=torch.bool)
    x, modalities = dict[str, Tensor](), []
    for m, (name, table) in enumerate(tables.modalities.items()):
        present_NM[[place[subject] for subject in table.subjects], m] = True
        x[name], spec = _modality(name, table, asked, place, rows["train"])
        modalities.append(spec)
    _check_presence(present_NM, rows, list(tables.modalities))
    if asked.covariates:
        found, x[COVARIATES] = _covariates(asked, tables, rows["train"])
        modalities = [replace(spec, covariates=found) for spec in modalities]
    whole = Split(x, torch.from_numpy(labels), {}, None if present_NM.all() else present_NM)
    splits = {name: whole.take(torch.from_numpy(rows[name])) for name in SPLITS}
    own, specs = fingerprint(splits), tuple(modalities)
    if asked.size_factors:  # the same counts, but no likelihood of theirs is comparable
        own = short_hash([own, "size factors", sorted(asked.size_factors)])
    return MultimodalData(
        name="tables",
        options=options,
        fingerprint=own,
        modalities=specs,
        n_classes=len(classes),
        classes=classes,
        **splits,
    )


def subjects_of_splits(**options: Any) -> dict[str, list[str]]:
    """Return the subjects of each split, in the order of its samples; raises as `load` does."""
    asked = TableOptions(**options)
    tables = _Tables.read(asked)
    labels, _ = _labels(asked, tables)
    rows = _split(_strata(asked, tables, labels), asked)
    return {split: [tables.subjects[i] for i in rows[split]] for split in SPLITS}


def _labels(asked: TableOptions, tables: _Tables) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of each subject and the names of the classes, or rows of no labels and no names."""
    if not asked.labels:
        return np.zeros((len(tables.subjects), 0), np.int64), ()
    files, file = tables.of(asked.labels_file), asked.labels_file
    helps = "name a file that has all in labels_file, or give no labels"
    return _classes(asked.labels, files, file, tables.subjects, "labels", helps)


def _classes(
    column: str, files: Sequence[Table], file: str, subjects: list[str], what: str, helps: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class that a column gives each subject, and the names of the classes in their order."""
    for table in files:
        values = table.frame.to_dict().get(column)
        if values is not None and values.dtype.is_float():
            why = f"holds {values.dtype}, but {what} are classes, as text or whole numbers"
            raise DataError(f"{table.path}: column {column!r} {why}")
    found = _values(column, files, file, what)
    if lacking := [subject for subject in subjects if subject not in found]:
        why = f"{len(lacking)} of {len(subjects)} subjects have no {column!r}, such as {lacking[0]!r}"
        raise DataError(f"{why}; {helps}")
    names, codes_N = np.unique([str(found[subject]) for subject in subjects], return_inverse=True)
    return codes_N.astype(np.int64), tuple(names.tolist())


def _values(column: str, files: Sequence[Table], file: str, what: str) -> dict[str, object]:
    """Return what a column says of each subject in the first of some files that says it."""
    found: dict[str, object] = {}
    for table in files:
        if column in table.frame.columns:
            known = zip(table.subjects, table.frame[column], strict=True)
            found = {subject: value for subject, value in known if value is not None} | found
    if not found:
        columns = dict.fromkeys(name for table in files for name in table.frame.columns)
        hint = did_you_mean(column, columns, these="columns")
        raise DataError(f"there is no column {column!r} with {what} in {file or _FILES}; {hint}")
    return found


def _covariates(
    asked: TableOptions, tables: _Tables, train: NDArray[np.int64]
) -> tuple[tuple[Covariate, ...], Tensor]:
    """Return the covariates, and their numbers as networks read them, [N, C]."""
    files, file, subjects = tables.of(asked.covariates_file), asked.covariates_file, tables.subjects
    of_subject = {name: _values(name, files, file, "a covariate") for name in asked.covariates}
    for table in tables.modalities.values() if file else ():
        if twice := [name for name in asked.covariates if name in table.frame.columns]:
            raise DataError(
                f"covariate {twice[0]!r} is in {file} and a feature in {table.path}; leave one out"
            )
    values = {name: [known.get(subject) for subject in subjects] for name, known in of_subject.items()}
    raw = [covariate(name, [column[i] for i in train]) for name, column in values.items()]
    x_NC = numbers(raw, values, lambda i: f"{subjects[i]!r} in {file or _FILES}")
    found, mean_C, deviation_C = rescaled(raw, x_NC[torch.from_numpy(train)], "covariates")
    return found, ((x_NC - mean_C) / deviation_C).float()


def _strata(asked: TableOptions, tables: _Tables, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stratum of each subject, the class of `split_by` with that of its label, or rows of none."""
    if not asked.split_by:
        return labels
    files = [*tables.others.values(), *tables.modalities.values()]
    where = " and ".join([*tables.others, _FILES])
    helps = "labels_file or covariates_file can name a file that has all"
    codes_N, _ = _classes(asked.split_by, files, where, tables.subjects, "values of split_by", helps)
    return codes_N if labels.ndim > 1 else codes_N * (labels.max() + 1) + labels


def _split(strata: NDArray[np.int64], asked: TableOptions) -> dict[str, NDArray[np.int64]]:
    """Return the positions of the subjects of each split, in random order; every stratum has its share."""
    rng, n = np.random.default_rng(asked.seed), len(strata)
    order = stratified_order(strata, rng) if strata.ndim == 1 else rng.permutation(n)
    rows: dict[str, NDArray[np.int64]] = {}
    for name, share in asked.shares.items():
        # Evenly spaced along what is left of the order: so many of all subjects as the share says.
        steps = np.arange(len(order) + 1) * (share * n / len(order))
        taken = np.diff(np.floor(steps + 1e-9)) > 0
        rows[name], order = order[taken], order[~taken]
        if not taken.any():
            raise DataError(f"split: {name} is {share:g}, which is no subject of {n}")
    return {name: rng.permutation(some) for name, some in (rows | {"train": order}).items()}


def _modality(
    name: str, table: Table, asked: TableOptions, place: Mapping[str, int], train: NDArray[np.int64]
) -> tuple[Tensor, ModalitySpec]:
    """Return a modality's numbers as a split holds them, [N, F], and its spec; zeros where it is missing."""
    distribution: Distribution = asked.likelihoods.get(name, "normal")
    names, own = table.features(distribution, [asked.labels, *asked.covariates, asked.split_by])
    at = torch.tensor([place[subject] for subject in table.subjects])
    trained = torch.isin(at, torch.from_numpy(train))
    offset, scale = tuple[float, ...](), tuple[float, ...]()
    if distribution == "normal" and trained.any():
        refuse_constant(table.path, names, own[trained], " among the training subjects")
        mean_F, deviation_F = own[trained].mean(0), own[trained].std(0, correction=0)
        own = (own - mean_F) / deviation_F
        offset, scale = (*mean_F.tolist(),), (*deviation_F.tolist(),)
    own = stored(distribution, own)
    spec = described(name, [own[trained], own[~trained]], distribution, sized=name in asked.size_factors)
    x_NF = own.new_zeros(len(place), len(names)).index_copy(0, at, own)
    return x_NF, replace(spec, features=names, offset=offset, scale=scale or spec.scale)


def _check_presence(present_NM: Tensor, rows: Mapping[str, NDArray[np.int64]], names: list[str]) -> None:
    """Refuse a split in which a modality, or every subject's whole set of modalities, is missing."""
    for split in SPLITS:
        present = present_NM[torch.from_numpy(rows[split])]
        for name, there in zip(names, present.any(0).tolist(), strict=True):
            if not there:
                raise DataError(f"{split}: none of its {len(present)} subjects has {name!r}")
        if split != "train" and not present.all(1).any():
            why = f"none of its {len(present)} subjects has all modalities"
            raise DataError(f"{split}: {why}; do the files have the same subjects?")
