"""The tables of a store as Arrow schemas, made from the records that their rows hold.

A column has the name, the type and the sentence of a record's field, so that each is described once. Null
means not measured; NaN means measured and not a number. Columns whose names depend on the sweep
(`p_<parameter>`, `o_<objective>`, `se_<objective>`, `reconstruction_<modality>`) follow the fixed ones
and may differ between the files of one table.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from mopoe.reports import EpochReport, Evaluation, PairCoherence, Picture, SampleValues, SubsetMetric
from sweep.store.layout import SCHEMA_VERSION
from sweep.store.records import EventRecord, TrialRecord


class _Derived:
    """Columns that the writer computes from the records."""

    subset_label: str
    """Names of the subset's modalities, as in m0+m2."""
    subset_size: int
    """Number of modalities in the subset."""
    source_label: str
    """Names of the observed modalities, as in m0+m2."""
    source_size: int
    """Number of observed modalities."""
    in_source: bool
    """Whether the target is itself observed."""
    low: float
    """Lower end of the 95 % interval: Wilson's of an accuracy, else 1.96 standard errors away."""
    high: float
    """Upper end of the 95 % interval."""
    evaluation_seconds: float
    """Wall time of the evaluation; null without one."""
    objectives_json: str
    """Value by objective that the decision rests on, as JSON."""


_KEY = "trial_id attempt "
_EVALUATED = (Evaluation, EpochReport, TrialRecord)
_COLUMNS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "trials": (
        (TrialRecord,),
        _KEY
        + "config_id seed status stop_reason error traceback epochs epochs_max started_at ended_at seconds "
        + "n_parameters device host config_json suggestion_json data_fingerprint",
    ),
    "epochs": (
        (EpochReport, Evaluation, TrialRecord),
        _KEY + "epoch step examples seconds loss elbo kl lr grad_norm evaluation_seconds classifiers",
    ),
    "subset_metrics": (
        (SubsetMetric, *_EVALUATED),
        _KEY + "epoch split subset_mask metric target subset_label subset_size value stderr n error",
    ),
    "pair_coherence": (
        (PairCoherence, *_EVALUATED),
        _KEY
        + "epoch split source_mask target source_label source_size in_source value stderr low high n chance "
        + "measure",
    ),
    "sample_values": ((SampleValues, *_EVALUATED), _KEY + "epoch split metric values"),
    "samples": (
        (Picture, *_EVALUATED),
        _KEY + "epoch kind source_mask target source_label png texts values features labels",
    ),
    "events": (
        (EventRecord,),
        _KEY + "epoch kind at bracket rung decision reason front_rank ahead compared_to objectives_json",
    ),
}
"""By table: the records that describe its columns (the first that has the name counts), and the columns."""

_UNITS = {
    **dict.fromkeys(("epoch", "epochs", "epochs_max"), "epochs"),
    **dict.fromkeys(("seconds", "evaluation_seconds"), "s"),
    **dict.fromkeys(("loss", "elbo", "kl"), "nats per sample"),
    **dict.fromkeys(("examples", "n"), "samples"),
    **dict.fromkeys(("subset_size", "source_size"), "modalities"),
    **dict.fromkeys(("ahead", "compared_to"), "trials"),
    "step": "steps",
    "n_parameters": "parameters",
}
_LARGE = ("seed", "step", "examples", "n_parameters")
"""Whole numbers that may exceed 32 bits."""
_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int32(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
    tuple[int, ...]: pa.list_(pa.int32()),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float32()),  # half the size, and far more digits than a sample is worth
}


def field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    """Return a column with its description, and its unit if it has one, as metadata."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, metadata=metadata)


@cache
def field_texts(record: type) -> dict[str, str]:
    """Return the text beneath each field of a class, by the field's name."""
    (tree,) = ast.parse(inspect.getsource(record)).body
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        match node, after:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(text):
                texts[name] = inspect.cleandoc(ast.literal_eval(text))
    return texts


def _fields(records: tuple[type, ...]) -> Iterator[tuple[str, pa.Field]]:
    """Yield the name and the column of each field of some records."""
    for record in records:
        hints = get_type_hints(record)
        for name, text in field_texts(record).items():
            kind = pa.int64() if name in _LARGE else _arrow_type(hints[name])
            if kind is not None:
                yield name, field(name, kind, " ".join(text.split()), _UNITS.get(name))


def _arrow_type(hint: Any) -> pa.DataType | None:
    """Return the type of a field's column; None if the field is not a column."""
    if NoneType in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    return pa.string() if get_origin(hint) is Literal else _TYPES.get(hint)


def _schema(table: str, records: tuple[type, ...], columns: str) -> pa.Schema:
    known = dict(_fields((_Derived, *reversed(records))))
    metadata = {
        "schema_name": table,
        "schema_version": str(SCHEMA_VERSION),
        "mopoe_sweep_version": version("mopoe-sweep"),
    }
    return pa.schema([known[name] for name in columns.split()], metadata=metadata)


TABLES: Mapping[str, pa.Schema] = {table: _schema(table, *of) for table, of in _COLUMNS.items()}
"""Schema by table name, which is also the name of the table's folder."""


def table_name(schema: pa.Schema) -> str:
    """Return the table that a schema belongs to.

    >>> table_name(TABLES["trials"])
    'trials'
    """
    return str(schema.metadata[b"schema_name"].decode())


def schema_version(schema: pa.Schema) -> int:
    """Return the version a schema was written with; 0 if it does not say.

    >>> schema_version(TABLES["trials"])
    1
    """
    return int((schema.metadata or {}).get(b"schema_version", b"0"))
