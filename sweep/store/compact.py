"""Merges the many small files of a results folder into few, while others read and write it.

The merged file is put first, then the files in it are deleted. A reader in between finds rows twice and
counts them once, so that it sees the same rows at every step. Wherever the work stops, nothing is lost, and
the next compaction finishes it.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa

from sweep.store.files import Files
from sweep.store.read import COMPACT, Store, distinct, reading
from sweep.store.schema import KEYS, TABLES

MERGE_BYTES = 256 * 2**20
"""Size in bytes of the files that are merged into one, so that no table need fit into memory."""


def compact(store: Store) -> dict[str, tuple[int, int]]:
    """Merge the files of each table and return their number before and after, by table.

    Raises:
        StoreError: a file is damaged or of a newer schema, or the file system refuses.
    """
    found = {}
    for table in TABLES:
        before = store.names(table)
        for names in parts(store.files.list(table), before):
            # Another compaction may be at work on the same files: it will delete them.
            with contextlib.suppress(FileNotFoundError):
                if len(names) > 1:
                    put_merged(store.files, table, merged_rows(store, table, names))
                    for name in names:
                        store.files.delete(name)
        found[table] = (len(before), len(store.names(table)))
    return found


def parts(sizes: Mapping[str, int], names: Sequence[str], limit: int = MERGE_BYTES) -> Iterator[list[str]]:
    """Give the names in order, in parts of at most `limit` bytes; a larger file is a part of its own.

    >>> list(parts({"a": 3, "b": 2, "c": 4, "d": 9}, ["a", "b", "c", "d"], limit=5))
    [['a', 'b'], ['c'], ['d']]
    """
    part: list[str] = []
    total = 0
    for name in names:
        total += sizes.get(name, 0)
        if part and total > limit:
            yield part
            part, total = [], sizes.get(name, 0)
        part.append(name)
    if part:
        yield part


def merged_rows(
    store: Store, table: str, names: Sequence[str], trials: Mapping[str, str] | None = None
) -> pa.Table:
    """Return the rows of some files once each, sorted by key, with the columns' descriptions.

    Args:
        store: the store.
        table: name of the table.
        names: its files to read; FileNotFoundError if one is gone.
        trials: new name by name of the trials to rename.
    """
    schemas = store.schemas(names)
    rows = distinct(table, store.rows(table, schemas)).with_columns(pl.col("trial_id").replace(trials or {}))
    with reading(f"cannot read {store.files}"):
        found = rows.sort(KEYS[table]).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
    known = {field.name: field for schema in (*schemas.values(), TABLES[table]) for field in schema}
    # Polars' texts are large_string; a searched parameter may have become wider than in any one file.
    kinds = [pa.string() if f.type == pa.large_string() else f.type for f in found.schema]
    fields = [
        known[name] if name in TABLES[table].names else known[name].with_type(kind)
        for name, kind in zip(found.column_names, kinds, strict=True)
    ]
    return found.cast(pa.schema(fields, metadata=TABLES[table].metadata))


def put_merged(files: Files, table: str, rows: pa.Table) -> None:
    """Store merged rows as one file, whose name sorts behind those of earlier ones."""
    files.put_table(f"{table}{COMPACT}{time.time_ns():020}", rows)
