"""Writes a store: every file is immutable and has a unique name, so that writers need no locks."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mopoe.reports import OBJECTIVES, EpochReport, Evaluation, PairCoherence, pair_interval
from mopoe.subsets import subset_label
from sweep.errors import StoreError
from sweep.store.files import Files, files_at
from sweep.store.layout import MANIFEST, OBJECTIVE, PARAMETER, RECONSTRUCTION, STDERR
from sweep.store.records import EventRecord, Manifest, TrialRecord
from sweep.store.schema import TABLES, field, table_name

_Row = dict[str, Any]
Kind = type[float] | type[int] | type[str]
"""The type of a searched setting."""
_ARROW: Mapping[Kind, pa.DataType] = {float: pa.float64(), int: pa.int64(), str: pa.string()}


def trial_table(record: TrialRecord, kinds: Mapping[str, Kind] | None = None) -> pa.Table:
    """Return one row of the trials table, with a column per searched setting and per objective there is.

    Args:
        record: the trial.
        kinds: the types of all searched settings; each has a column even if the trial does not set it.
    """
    kinds = {name: type(value) for name, value in record.parameters.items()} | dict(kinds or {})
    measured = dict.fromkeys((*OBJECTIVES, *record.objectives))
    row: _Row = {name: getattr(record, name) for name in TABLES["trials"].names}
    row |= {PARAMETER + name: kinds[name](value) for name, value in record.parameters.items()}
    row |= {OBJECTIVE + name: float(value) for name, value in record.objectives.items()}
    row |= {STDERR + name: float(value) for name, value in record.stderr.items()}
    columns = [
        *(field(PARAMETER + n, _ARROW[kind], f"Searched setting {n}.") for n, kind in kinds.items()),
        *(field(OBJECTIVE + n, pa.float64(), f"Objective {n}.") for n in measured),
        *(field(STDERR + n, pa.float64(), f"Standard error of {n} over samples.") for n in measured),
    ]
    return _table("trials", [row], columns)


def epoch_row(report: EpochReport) -> _Row:
    """Return what the epochs table holds of an epoch, by column; what was not measured is absent."""
    fixed = set(TABLES["epochs"].names) - {"trial_id", "attempt", "evaluation_seconds", "classifiers"}
    row: _Row = {name: getattr(report, name) for name in fixed}
    row |= {RECONSTRUCTION + name: value for name, value in report.reconstruction.items()}
    if report.evaluation is not None:
        row["evaluation_seconds"] = report.evaluation.seconds
        row["classifiers"] = report.evaluation.classifiers
        row |= {OBJECTIVE + name: float(value) for name, value in report.evaluation.objectives.items()}
    return row


def epoch_table(
    trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
) -> pa.Table:
    """Return one row per epoch, with a column per modality and per evaluated objective."""
    key: _Row = {"trial_id": trial_id, "attempt": attempt}
    rows = [key | epoch_row(report) for report in reports]
    evaluations = [report.evaluation for report in reports if report.evaluation is not None]
    objectives = dict.fromkeys([*OBJECTIVES, *(name for found in evaluations for name in found.objectives)])
    columns = [
        *(
            field(RECONSTRUCTION + m, pa.float64(), f"Negative log-likelihood of {m}.", "nats per sample")
            for m in modalities
        ),
        *(field(OBJECTIVE + n, pa.float64(), f"Objective {n}; null if not due.") for n in objectives),
    ]
    return _table("epochs", rows, columns)


_MEASURED = {
    "subset_metrics": ("subset_metrics", "subset"),
    "pair_coherence": ("pair_coherence", "source"),
    "sample_values": ("sample_values", None),
    "samples": ("pictures", "source"),
}
"""By table: the field of an evaluation that holds its rows, and the prefix of the subset's columns."""


def measured_table(
    table: str, trial_id: str, attempt: int, found: Mapping[int, Evaluation], modalities: Sequence[str]
) -> pa.Table:
    """Return the rows of one of the tables of evaluations, given by epoch, one per record."""
    part, subset = _MEASURED[table]
    rows: list[_Row] = []
    for epoch, evaluation in found.items():
        for record in getattr(evaluation, part):
            row = {f.name: getattr(record, f.name) for f in fields(record)}
            row |= {"trial_id": trial_id, "attempt": attempt, "epoch": epoch, "split": evaluation.split}
            if subset:
                mask = row[f"{subset}_mask"]
                row |= {f"{subset}_label": subset_label(mask, modalities), f"{subset}_size": mask.bit_count()}
                if row["target"] in modalities:
                    row["in_source"] = bool(mask >> modalities.index(row["target"]) & 1)
            if isinstance(record, PairCoherence):
                ends = pair_interval(record.value, record.stderr, record.n, record.measure)
                row |= dict(zip(("low", "high"), ends, strict=True))
            rows.append(row)
    return _table(table, rows)


def event_table(event: EventRecord) -> pa.Table:
    """Return one row of the events table."""
    row: _Row = {f.name: getattr(event, f.name) for f in fields(event)}
    return _table("events", [row | {"objectives_json": json.dumps(dict(event.objectives))}])


def _table(table: str, rows: Sequence[_Row], dynamic: Sequence[pa.Field] = ()) -> pa.Table:
    """Return the rows as a table of its fixed columns, then the dynamic ones.

    A missing value is null, and a value without a column is left out.
    """
    fixed = TABLES[table]
    return pa.Table.from_pylist(list(rows), schema=pa.schema([*fixed, *dynamic], metadata=fixed.metadata))


_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class StoreWriter:
    """Writes the files of one sweep's results folder; any number of processes may do so at once."""

    def __init__(self, root: str | Path | Files, kinds: Mapping[str, Kind] | None = None) -> None:
        """Take the results folder, which the first file creates, and the types of searched settings.

        Every file of the trials table has a column for each of these settings.
        """
        self.files = files_at(root)
        self._kinds = kinds or {}

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `sweep.json`, replacing the one there.

        Raises:
            StoreError: the folder cannot be written, or returns other bytes.
        """
        self.files.put_checked(MANIFEST, manifest.to_json().encode())

    def write_trial(self, record: TrialRecord) -> None:
        """Add a record of a trial; the running one and the final one are both kept.

        Raises:
            StoreError: the trial's name does not suit a file, or the folder cannot be written.
        """
        self._add(trial_table(record, self._kinds), record.trial_id, record.attempt, record.status)

    def write_event(self, event: EventRecord) -> None:
        """Add an event of a trial.

        Raises:
            StoreError: the trial's name does not suit a file, or the folder cannot be written.
        """
        self._add(event_table(event), event.trial_id, event.attempt, event.kind)

    def write_reports(
        self, trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
    ) -> None:
        """Add the reports of some epochs of a trial, as one file in each table that has rows of them.

        Raises:
            StoreError: the trial's name does not suit a file, or the folder cannot be written.
        """
        if not reports:
            return
        what = f"{reports[0].epoch:04}-{reports[-1].epoch:04}"
        self._add(epoch_table(trial_id, attempt, reports, modalities), trial_id, attempt, what)
        found = {report.epoch: report.evaluation for report in reports if report.evaluation}
        self._add_measured(trial_id, attempt, found, modalities, what)

    def write_evaluation(
        self, trial_id: str, attempt: int, epoch: int, found: Evaluation, modalities: Sequence[str]
    ) -> None:
        """Add what a trial's weights reach on a further split, without pictures, whose key has no split.

        Raises:
            StoreError: the folder cannot be written.
        """
        plain = {epoch: replace(found, pictures=())}
        self._add_measured(trial_id, attempt, plain, modalities, f"{epoch:04}-{found.split}")

    def _add_measured(
        self, trial: str, attempt: int, found: Mapping[int, Evaluation], modalities: Sequence[str], what: str
    ) -> None:
        for name in _MEASURED:
            table = measured_table(name, trial, attempt, found, modalities)
            if table.num_rows:
                self._add(table, trial, attempt, what)

    def _add(self, table: pa.Table, trial_id: str, attempt: int, what: str) -> None:
        if not _SAFE.fullmatch(trial_id):
            raise StoreError(
                f"the trial is named {trial_id!r}, but a name consists of letters, digits, dots, dashes and "
                "underscores, and begins with neither '.' nor '-'"
            )
        # The checksum in the name keeps a restarted or forgotten process from replacing another's file.
        self.files.put_table(f"{table_name(table.schema)}/{trial_id}-{attempt}-{what}", table)
