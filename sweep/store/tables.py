"""Arrow tables from the records of training: pure functions, one per table of the store."""

import json
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from mopoe.records import OBJECTIVES, EpochReport, Evaluation
from mopoe.subsets import subset_label
from sweep.store.records import EventRecord, TrialRecord
from sweep.store.schema import (
    EPOCHS,
    EVENTS,
    OBJECTIVE,
    PAIR_COHERENCE,
    PARAMETER,
    RECONSTRUCTION,
    SAMPLES,
    STDERR,
    SUBSET_METRICS,
    TRIALS,
    field,
)

_Row = dict[str, object]
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


def subset_table(
    trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
) -> pa.Table:
    """Return one row per evaluated epoch, subset, metric and target."""
    rows: list[_Row] = [
        key
        | {
            "split": evaluation.split,
            "subset_mask": found.subset_mask,
            "metric": found.metric,
            "target": found.target,
            "subset_label": subset_label(found.subset_mask, modalities),
            "subset_size": found.subset_mask.bit_count(),
            "value": found.value,
            "stderr": found.stderr,
            "n": found.n,
            "error": found.error,
        }
        for key, evaluation in _evaluations(trial_id, attempt, reports)
        for found in evaluation.subset_metrics
    ]
    return _table(rows, SUBSET_METRICS)


def pair_table(
    trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
) -> pa.Table:
    """Return one row per evaluated epoch, source subset and target modality."""
    rows: list[_Row] = [
        key
        | {
            "split": evaluation.split,
            "source_mask": pair.source_mask,
            "target": pair.target,
            "source_label": subset_label(pair.source_mask, modalities),
            "source_size": pair.source_mask.bit_count(),
            "in_source": bool(pair.source_mask >> modalities.index(pair.target) & 1),
            "value": pair.value,
            "stderr": pair.stderr,
            "n": pair.n,
            "chance": pair.chance,
            "measure": pair.measure,
        }
        for key, evaluation in _evaluations(trial_id, attempt, reports)
        for pair in evaluation.pair_coherence
    ]
    return _table(rows, PAIR_COHERENCE)


def sample_table(
    trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
) -> pa.Table:
    """Return one row per evaluated epoch and strip of images."""
    rows: list[_Row] = [
        key
        | {
            "kind": picture.kind,
            "source_mask": picture.source_mask,
            "target": picture.target,
            "source_label": subset_label(picture.source_mask, modalities),
            "png": picture.png,
            "labels": list(picture.labels),
        }
        for key, evaluation in _evaluations(trial_id, attempt, reports)
        for picture in evaluation.pictures
    ]
    return _table(rows, SAMPLES)


def event_table(event: EventRecord) -> pa.Table:
    """Return one row of the events table."""
    row: _Row = {name: getattr(event, name) for name in EVENTS.names if name != "objectives_json"}
    return _table([row | {"objectives_json": json.dumps(dict(event.objectives))}], EVENTS)


def _evaluations(
    trial_id: str, attempt: int, reports: Sequence[EpochReport]
) -> Iterator[tuple[_Row, Evaluation]]:
    for report in reports:
        if report.evaluation is not None:
            yield {"trial_id": trial_id, "attempt": attempt, "epoch": report.epoch}, report.evaluation


def _table(
    rows: Sequence[Mapping[str, object]], fixed: pa.Schema, dynamic: Sequence[pa.Field] = ()
) -> pa.Table:
    """Return the rows as a table of the fixed columns, then the dynamic ones; a missing value is null."""
    schema = pa.schema([*fixed, *dynamic], metadata=fixed.metadata)
    return pa.Table.from_pylist(list(rows), schema=schema)
