"""Checks that a results folder is complete and consistent. Repairs nothing.

A rule is a description of a fault and the expression that is true for the rows that have it. Null (not
measured) and NaN (measured, but not a number) are inside every range.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, get_args

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mopoe.config import TrialConfig
from mopoe.errors import CheckpointError, DataError
from mopoe.subsets import subset_masks
from sweep.analysis.fronts import front_mask
from sweep.analysis.points import by_config, points, usable_trials
from sweep.errors import StoreError
from sweep.store.files import LocalFiles
from sweep.store.layout import (
    CHECKPOINTS,
    CLASSIFIERS,
    KEYS,
    NULLABLE,
    OBJECTIVE,
    PARAMETER,
    RECONSTRUCTION,
    STDERR,
    WRITTEN,
)
from sweep.store.lease import holder
from sweep.store.read import Store, distinct, reading, retry_if_missing
from sweep.store.records import Manifest, Status
from sweep.store.schema import TABLES

_Rule = tuple[str, pl.Expr]


def problems(store: Store) -> Iterator[str]:
    """Yield one sentence per fault of a results folder; none if it is sound.

    Raises:
        StoreError: the manifest is damaged or of a newer schema, or the file system refuses.
    """
    modalities = len(store.manifest.modalities)
    # The sweep may be running: only trials that had ended before the other tables are read must be complete.
    _, before = retry_if_missing(partial(_read, store, "trials"))
    frames: dict[str, pl.DataFrame] = {}
    damaged = set()
    # The trials come last, because a running sweep records a trial before its rows.
    for table in list(TABLES)[::-1]:
        wrong, frames[table] = retry_if_missing(partial(_read, store, table))
        yield from wrong
        damaged |= {table} if wrong else set()
    trials = frames["trials"]
    owners = trials.select("trial_id", "attempt", pl.col("epochs_max").alias("_budget"), _known=True)
    for table in TABLES:
        rows = frames[table].join(owners, on=["trial_id", "attempt"], how="left", nulls_equal=True)
        yield from _broken(table, rows, row_rules(rows, 2**modalities - 1))
    yield from _broken("trials", trials, trial_rules(trials, store.manifest))
    yield from _config_problems(trials)
    yield from _missing_rows(store, frames | {"trials": before}, damaged)
    evaluation = store.spec.evaluation
    if not evaluation.subset_sizes and not evaluation.intermediate.subset_sizes:
        masks = len(subset_masks(modalities))
        frames["subset_metrics"] = frames["subset_metrics"].filter(pl.col("subset_mask") > 0)
        yield from _gaps("subset_metrics", frames, ["subset_mask"], masks)
        outside = masks // 2 * modalities  # the number in an evaluation without `own_targets`
        yield from _gaps("pair_coherence", frames, ["source_mask", "target"], masks * modalities, outside)
    yield from _checkpoint_problems(store, trials)
    yield from _weight_problems(store, trials)
    if isinstance(store.files, LocalFiles) and holder(store.files) is None:
        for path in store.files.leftovers((CHECKPOINTS, *WRITTEN)):
            yield f"{path} is left over from an interrupted write; the next `sweep run` deletes it"


def trial_rules(trials: pl.DataFrame, manifest: Manifest) -> list[_Rule]:
    """Return the rules of the trials table."""
    status, done, known = pl.col("status"), pl.col("status") == "completed", get_args(Status)
    objectives = [OBJECTIVE + o.name for o in manifest.objectives]
    finite = [pl.col(n).is_finite().fill_null(False) for n in objectives if n in trials.columns]
    unmeasured = ~pl.all_horizontal(finite) if len(finite) == len(objectives) else pl.lit(True)
    return [
        (f"have a status other than {', '.join(known)}", ~status.is_in(known).fill_null(False)),
        ("completed without finite objectives", done & unmeasured),
        ("completed short of epochs_max", done & (pl.col("epochs") != pl.col("epochs_max"))),
        (
            "are running but have an end, or have ended without one",
            (status == "running") == pl.col("ended_at").is_not_null(),
        ),
        ("ended before they started", pl.col("ended_at") < pl.col("started_at")),
    ]


def row_rules(rows: pl.DataFrame, full: int) -> list[_Rule]:
    """Return the rules of a table's rows that follow from its columns.

    Args:
        rows: the table, with `_known` if its trial is in the trials table, and that trial's `_budget`.
        full: the mask of all modalities.
    """
    share = (
        pl.col("metric").str.contains("^coherence(_all|_balanced)?$")
        if "metric" in rows.columns
        else pl.lit(True)
    )
    rules = [("belong to no attempt in the trials table", pl.col("_known").is_null())]
    for name in rows.columns:
        if name in ("epoch", "epochs"):
            rules.append((f"have {name} outside 0 to epochs_max", _outside(name, 0, pl.col("_budget"))))
        elif name.endswith("_mask"):
            rules.append((f"have a {name} outside 0 to {full}", _outside(name, 0, full)))
        elif name == "value":
            rules.append(("have a coherence outside 0 to 1", share & _outside(name, 0, 1)))
        elif name in ("chance", "low", "high") or (name.startswith(OBJECTIVE) and name.endswith("coherence")):
            rules.append((f"have a {name} outside 0 to 1", _outside(name, 0, 1)))
        elif name in ("stderr", "n") or name.startswith(STDERR) or name.endswith("seconds"):
            rules.append((f"have a {name} below 0", pl.col(name) < 0))
    return rules


def _read(store: Store, table: str) -> tuple[list[str], pl.DataFrame]:
    """Return the faults of a table's files, and the rows of the sound ones."""
    faults = {name: list(_file_problems(store, name, table)) for name in store.names(table)}
    sound = store.schemas([name for name, some in faults.items() if not some])
    with reading(f"cannot read {store.files}"):
        rows = distinct(table, store.rows(table, sound)).collect()
    return [f"{store.files}/{name} {fault}" for name, some in faults.items() for fault in some], rows


def _file_problems(store: Store, name: str, table: str) -> Iterator[str]:
    """Yield the faults of one file, which is read completely."""
    try:
        store.schemas([name])
        content = pa.BufferReader(store.files.content(name))
        schema = pq.ParquetFile(content, page_checksum_verification=True).read().schema
    except FileNotFoundError:
        raise  # it was compacted away meanwhile
    except (StoreError, pa.ArrowException, OSError, ValueError) as error:
        yield f"cannot be read: {error}"
        return
    if (schema.metadata or {}).get(b"schema_name") != table.encode():
        yield f"does not say that it belongs to {table}"
    yield from (
        f"has no column {key}" for key in KEYS[table] if key not in (*schema.names, *NULLABLE.get(table, ()))
    )
    for column in schema:
        wanted = TABLES[table].field(column.name).type if column.name in TABLES[table].names else None
        if wanted is None and not column.name.startswith((PARAMETER, OBJECTIVE, STDERR, RECONSTRUCTION)):
            yield f"has an unknown column {column.name}"
        if wanted not in (None, column.type):
            yield f"has {column.name} as {column.type}, but must have it as {wanted}"


def _outside(name: str, low: int, high: int | pl.Expr) -> pl.Expr:
    return ~pl.col(name).is_between(low, high) & pl.col(name).cast(pl.Float64).is_not_nan()


def _broken(table: str, rows: pl.DataFrame, rules: Sequence[_Rule]) -> Iterator[str]:
    """Yield a sentence for each rule that some rows break, with the key of the first."""
    key = list(KEYS[table])
    needed = [name for name in key if name not in NULLABLE.get(table, ())]
    lacking = ("lack part of their key", pl.any_horizontal(pl.col(needed).is_null()))
    every = dict([lacking, ("share their key", pl.struct(key).is_duplicated()), *rules])
    counts = rows.select(breaks.sum().alias(what) for what, breaks in every.items()).row(0, named=True)
    for what, count in counts.items():
        if count:
            first = rows.filter(every[what]).sort(key).row(0, named=True)
            yield f"{table}: {count} rows {what}; the first: {_named(first, key)}"


def _config(row: Mapping[str, Any]) -> TrialConfig | str:
    """Return the settings of a row of trials, also of one without settings that came later, or why not."""
    try:
        return TrialConfig.from_dict(json.loads(row["config_json"]))
    except (ValueError, TypeError, AttributeError) as error:  # a ConfigError is a ValueError
        return str(error)


def _config_problems(trials: pl.DataFrame) -> Iterator[str]:
    for row in trials.sort(KEYS["trials"]).iter_rows(named=True):
        where = f"trials: {_named(row, KEYS['trials'])}"
        if isinstance(config := _config(row), str):
            yield f"{where} has a config_json of no trial: {config}"
            continue
        right = {"config_id": config.config_id, "seed": config.seed, "epochs_max": config.epochs}
        for name in [name for name, value in right.items() if row[name] != value]:
            yield f"{where} has {name} {row[name]}, but config_json says {right[name]}"


def _gaps(table: str, frames: Mapping[str, pl.DataFrame], of: Sequence[str], *right: int) -> Iterator[str]:
    """Yield the evaluations that lack a subset, or a pair of subset and target."""
    evaluation = ["trial_id", "attempt", "epoch", "split"]
    counts = frames[table].group_by(evaluation).agg(pl.struct(of).n_unique().alias("number"))
    for row in counts.filter(~pl.col("number").is_in(right)).sort(evaluation).iter_rows(named=True):
        found = f"{row['number']} of {right[0]} values of {' and '.join(of)}"
        yield f"{table}: {_named(row, evaluation)} has rows for {found}"


def _missing_rows(
    store: Store, frames: Mapping[str, pl.DataFrame], damaged: Collection[str]
) -> Iterator[str]:
    """Yield the trials that ended well but lack epochs or rows of their last evaluation.

    Damaged tables are skipped, because their files are reported.
    """
    trials = frames["trials"].sort("attempt").unique("trial_id", keep="last")
    in_full = pl.col("status").is_in(["completed", "infeasible"]) & (pl.col("epochs") == pl.col("epochs_max"))
    done = trials.filter(in_full | (pl.col("status") == "stopped"), pl.col("epochs") > 0)
    # A retried trial resumes from its checkpoint, so that earlier epochs belong to earlier attempts.
    counts = frames["epochs"].group_by("trial_id").agg(pl.col("epoch").n_unique().alias("_number"))
    rows = done.join(counts, on="trial_id", how="left").with_columns(pl.col("_number").fill_null(0))
    rows = rows.filter(pl.col("_number") != pl.col("epochs"), "epochs" not in damaged)
    for trial, number, epochs in rows.select("trial_id", "_number", "epochs").sort("trial_id").iter_rows():
        yield f"epochs: trial_id {trial} has rows of {number} of its {epochs} epochs"
    spec, blind = store.spec, frames["subset_metrics"].filter(metric="pictures")["trial_id"]
    coherent = len(spec.modalities) > 1 and store.manifest.n_classes != 0
    tables = ["subset_metrics", "pair_coherence"] if coherent else ["subset_metrics"]
    whole = done.filter(pl.col("status") != "stopped")
    tables += ["samples"] if spec.evaluation.pictures else []
    tables += ["sample_values"] if frames["sample_values"].height else []  # older sweeps have none
    for table in [name for name in tables if name not in damaged]:
        last = frames[table].group_by("trial_id").agg(pl.col("epoch").max().alias("_last"))
        rows = whole.join(last, on="trial_id", how="left")
        rows = rows.filter(pl.col("_last").ne_missing(pl.col("epochs")))
        for trial in rows["trial_id"].sort():
            if not (table == "samples" and trial in blind):
                yield f"{table}: trial_id {trial} has no rows of its last epoch"


def _weight_problems(store: Store, trials: pl.DataFrame) -> Iterator[str]:
    """Yield the files of weights that are damaged or do not match their names."""
    from mopoe.checkpoint import check
    from mopoe.evaluation.classifiers import weights_hash

    for name in store.files.list(CLASSIFIERS):
        with store.files.on_disk(name) as (path, _):
            try:
                actual = weights_hash(path)
            except DataError as error:
                yield str(error)
                continue
            if actual != PurePosixPath(name).stem:
                yield f"{store.files}/{name} holds weights with the hash {actual}"
    rows = {row["trial_id"]: row for row in trials.sort("attempt").iter_rows(named=True)}
    rows |= {f"{r['trial_id']}-{r['attempt']}": r for r in trials.iter_rows(named=True)}
    for name in store.files.list(CHECKPOINTS):
        if name.endswith(".safetensors"):
            with store.files.on_disk(name) as (path, _):
                try:
                    progress = check(path)
                except CheckpointError as error:
                    if path.exists():  # else it was deleted because its trial has ended
                        yield str(error)
                    continue
            row, where = rows.get(PurePosixPath(name).stem), f"{store.files}/{name}"
            if row is None or _config(row) != progress.config:
                yield f"{where} does not hold the weights of the trial in its name"
            elif row["status"] == "completed" and progress.epoch != row["epochs_max"]:
                yield f"{where} holds weights after epoch {progress.epoch}, not {row['epochs_max']}"


def _checkpoint_problems(store: Store, trials: pl.DataFrame) -> Iterator[str]:
    """Yield the trials of the front without weights, in a folder that keeps any."""
    kept = {PurePosixPath(name).stem for name in store.files.list(CHECKPOINTS)}
    kept |= {name.rpartition("-")[0] for name in kept}  # a single trial's end in its attempt
    last = trials.sort("attempt").unique("trial_id", keep="last", maintain_order=True)
    manifest = store.manifest
    configs = by_config(usable_trials(last, manifest.objectives, manifest.limits), manifest.objectives)
    on_front = configs.filter(front_mask(points(configs, manifest.objectives)))
    for trial, config_id in on_front.select("trial_id", "config_id").iter_rows():
        if kept and not kept & set(last.filter(config_id=config_id)["trial_id"]):
            yield f"{CHECKPOINTS}: trial_id {trial} is on the front, but its weights are not kept"


def _named(row: Mapping[str, object], key: Sequence[str]) -> str:
    return ", ".join(f"{name} {row[name]}" for name in key)
