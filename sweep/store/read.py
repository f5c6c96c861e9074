"""Reads a store: lazy Polars frames over the files that exist at the call."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from mopoe.errors import ConfigError
from search_spaces import Document
from sweep.errors import StoreError
from sweep.store.files import Files, files_at, gone, reason
from sweep.store.layout import COMPACT, KEYS, MANIFEST, SCHEMA_VERSION
from sweep.store.records import Manifest, newer_schema
from sweep.store.schema import TABLES, schema_version, table_name

if TYPE_CHECKING:
    from sweep.config.sweep_spec import SweepSpec

_T = TypeVar("_T")

_REPORTS = re.compile(r"[^/]+/(.+)-([0-9]{4,})-([0-9]{4,})-x?[0-9a-f]{8}\.parquet")
"""Name of a file of reports: table, trial and attempt, first and last epoch, checksum."""

_AT_ONCE = 16
"""Footers read at a time: with an object store most of the time is spent waiting."""

_PANIC: tuple[type[BaseException], ...] = (pl.exceptions.PanicException,)
"""What Polars raises for a file that it cannot parse; it is not an Exception."""

PATIENCE = 20
"""How often reading starts again because a file was compacted away meanwhile."""


def open_store(root: str | Path | Files) -> "Store":
    """Return the store of a results folder, or of an address such as s3://BUCKET/FOLDER.

    Raises:
        StoreError: the folder is missing or holds no readable `sweep.json`.
    """
    store = Store(root)
    if MANIFEST not in store.files.list():
        if store.files.empty():
            raise StoreError(f"there is no results folder {store.files}")
        raise StoreError(f"{store.files} is not a results folder: it holds no {MANIFEST}")
    _ = store.spec
    return store


class Store:
    """The tables of one results folder. Each call lists the files again, so a sweep may still be running.

    Row order has no meaning. Every method that returns a table raises StoreError, naming the file, if one is
    damaged or of a newer schema. A frame has the rows that existed at the call, and perhaps newer ones if
    the files were compacted before it is collected.

    Rows are deduplicated by key. Duplicates arise if a trial resumed from a checkpoint reports an epoch
    again (they differ only in wall times) and while files are being compacted (the compacted row is kept).
    """

    def __init__(self, root: str | Path | Files) -> None:
        """Take the results folder, which may be empty."""
        self.files = files_at(root)

    def __repr__(self) -> str:
        """Return the folder and the tables there are."""
        return f"<store {self.files}: {', '.join(f'.{name}()' for name in TABLES)}>"

    @cached_property
    def manifest(self) -> Manifest:
        """What holds for the whole sweep."""
        path = f"{self.files}/{MANIFEST}"
        try:
            with self.files.open(MANIFEST) as file:
                text = file.read().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {path}: {error}") from error
        return Manifest.from_json(text, path)

    @cached_property
    def spec(self) -> "SweepSpec":
        """The sweep's file as the last run had it; no module that it names is imported.

        Raises:
            StoreError: the manifest is damaged, or its parts contradict each other.
        """
        from sweep.config.sweep_spec import spec_of

        manifest = self.manifest
        try:
            spec = spec_of(self.document, modalities=manifest.modalities)
        except ConfigError as error:
            raise StoreError(str(error)) from error
        stated = (manifest.objectives, dict(manifest.reference_point), manifest.data)
        if stated != (spec.objectives, dict(spec.reference_point), spec.data.name):
            raise StoreError(f"{self.files}/{MANIFEST} is damaged: its spec is of other objectives or data")
        return spec

    @property
    def document(self) -> Document:
        """The sweep's file as plain values and where they come from, for error messages."""
        path = Path(f"{self.files}/{MANIFEST}")
        return Document(path=path, data=dict(self.manifest.spec), root=None)

    def trials(self) -> pl.LazyFrame:
        """Return one row per trial and attempt: its final record, or the running one until it ends."""
        return self.table("trials")

    def latest_trials(self) -> pl.LazyFrame:
        """Return one row per trial, sorted by name: that of its last attempt."""
        ordered = self.trials().sort("trial_id", "attempt")
        return ordered.unique(subset="trial_id", keep="last", maintain_order=True)

    def epochs(self) -> pl.LazyFrame:
        """Return one row per trial, attempt and epoch."""
        return self.table("epochs")

    def subset_metrics(self, split: str | None = None) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch, subset, metric and target, of one split.

        That is the sweep's own, as in the next two; `sweep evaluate` measures others.
        """
        return self._of_split("subset_metrics", split)

    def pair_coherence(self, split: str | None = None) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch, source subset and target, of one split."""
        return self._of_split("pair_coherence", split)

    def sample_values(self, split: str | None = None) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch and objective that averages samples, of one split."""
        return self._of_split("sample_values", split)

    def samples(self) -> pl.LazyFrame:
        """Return one row per trial, attempt, epoch, kind, source subset and target."""
        return self.table("samples")

    def events(self) -> pl.LazyFrame:
        """Return one row per event of a trial, such as a decision of the scheduler."""
        return self.table("events")

    def table(self, name: str) -> pl.LazyFrame:
        """Return a table by name."""
        if name not in TABLES:
            raise StoreError(f"there is no table {name!r}; there are: {', '.join(TABLES)}")

        def found() -> tuple[dict[str, pa.Schema], pl.Schema]:
            schemas = self.schemas(self.names(name))
            with reading(f"cannot read {self.files}"):
                return schemas, self.rows(name, schemas).collect_schema()

        schemas, columns = retry_if_missing(found)

        def collect(wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None) -> pl.DataFrame:
            nonlocal schemas
            try:
                schemas = schemas or self.schemas(self.names(name))
                with reading(f"cannot read {self.files}"):
                    rows = self.rows(name, schemas)
                    now = rows.collect_schema()
                    for column, kind in columns.items():
                        if now[column] != kind:
                            raise StoreError(
                                f"column {column} changed from {kind} to {now[column]} while it was read; "
                                "read the table again"
                            )
                    rows = distinct(name, rows) if may_repeat(list(schemas)) else rows
                    rows = rows if predicate is None else rows.filter(predicate)
                    rows = rows.select(wanted or list(columns))
                    return (rows if n_rows is None else rows.head(n_rows)).collect()
            except FileNotFoundError:
                schemas = {}
                raise

        def read(
            wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            yield retry_if_missing(lambda: collect(wanted, predicate, n_rows))

        return register_io_source(read, schema=columns)

    def names(self, table: str) -> list[str]:
        """Return the names of a table's files: compacted ones by age, then the others."""
        listing = self._list(table)
        # A listing during a compaction may miss both the old files and the new one: list until it is stable.
        while not _compacted(later := self._list(table)) <= _compacted(listing):
            listing = later
        return sorted(listing, key=lambda name: (COMPACT not in name, name))

    def schemas(self, names: Sequence[str]) -> dict[str, pa.Schema]:
        """Return the schema in each file's footer; FileNotFoundError if one is gone."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(names, pool.map(partial(_read_schema, self.files), names), strict=True))

    def rows(self, table: str, schemas: Mapping[str, pa.Schema]) -> pl.LazyFrame:
        """Return all rows of some files, in order, with the columns of all of them; absent ones are null.

        The fixed columns come first. A searched parameter that is whole in one file and not in another is a
        float; text wins over numbers.
        """
        fixed = pl.Schema(TABLES[table])
        # One scan per schema, not per file: a sweep's files have few different ones.
        groups: dict[pa.Schema, list[str]] = {}
        for name, schema in schemas.items():
            groups.setdefault(schema.remove_metadata(), []).append(name)
        frames = [pl.LazyFrame(schema=fixed)]
        for schema, names in groups.items():
            kinds = {column: fixed[column] for column in schema.names if column in fixed}
            frames.append(self.files.scan(names, schema).cast(kinds))
        return pl.concat(frames, how="diagonal_relaxed")

    def _of_split(self, table: str, split: str | None) -> pl.LazyFrame:
        begun = split or MANIFEST in self.files.list()
        return self.table(table).filter(split=split or self.manifest.split) if begun else self.table(table)

    def _list(self, table: str) -> list[str]:
        return [name for name in self.files.list(table) if name.endswith(".parquet")]


def distinct(table: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows of a table with one row per key: the first one.

    In the trials table the final record comes first, and of several the latest.
    """
    if table == "trials":
        final = (pl.col("status") != "running").alias("_final")
        by = [final, pl.col("ended_at"), pl.col("started_at")]
        rows = rows.sort(by, descending=True, nulls_last=True, maintain_order=True)
    return rows.unique(subset=list(KEYS[table]), keep="first")


def may_repeat(names: Sequence[str]) -> bool:
    """Return whether two rows of a table's files may share a key, judged by the files' names.

    A single compacted file holds each key once, and so do reports that do not overlap in an attempt's epochs.

    >>> may_repeat(["epochs/t1-0-0001-0002-0a1b2c3d.parquet", "epochs/t1-0-0003-0003-0a1b2c3d.parquet"])
    False
    """
    if len(names) == 1 and COMPACT in names[0]:
        return False
    reports = [match.groups() for name in names if (match := _REPORTS.fullmatch(name))]
    spans = sorted((attempt, int(first), int(last)) for attempt, first, last in reports)
    overlap = any(a[0] == b[0] and b[1] <= a[2] for a, b in pairwise(spans))
    return overlap or len(reports) < len(names)


def retry_if_missing(read: Callable[[], _T]) -> _T:
    """Return what `read` returns; it is called again if a file was compacted away after it was listed."""
    for _ in range(PATIENCE):
        try:
            return read()
        except FileNotFoundError as error:
            missing = error
    raise StoreError(f"files keep disappearing while they are read: {missing}")


def _compacted(names: Sequence[str]) -> set[str]:
    return {name for name in names if COMPACT in name}


@contextmanager
def reading(failure: str) -> Iterator[None]:
    """Turn an error of reading into a StoreError that says what failed; FileNotFoundError is kept."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError, *_PANIC) as error:
        if gone(error):
            raise FileNotFoundError(reason(error)) from error
        raise StoreError(f"{failure}: {reason(error)}") from error


def _read_schema(files: Files, name: str) -> pa.Schema:
    """Return the schema in a file's footer; StoreError if the file is damaged, newer or of another table."""
    with reading(f"{files}/{name} cannot be read as Parquet"):
        schema = pq.read_schema(pa.BufferReader(files.content(name)))
        version = schema_version(schema)
    if version > SCHEMA_VERSION:
        raise StoreError(newer_schema(f"{files}/{name}", version))
    # Only files from elsewhere, of version 0, do not say what they are.
    if version and table_name(schema) != (table := name.partition("/")[0]):
        raise StoreError(f"{files}/{name} is a file of the table {table_name(schema)}, not of {table}")
    return schema
