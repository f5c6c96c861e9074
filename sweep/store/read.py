"""The reading side of a store: lazy Polars frames over whatever files are there now."""

from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.errors import StoreError
from sweep.store.records import Manifest, newer_schema
from sweep.store.schema import KEYS, SCHEMA_VERSION, TABLES, schema_version

MANIFEST = "sweep.json"


def open_store(path: str | Path) -> "Store":
    """Return the store of a results folder.

    Raises:
        StoreError: the folder is missing or holds no readable `sweep.json`.
    """
    path = Path(path)
    if not path.is_dir():
        raise StoreError(f"there is no results folder {path}")
    if not (path / MANIFEST).is_file():
        raise StoreError(f"{path} is no results folder: it holds no {MANIFEST}")
    store = Store(path)
    _ = store.manifest
    return store


def read_manifest(path: Path) -> Manifest:
    """Return the content of a `sweep.json`.

    Raises:
        StoreError: the file is missing, damaged or of a newer schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return Manifest.from_json(text, path)


class Store:
    """The tables of one results folder; each call looks at the files anew, so a sweep may still be running.

    Row order has no meaning. Every method that gives a table raises StoreError, naming the file, if one is
    damaged or of a newer schema.
    """

    def __init__(self, root: Path) -> None:
        """Take the results folder, which may be empty."""
        self.root = root

    @cached_property
    def manifest(self) -> Manifest:
        """What holds for the whole sweep."""
        return read_manifest(self.root / MANIFEST)

    def trials(self) -> pl.LazyFrame:
        """Return one row per trial and attempt: its final record, or `running` before there is one."""
        final = (pl.col("status") != "running").alias("_final")
        return (
            self._scan("trials")
            .sort(final, "ended_at", nulls_last=False)
            .unique(subset=list(KEYS["trials"]), keep="last", maintain_order=True)
        )

    def latest_trials(self) -> pl.LazyFrame:
        """Return one row per trial, sorted by name: that of its last attempt."""
        ordered = self.trials().sort("trial_id", "attempt")
        return ordered.unique(subset="trial_id", keep="last", maintain_order=True)

    def epochs(self) -> pl.LazyFrame:
        """Return one row per trial, attempt and epoch."""
        return self._distinct("epochs")

    def subset_metrics(self) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch, split, subset, metric and target."""
        return self._distinct("subset_metrics")

    def pair_coherence(self) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch, split, source subset and target."""
        return self._distinct("pair_coherence")

    def samples(self) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch, kind, source subset and target."""
        return self._distinct("samples")

    def _distinct(self, table: str) -> pl.LazyFrame:
        """Return a table without the rows that a trial resumed from a checkpoint reported twice."""
        return self._scan(table).unique(subset=list(KEYS[table]), keep="any")

    def _scan(self, table: str) -> pl.LazyFrame:
        """Return all rows of a table's files, each with the columns of all; absent ones are null."""
        files = sorted(p for p in (self.root / table).glob("*.parquet") if not p.name.startswith("."))
        # One scan per distinct set of columns, not per file: a sweep's files have few sets.
        groups: dict[pa.Schema, list[Path]] = {}
        for path in files:
            groups.setdefault(_read_schema(path).remove_metadata(), []).append(path)
        columns = _all_columns(TABLES[table], list(groups))
        empty = pl.DataFrame(schema=columns).lazy()
        return pl.concat([empty, *(_conform(schema, paths, columns) for schema, paths in groups.items())])


def _read_schema(path: Path) -> pa.Schema:
    """Return the schema in a file's footer."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is damaged or no Parquet file: {error}") from error
    if (found := schema_version(schema)) > SCHEMA_VERSION:
        raise StoreError(newer_schema(path, found))
    return schema


def _all_columns(fixed: pa.Schema, found: list[pa.Schema]) -> dict[str, pl.DataType]:
    """Return type by name: the fixed columns, then all others in order of appearance.

    A searched parameter that is whole in one file and not in another is a float; text wins over numbers.
    """
    columns = _types(fixed)
    names = set(columns)
    for schema in found:
        for name, kind in _types(schema).items():
            if name not in names:
                columns[name] = _wider(columns.get(name, kind), kind)
    return columns


def _wider(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    if one == other:
        return one
    return pl.String() if pl.String() in (one, other) else pl.Float64()


def _types(schema: pa.Schema) -> dict[str, pl.DataType]:
    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return dict(frame.schema)


def _conform(schema: pa.Schema, files: list[Path], columns: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Return the rows of files of one schema, in the wanted columns and types."""
    found = _types(schema)

    def column(name: str, kind: pl.DataType) -> pl.Expr:
        if name not in found:
            return pl.lit(None, dtype=kind).alias(name)
        return pl.col(name) if found[name] == kind else pl.col(name).cast(kind)

    return pl.scan_parquet(files, glob=False).select(column(n, k) for n, k in columns.items())
