"""Maintenance of results folders: compacting the tables of one, merging several."""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from uuid import uuid4

import polars as pl
import pyarrow as pa

from sweep.errors import StoreError
from sweep.store.files import Files
from sweep.store.layout import CHECKPOINTS, CLASSIFIERS, COMPACT, KEYS
from sweep.store.read import Store, distinct, reading
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter

MERGE_BYTES = 256 * 2**20
"""Bytes of files that are merged into one, so that no table need fit into memory."""


def compact(store: Store) -> dict[str, tuple[int, int]]:
    """Merge the files of each table and return the number of files before and after, by table.

    Raises:
        StoreError: a file is damaged or of a newer schema, or the file system refuses.
    """
    numbers = {}
    for table in TABLES:
        before = store.names(table)
        for names in parts(store.files.list(table), before):
            # Another compaction may work on the same files and delete them.
            with contextlib.suppress(FileNotFoundError):
                if len(names) > 1:
                    put_merged(store.files, table, merged_rows(store, table, names))
                    for name in names:
                        store.files.delete(name)
        numbers[table] = (len(before), len(store.names(table)))
    return numbers


def parts(sizes: Mapping[str, int], names: Sequence[str], limit: int = MERGE_BYTES) -> Iterator[list[str]]:
    """Yield the names in order, in parts of at most `limit` bytes; a larger file is a part of its own.

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
    """Return the distinct rows of some files, sorted by key, with the columns' descriptions.

    Args:
        store: the store.
        table: name of the table.
        names: its files to read; FileNotFoundError if one is gone.
        trials: new name by name of the trials to rename.
    """
    schemas = store.schemas(names)
    rows = distinct(table, store.rows(table, schemas)).with_columns(pl.col("trial_id").replace(trials or {}))
    with reading(f"cannot read {store.files}"):
        merged = rows.sort(KEYS[table]).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
    known = {field.name: field for schema in (*schemas.values(), TABLES[table]) for field in schema}
    # Polars' strings are large_string; a searched setting may have become wider than in any one file.
    kinds = [pa.string() if f.type == pa.large_string() else f.type for f in merged.schema]
    fields = [
        known[name] if name in TABLES[table].names else known[name].with_type(kind)
        for name, kind in zip(merged.column_names, kinds, strict=True)
    ]
    return merged.cast(pa.schema(fields, metadata=TABLES[table].metadata))


def put_merged(files: Files, table: str, rows: pa.Table) -> None:
    """Store merged rows as one file, whose name sorts after those of earlier ones."""
    files.put_table(f"{table}{COMPACT}{time.time_ns():020}", rows)


def merge_runs(runs: Sequence[Store], out: Files) -> dict[str, str]:
    """Write all trials of some runs, with their rows, checkpoints and classifiers, into an empty folder.

    The manifest is the first run's with a new id. It is written last, so that an interrupted merge leaves no
    results folder.

    Returns:
        New name by "FOLDER: TRIAL" of the trials that were renamed because an earlier run has their name.

    Raises:
        StoreError: the runs are not of one sweep, one is given twice, or the folder holds files.
    """
    first = runs[0].manifest
    for i, run in enumerate(runs):
        if run.manifest.spec_hash != first.spec_hash:
            raise StoreError(
                f"{run.files} and {runs[0].files} hold different sweeps: only runs of one sweep can be merged"
            )
        check_same_data(runs[0], run)
        if run.manifest.sweep_id in [other.manifest.sweep_id for other in runs[:i]]:
            raise StoreError(f"{run.files} holds run {run.manifest.sweep_id}, which is given twice")
    if out.list() or any(out.list(table) for table in (*TABLES, CHECKPOINTS, CLASSIFIERS)):
        raise StoreError(f"{out} holds files already; choose an empty folder with --out")
    taken: set[str] = set()
    renamed: dict[str, str] = {}
    for run in runs:
        ids = sorted(run.latest_trials().collect()["trial_id"])
        names = new_names(ids, taken)
        taken |= {names.get(trial, trial) for trial in ids}
        renamed |= {f"{run.files}: {trial}": name for trial, name in names.items()}
        for table in TABLES:
            for part in parts(run.files.list(table), run.names(table)):
                put_merged(out, table, merged_rows(run, table, part, names))
        for name in (*run.files.list(CHECKPOINTS), *run.files.list(CLASSIFIERS)):
            with run.files.open(name) as file:
                out.put(_renamed(name, names), partial(shutil.copyfileobj, file))
    StoreWriter(out).write_manifest(replace(first, sweep_id=uuid4().hex[:12]))
    return renamed


def check_same_data(one: Store, other: Store) -> None:
    """Refuse two runs whose data are known to differ: their numbers cannot be compared.

    Raises:
        StoreError: names both fingerprints.
    """
    prints = one.manifest.data_fingerprint, other.manifest.data_fingerprint
    if all(prints) and prints[0] != prints[1]:
        raise StoreError(
            f"{one.files} and {other.files} hold trials of different data: their fingerprints are "
            f"{prints[0]} and {prints[1]}"
        )


def new_names(trials: Sequence[str], taken: set[str]) -> dict[str, str]:
    """Return a free name for each trial whose config's name is taken; its other seeds are renamed with it.

    A sweep's configs get the next numbers, others a suffix.

    >>> new_names(["t0000", "t0001", "t0001-s1", "t0002"], {"t0001"})
    {'t0001': 't0003', 't0001-s1': 't0003-s1'}
    >>> new_names(["ab12-s0", "ab12-s1"], {"ab12-s0", "ab12.2-s0"})
    {'ab12-s0': 'ab12.3-s0', 'ab12-s1': 'ab12.3-s1'}
    """
    used = {config_of(trial) for trial in (*trials, *taken)}
    others = {config_of(trial) for trial in taken}
    moved: dict[str, str] = {}
    for config in dict.fromkeys(map(config_of, trials)):
        if config not in others:
            continue
        if re.fullmatch(r"t\d+", config):
            highest = max(int(name[1:]) for name in used if re.fullmatch(r"t\d+", name))
            moved[config] = f"t{highest + 1:04d}"
        else:
            moved[config] = next(n for k in count(2) if (n := f"{config}.{k}") not in used)
        used.add(moved[config])
    return {t: moved[c] + t.removeprefix(c) for t in trials if (c := config_of(t)) in moved}


def config_of(trial: str) -> str:
    """Return a trial's name without its seed, as in t0004-s1."""
    return re.sub(r"-s\d+$", "", trial)


def _renamed(checkpoint: str, names: Mapping[str, str]) -> str:
    path = PurePosixPath(checkpoint)
    # A single trial's checkpoints carry the attempt at the end.
    trial, dash, attempt = path.stem.rpartition("-")
    stem = names.get(path.stem) or (names.get(trial, trial) + dash + attempt)
    return str(path.with_stem(stem))
