import shutil
from dataclasses import replace

import polars as pl
import pyarrow.parquet as pq
import pytest

from sweep.errors import StoreError
from sweep.store.files import LocalFiles
from sweep.store.maintenance import compact, parts
from sweep.store.read import Store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter

NAMES = ("m0", "m1")


def content(store: Store) -> dict[str, list]:
    """Return the rows of every table, sorted."""
    return {table: sorted(store.table(table).collect().rows(), key=repr) for table in TABLES}


class StopError(Exception):
    """The process is killed here."""


class Stopping(LocalFiles):
    """Files whose n-th change does not happen, nor any after it."""

    def __init__(self, folder, changes):
        super().__init__(folder)
        self.left = changes

    def _step(self):
        if self.left == 0:
            raise StopError
        self.left -= 1

    def put(self, name, write):
        self._step()
        super().put(name, write)

    def delete(self, name):
        self._step()
        super().delete(name)


def test_rows_stay_the_same_and_files_become_one(tmp_path, make_sweep):
    """Each table becomes one file with the same rows; a second compaction changes nothing."""
    store = Store(make_sweep(tmp_path))
    before = content(store)
    counts = compact(store)
    assert counts == {
        "trials": (7, 1),
        "epochs": (5, 1),
        "subset_metrics": (2, 1),
        "pair_coherence": (2, 1),
        "samples": (2, 1),
    } | {table: (0, 0) for table in TABLES if table not in before or not before[table]}
    assert content(store) == before
    names = {table: store.names(table) for table in TABLES}
    compact(store)
    assert {table: store.names(table) for table in TABLES} == names


def test_merged_file_keeps_what_the_files_say(tmp_path, make_record):
    """Types are those of the schema, wider where files differ; units and descriptions are kept."""
    writer = StoreWriter(tmp_path)
    writer.write_trial(make_record("t1", parameters={"a": 1, "b": 2}))
    writer.write_trial(make_record("t2", parameters={"a": 1.5, "c": "x"}))
    store = Store(tmp_path)
    compact(store)
    (name,) = store.names("trials")
    schema = pq.read_schema(tmp_path / name)
    assert schema.remove_metadata().names[: len(TABLES["trials"].names)] == TABLES["trials"].names
    assert all(schema.field(f.name).equals(f, check_metadata=True) for f in TABLES["trials"])
    assert [str(schema.field(n).type) for n in ("p_a", "p_b", "p_c")] == ["double", "int64", "string"]
    assert schema.field("p_c").metadata == {b"description": b"Searched setting c."}
    assert schema.metadata == TABLES["trials"].metadata


def test_stopped_anywhere_the_rows_are_the_same(tmp_path, make_sweep):
    """After every number of steps the same rows are read, and the next compaction finishes."""
    made = make_sweep(tmp_path / "made")
    for table in set(TABLES) - {"trials", "epochs"}:
        shutil.rmtree(made / table, ignore_errors=True)
    before = content(Store(made))
    for steps in range(7 + 5 + 2):  # every file deleted, and a merged file for each of the two tables
        root = shutil.copytree(made, tmp_path / str(steps))
        with pytest.raises(StopError):
            compact(Store(Stopping(root, steps)))
        assert content(Store(root)) == before, steps
        compact(Store(root))
        assert content(Store(root)) == before, steps
        assert [len(Store(root).names(table)) for table in ("trials", "epochs")] == [1, 1]
    compact(Store(Stopping(made, 7 + 5 + 2)))


def test_row_that_is_read_stays_the_row_that_is_read(tmp_path, make_report):
    """Of an epoch reported twice with other wall times, one is read before, during and after."""
    writer = StoreWriter(tmp_path)
    for seconds in range(6):
        report = replace(make_report(1, NAMES), seconds=float(seconds))
        writer.write_reports("t1", 0, [report], NAMES if seconds % 2 else NAMES[:1])
    (before,) = Store(tmp_path).epochs().collect()["seconds"]
    for changes in range(1, 5):
        with pytest.raises(StopError):
            compact(Store(Stopping(tmp_path, changes)))
        assert Store(tmp_path).epochs().collect()["seconds"].to_list() == [before]
    compact(Store(tmp_path))
    assert Store(tmp_path).epochs().collect()["seconds"].to_list() == [before]


def test_frame_outlives_the_files_it_was_made_from(tmp_path, make_sweep):
    """A frame from before a compaction is collected after it."""
    store = Store(make_sweep(tmp_path))
    expected = store.epochs().sort("trial_id", "epoch").collect()
    frame = store.epochs().sort("trial_id", "epoch")
    compact(store)
    assert frame.collect().equals(expected)
    assert frame.filter(pl.col("epoch") == 2).select("loss").collect().height == 2


def test_column_that_becomes_wider_under_a_frame_is_said(tmp_path, make_record):
    """A frame promised whole numbers; it does not cut off what came since, but asks to be made again."""
    writer, store = StoreWriter(tmp_path), Store(tmp_path)
    writer.write_trial(make_record("t1", parameters={"a": 1}))
    frame = store.trials()
    writer.write_trial(make_record("t2", parameters={"a": 1.5}))
    compact(store)
    with pytest.raises(StoreError) as error:
        frame.collect()
    assert str(error.value) == "p_a was Int64 and has become Float64 meanwhile; ask for the table again"
    assert store.trials().sort("trial_id").collect()["p_a"].to_list() == [1.0, 1.5]


def test_file_that_stays_away_is_said(tmp_path, make_record):
    """A file that is listed but never there ends in a sentence, not in an endless search."""

    class Ghost(LocalFiles):
        def list(self, folder=""):
            return super().list(folder) | {f"{folder}/ghost.parquet": 1}

    with pytest.raises(
        StoreError, match=r"^a file vanishes again and again while it is read: .*ghost\.parquet"
    ):
        Store(Ghost(tmp_path)).trials()


def test_unknown_table_is_said(tmp_path):
    """A table that does not exist is answered with those that do."""
    with pytest.raises(StoreError, match=r"^there is no table 'trial'; there are: trials, epochs, "):
        Store(tmp_path).table("trial")


def test_large_files_are_left_alone():
    """Files are merged up to the limit, in order; none is lost."""
    sizes = {"a": 3, "b": 2, "c": 9, "d": 1, "e": 1, "f": 1}
    assert list(parts(sizes, list(sizes), limit=5)) == [["a", "b"], ["c"], ["d", "e", "f"]]
    assert list(parts({}, [], limit=5)) == []
    assert list(parts({}, ["gone"], limit=5)) == [["gone"]]
