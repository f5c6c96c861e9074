"""Arrow tables from the records of training: pure functions, one per table of the store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from mopoe.records import OBJECTIVES, EpochReport
from mopoe.subsets import subset_label
from sweep.store.records import EventRecord, TrialRecord
from sweep.store.schema import (
    EPOCHS,
    EVENTS,
    OBJECTIVE,
    PARAMETER,
    RECONSTRUCTION,
    STDERR,
    TABLES,
    TRIALS,
    field,
)

_Row = dict[str, Any]
Kind = type[float] | type[int] | type[str]
"""The type of a searched setting."""
_ARROW: Mapping[Kind, pa.DataType] = {float: pa.float64(), int: pa.int64(), str: pa.string()}


def trial_table(record: TrialRecord, kinds: Mapping[str, Kind] | None = None) -> pa.Table:
    """Return one row of the trials table, with a column per searched setting and per objective there is.

    Args:
        record: the trial.
        kinds: the types of searched settings, which have a column whether the trial has them or not.
    """
    kinds = {name: type(value) for name, value in record.parameters.items()} | dict(kinds or {})
    measured = dict.fromkeys((*OBJECTIVES, *record.objectives))
    row: _Row = {name: getattr(record, name) for name in TRIALS.names}
    row |= {PARAMETER + name: kinds[name](value) for name, value in record.parameters.items()}
    row |= {OBJECTIVE + name: float(value) for name, value in record.objectives.items()}
    row |= {STDERR + name: float(value) for name, value in record.stderr.items()}
    columns = [
        *(field(PARAMETER + n, _ARROW[kind], f"Searched setting {n}.") for n, kind in kinds.items()),
        *(field(OBJECTIVE + n, pa.float64(), f"Objective {n}.") for n in measured),
        *(field(STDERR + n, pa.float64(), f"Standard error of {n} over samples.") for n in measured),
    ]
    return _table([row], TRIALS, columns)


def epoch_table(
    trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
) -> pa.Table:
    """Return one row per epoch, with a column per modality and per evaluated objective."""
    fixed = set(EPOCHS.names) - {"trial_id", "attempt", "evaluation_seconds", "classifiers"}
    rows: list[_Row] = []
    objectives = dict.fromkeys(OBJECTIVES)
    for report in reports:
        row: _Row = {"trial_id": trial_id, "attempt": attempt} | {n: getattr(report, n) for n in fixed}
        row |= {RECONSTRUCTION + m: report.reconstruction.get(m) for m in modalities}
        if report.evaluation is not None:
            row["evaluation_seconds"] = report.evaluation.seconds
            row["classifiers"] = report.evaluation.classifiers
            row |= {OBJECTIVE + n: float(v) for n, v in report.evaluation.objectives.items()}
            objectives |= dict.fromkeys(report.evaluation.objectives)
        rows.append(row)
    columns = [
        *(
            field(RECONSTRUCTION + m, pa.float64(), f"Negative log-likelihood of {m}.", "nats per sample")
            for m in modalities
        ),
        *(field(OBJECTIVE + n, pa.float64(), f"Objective {n}; null if not due.") for n in objectives),
    ]
    return _table(rows, EPOCHS, columns)


_MEASURED = {
    "subset_metrics": ("subset_metrics", "subset"),
    "pair_coherence": ("pair_coherence", "source"),
    "samples": ("pictures", "source"),
}
"""By table: the part of an evaluation that its rows are of, and what its columns call the observed subset."""


def measured_table(
    table: str, trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
) -> pa.Table:
    """Return the rows of subset_metrics, pair_coherence or samples: one per record of evaluated epochs."""
    part, subset = _MEASURED[table]
    rows: list[_Row] = []
    for report in reports:
        for found in getattr(report.evaluation, part, ()):
            row = {f.name: getattr(found, f.name) for f in fields(found)}
            mask = row[f"{subset}_mask"]
            row |= {f"{subset}_label": subset_label(mask, modalities), f"{subset}_size": mask.bit_count()}
            row |= {"trial_id": trial_id, "attempt": attempt, "epoch": report.epoch}
            row["split"] = report.evaluation.split if report.evaluation else None
            if row["target"] in modalities:
                row["in_source"] = bool(mask >> modalities.index(row["target"]) & 1)
            rows.append(row)
    return _table(rows, TABLES[table])


def event_table(event: EventRecord) -> pa.Table:
    """Return one row of the events table."""
    row: _Row = {name: getattr(event, name) for name in EVENTS.names if name != "objectives_json"}
    return _table([row | {"objectives_json": json.dumps(dict(event.objectives))}], EVENTS)


def _table(
    rows: Sequence[Mapping[str, object]], fixed: pa.Schema, dynamic: Sequence[pa.Field] = ()
) -> pa.Table:
    """Return the rows as a table of the fixed columns, then the dynamic ones.

    A missing value is null, and what has no column is left out.
    """
    schema = pa.schema([*fixed, *dynamic], metadata=fixed.metadata)
    return pa.Table.from_pylist(list(rows), schema=schema)
