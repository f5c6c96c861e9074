"""The tables of a store: one Arrow schema each, with a sentence and a unit per column, and their keys.

A column that is null was not measured; one that is NaN was measured and is not a number. Columns whose names
depend on the sweep (`p_<parameter>`, `o_<objective>`, `se_<objective>`, `reconstruction_<modality>`) stand
behind the fixed ones and may differ between the files of one table.
"""

from collections.abc import Mapping
from importlib.metadata import version

import pyarrow as pa

SCHEMA_VERSION = 1
"""Version of the tables and of `sweep.json`; a reader refuses files of a newer one."""

PARAMETER, OBJECTIVE, STDERR, RECONSTRUCTION = "p_", "o_", "se_", "reconstruction_"
"""Prefixes of the columns whose names depend on the sweep."""


def field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    """Return a column with its description, and its unit if it has one, as metadata."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, metadata=metadata)


def _schema(name: str, *columns: pa.Field) -> pa.Schema:
    metadata = {
        "schema_name": name,
        "schema_version": str(SCHEMA_VERSION),
        "mopoe_sweep_version": version("mopoe-sweep"),
    }
    return pa.schema(columns, metadata=metadata)


_KEY = (
    field("trial_id", pa.string(), "The trial: one config with one seed."),
    field("attempt", pa.int32(), "Counts the starts of the trial, from 0."),
)
_EPOCH = (*_KEY, field("epoch", pa.int32(), "Epochs finished, counted from 1.", "epochs"))
_SPLIT = (*_EPOCH, field("split", pa.string(), "The split measured on: train, validation or test."))
_VALUE = (
    field("value", pa.float64(), "The mean over held-out samples, or what the metric says."),
    field("stderr", pa.float64(), "Standard error of the value; null if it has none."),
    field("n", pa.int32(), "Number of held-out samples or of draws.", "samples"),
)
_SOURCE = field("source_mask", pa.int32(), "The observed subset of modalities as bits: bit m is modality m.")
_TARGET = field("target", pa.string(), "Name of the generated modality.")
_SOURCE_LABEL = field("source_label", pa.string(), "The observed subset for people, as in m0+m2.")

TRIALS = _schema(
    "trials",
    *_KEY,
    field("config_id", pa.string(), "Hash of the settings without the seed: replicates share it."),
    field("seed", pa.int64(), "Fixes initialisation, data order and noise."),
    field("status", pa.string(), "One of running, completed, stopped, failed, infeasible."),
    field("stop_reason", pa.string(), "Why the trial was stopped before its full budget."),
    field("error", pa.string(), "What went wrong, if the trial failed or is infeasible."),
    field(
        "traceback", pa.string(), "Where it went wrong, if the trial raised: the end of Python's traceback."
    ),
    field("epochs", pa.int32(), "Budget reached.", "epochs"),
    field("epochs_max", pa.int32(), "Full budget.", "epochs"),
    field("started_at", pa.timestamp("us", tz="UTC"), "When the attempt began."),
    field("ended_at", pa.timestamp("us", tz="UTC"), "When the attempt ended; null while it runs."),
    field("seconds", pa.float64(), "Time of its epochs and evaluations, in whichever process.", "s"),
    field("n_parameters", pa.int64(), "Trained parameters of the model.", "parameters"),
    field("device", pa.string(), "The device trained on."),
    field("host", pa.string(), "The machine trained on."),
    field("config_json", pa.string(), "All settings of the trial, as JSON."),
    field("suggestion_json", pa.string(), "The sampler's own parameters, as JSON."),
    field("data_fingerprint", pa.string(), "Hash of the data it was trained on."),
)

EPOCHS = _schema(
    "epochs",
    *_EPOCH,
    field("step", pa.int64(), "Optimiser steps since the start of the trial.", "steps"),
    field("examples", pa.int64(), "Training samples seen since the start of the trial.", "samples"),
    field("seconds", pa.float64(), "Wall time of the epoch's training, without evaluation.", "s"),
    field("loss", pa.float64(), "The minimised quantity, at the beta of each step.", "nats per sample"),
    field("elbo", pa.float64(), "The bound at beta = 1, without likelihood weights.", "nats per sample"),
    field("kl", pa.float64(), "Weighted sum of the subsets' KL divergences to the prior.", "nats per sample"),
    field("lr", pa.float64(), "Learning rate of the epoch's last step."),
    field("grad_norm", pa.float64(), "Euclidean norm of the last step's gradient."),
    field("evaluation_seconds", pa.float64(), "Wall time of the evaluation; null without one.", "s"),
    field("classifiers", pa.string(), "Hash of the classifiers that judged it; null without one."),
)

SUBSET_METRICS = _schema(
    "subset_metrics",
    *_SPLIT,
    field(
        "subset_mask", pa.int32(), "The subset of modalities as bits: bit m is modality m; 0 is the prior."
    ),
    field("metric", pa.string(), "What was measured: a name of mopoe.reports.METRICS."),
    field("target", pa.string(), "The generated modality; null for a number about none."),
    field("subset_label", pa.string(), "The subset for people, as in m0+m2."),
    field("subset_size", pa.int32(), "Number of modalities in the subset.", "modalities"),
    *_VALUE,
    field("error", pa.string(), "Why the value is NaN, if it could not be measured."),
)

PAIR_COHERENCE = _schema(
    "pair_coherence",
    *_SPLIT,
    _SOURCE,
    _TARGET,
    _SOURCE_LABEL,
    field("source_size", pa.int32(), "Number of observed modalities.", "modalities"),
    field("in_source", pa.bool_(), "Whether the target is itself observed."),
    *_VALUE,
    field("chance", pa.float64(), "What always guessing the most frequent class, or random scores, reach."),
    field("measure", pa.string(), "One of accuracy, average_precision (of attributes); null means accuracy."),
)

SAMPLES = _schema(
    "samples",
    *_EPOCH,
    field(
        "kind", pa.string(), "One of input, conditional (generated from a subset), joint (from the prior)."
    ),
    _SOURCE,
    _TARGET,
    _SOURCE_LABEL,
    field("png", pa.binary(), "A strip of images as a PNG file."),
    field("labels", pa.list_(pa.int32()), "True (input) or predicted classes, left to right."),
)

EVENTS = _schema(
    "events",
    *_EPOCH,
    field("kind", pa.string(), "What happened, for instance rung: a decision of the scheduler."),
    field("at", pa.timestamp("us", tz="UTC"), "When it happened."),
    field("bracket", pa.int32(), "The bracket of the trial, from 0; later brackets have later first rungs."),
    field("rung", pa.int32(), "Counts the rungs of the bracket, from 0."),
    field("decision", pa.string(), "One of continue, stop."),
    field("reason", pa.string(), "The decision for people."),
    field("front_rank", pa.int32(), "Rank of the trial's front at the rung; 0 is not dominated."),
    field("ahead", pa.int32(), "Trials at the rung that came before it.", "trials"),
    field("compared_to", pa.int32(), "Trials at the rung, itself not counted.", "trials"),
    field("objectives_json", pa.string(), "What the decision rests on: value by objective, as JSON."),
)

TABLES: Mapping[str, pa.Schema] = {
    "trials": TRIALS,
    "epochs": EPOCHS,
    "subset_metrics": SUBSET_METRICS,
    "pair_coherence": PAIR_COHERENCE,
    "samples": SAMPLES,
    "events": EVENTS,
}
"""Schema by table name, which is also the name of the table's folder."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "trials": ("trial_id", "attempt"),
    "epochs": ("trial_id", "attempt", "epoch"),
    "subset_metrics": ("trial_id", "attempt", "epoch", "split", "subset_mask", "metric", "target"),
    "pair_coherence": ("trial_id", "attempt", "epoch", "split", "source_mask", "target"),
    "samples": ("trial_id", "attempt", "epoch", "kind", "source_mask", "target"),
    "events": ("trial_id", "attempt", "epoch", "kind", "at"),
}
"""The columns that name a row, by table; no two rows of a read table agree in all of them."""

NULLABLE: Mapping[str, tuple[str, ...]] = {"subset_metrics": ("target",)}
"""Key columns that may be null: a number may be about no target. Files of earlier releases lack them."""


def table_name(schema: pa.Schema) -> str:
    """Return the table that a schema belongs to.

    >>> table_name(TRIALS)
    'trials'
    """
    return str(schema.metadata[b"schema_name"].decode())


def schema_version(schema: pa.Schema) -> int:
    """Return the version a schema was written with; 0 if it does not say.

    >>> schema_version(TRIALS)
    1
    """
    return int((schema.metadata or {}).get(b"schema_version", b"0"))
