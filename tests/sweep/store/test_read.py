import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import StoreError
from sweep.store.layout import KEYS
from sweep.store.maintenance import compact
from sweep.store.read import Store, may_repeat, open_store, reading
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter

NAMES = ("m0", "m1")


def test_no_folder_is_said(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(StoreError) as error:
        open_store(tmp_path / "nowhere")
    assert str(error.value) == f"there is no results folder {tmp_path / 'nowhere'}"


def test_folder_without_manifest_is_said(tmp_path):
    """A folder of other files is told from one that is empty, and the message says what was looked for."""
    with pytest.raises(StoreError, match=r"^there is no results folder "):
        open_store(tmp_path)
    (tmp_path / "notes").touch()
    with pytest.raises(StoreError) as error:
        open_store(tmp_path)
    assert str(error.value) == f"{tmp_path} is not a results folder: it holds no sweep.json"


def test_damaged_manifest_is_found_on_opening(tmp_path):
    """A manifest cut off midway raises on opening, not later, also if it is no text at all."""
    (tmp_path / "sweep.json").write_text('{"schema_version": 1, "name"')
    with pytest.raises(StoreError, match=r"sweep\.json is damaged: "):
        open_store(tmp_path)
    (tmp_path / "sweep.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match=r"^cannot read .*sweep\.json: "):
        open_store(tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_empty_store_has_empty_tables(tmp_path, name):
    """Before anything is written each table is empty and has its fixed columns."""
    frame = getattr(Store(tmp_path), name)().collect()
    assert frame.height == 0
    assert frame.columns == TABLES[name].names
    assert frame.schema["trial_id"] == pl.String


def test_round_trip_keeps_values_and_utc(tmp_path, make_record):
    """A trial comes back with its values; a time in another zone comes back as the same instant in UTC."""
    from zoneinfo import ZoneInfo

    start = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Asia/Kolkata"))
    record = make_record(started_at=start, parameters={"beta": 2.5}, objectives={"x": math.nan}, seconds=1.5)
    StoreWriter(tmp_path).write_trial(record)
    (row,) = Store(tmp_path).trials().collect().to_dicts()
    assert row["started_at"] == datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
    assert (row["p_beta"], row["seconds"], row["error"]) == (2.5, 1.5, None)
    assert math.isnan(row["o_x"])


def test_final_record_wins_in_any_order_of_writing(tmp_path, make_record):
    """Of a trial's records the final one is read, even if `running` was written later."""
    writer = StoreWriter(tmp_path)
    end = datetime(2026, 1, 3, tzinfo=UTC)
    writer.write_trial(make_record("t1", status="completed", ended_at=end))
    writer.write_trial(make_record("t1"))
    writer.write_trial(make_record("t2"))
    writer.write_trial(make_record("t3", status="stopped", ended_at=end))
    writer.write_trial(make_record("t3", status="failed", ended_at=end + timedelta(seconds=1)))
    found = Store(tmp_path).latest_trials().collect()
    assert dict(found.select("trial_id", "status").iter_rows()) == {
        "t1": "completed",
        "t2": "running",
        "t3": "failed",
    }


def test_latest_trial_is_its_last_attempt(tmp_path, make_record):
    """`trials` keeps each attempt; `latest_trials` the last alone, also the eleventh."""
    writer = StoreWriter(tmp_path)
    end = datetime(2026, 1, 3, tzinfo=UTC)
    for attempt in (10, 2):
        writer.write_trial(make_record("t1", attempt=attempt, status="failed", ended_at=end))
    store = Store(tmp_path)
    assert sorted(store.trials().collect()["attempt"]) == [2, 10]
    assert store.latest_trials().collect()["attempt"].to_list() == [10]


def test_files_may_differ_in_columns_and_number_types(tmp_path, make_record):
    """An absent column is null, a whole number beside a float becomes one, and text wins over numbers."""
    writer = StoreWriter(tmp_path)
    writer.write_trial(make_record("t1", parameters={"a": 1, "b": 2, "c": 0.5}))
    writer.write_trial(make_record("t2", parameters={"a": 1.5, "b": 3, "c": "auto"}))
    writer.write_trial(make_record("t3", parameters={"d": "x"}))
    found = Store(tmp_path).latest_trials().select("^p_.*$").collect()
    assert found.to_dict(as_series=False) == {
        "p_a": [1.0, 1.5, None],
        "p_b": [2, 3, None],
        "p_c": ["0.5", "auto", None],
        "p_d": [None, None, "x"],
    }
    assert found.schema["p_b"] == pl.Int64


def test_fixed_columns_take_the_types_of_the_schema(tmp_path):
    """A file that stores a fixed column in a narrower type is read in the schema's type."""
    (tmp_path / "epochs").mkdir()
    table = pa.table({"trial_id": ["t"], "attempt": [0], "epoch": [1], "loss": pa.array([1.5], pa.float32())})
    pq.write_table(table, tmp_path / "epochs" / "a.parquet")
    found = Store(tmp_path).epochs().collect()
    assert found.schema["epoch"] == pl.Int32
    assert found.schema["loss"] == pl.Float64
    assert found["loss"].to_list() == [1.5]
    assert found["kl"].to_list() == [None]


def test_metrics_of_an_earlier_release_have_no_target(tmp_path, make_report, make_evaluation):
    """Files without the column are read beside those with it, as null, and no row is lost."""
    found = make_evaluation(NAMES, 0.5, -20.0)
    StoreWriter(tmp_path).write_reports("t1", 0, [make_report(1, NAMES, found=found)], NAMES)
    for table, column in (("subset_metrics", "target"), ("pair_coherence", "measure")):
        (path,) = (tmp_path / table).iterdir()
        old = pq.read_table(path).drop_columns([column])
        path.unlink()
        pq.write_table(old, path.with_name("old.parquet"))
    later = replace(
        found, subset_metrics=(*found.subset_metrics, replace(found.subset_metrics[0], target="m1"))
    )
    StoreWriter(tmp_path).write_reports("t2", 0, [make_report(1, NAMES, found=later)], NAMES)
    metrics = Store(tmp_path).subset_metrics().collect()
    assert metrics.filter(trial_id="t1")["target"].to_list() == [None] * 3
    assert sorted(metrics.filter(trial_id="t2")["target"].to_list(), key=str) == [None, None, None, "m1"]
    pairs = Store(tmp_path).pair_coherence().collect()
    assert pairs.filter(trial_id="t1")["measure"].unique().to_list() == [None]


def test_epochs_reported_twice_are_read_once(tmp_path, make_report):
    """A trial that resumed from a checkpoint and reported an epoch again has one row for it."""
    writer = StoreWriter(tmp_path)
    writer.write_reports("t1", 0, [make_report(e, NAMES) for e in (1, 2)], NAMES)
    writer.write_reports("t1", 0, [make_report(e, NAMES) for e in (2, 3)], NAMES)
    assert sorted(Store(tmp_path).epochs().collect()["epoch"]) == [1, 2, 3]


def test_few_columns_of_rows_with_one_key(tmp_path, make_report, make_record):
    """What is asked for need neither hold the key nor what decides between rows, and a filter comes after."""
    writer, store = StoreWriter(tmp_path), Store(tmp_path)
    for epochs in ((1, 2), (2, 3)):
        writer.write_reports("t1", 0, [make_report(e, NAMES) for e in epochs], NAMES)
    writer.write_trial(make_record("t1"))
    writer.write_trial(make_record("t1", status="completed", ended_at=datetime(2026, 1, 3, tzinfo=UTC)))
    for _ in range(2):
        assert store.epochs().select("loss").collect().height == 3
        assert store.epochs().filter(pl.col("loss") > 0).select("kl").collect().height == 3
        assert store.epochs().select(pl.len()).collect().item() == 3
        assert store.epochs().head(2).collect().height == 2
        assert store.trials().filter(status="running").select("seed").collect().height == 0
        compact(store)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("t1-0", "t1-1", "t1-1-2")), st.integers(1, 9), st.integers(0, 3))))
def test_names_tell_whether_a_key_may_be_there_twice(files):
    """They do for reports exactly, however a trial is named; beside a compacted file any key may be."""
    names = [
        f"epochs/{trial}-{first:04}-{first + n:04}-{i:08x}.parquet"
        for i, (trial, first, n) in enumerate(files)
    ]
    keys = [(trial, epoch) for trial, first, n in files for epoch in range(first, first + n + 1)]
    assert may_repeat(names) == (len(set(keys)) < len(keys))
    assert may_repeat([*names, "epochs/compact-00001-0a1b2c3d.parquet"]) == bool(names)
    assert may_repeat(["epochs/mine.parquet"])


@pytest.mark.parametrize("name", TABLES)
def test_no_two_rows_share_a_key(made_up_sweep, name):
    """The key of each table names its rows."""
    frame = getattr(open_store(made_up_sweep), name)().collect()
    assert frame.height > 0
    assert frame.select(KEYS[name]).n_unique() == frame.height


def test_store_grows_while_it_is_open(tmp_path, make_record):
    """Each call sees the files there are now, and none that is still being written."""
    writer, store = StoreWriter(tmp_path), Store(tmp_path)
    writer.write_trial(make_record("t1"))
    assert store.trials().collect().height == 1
    (tmp_path / "trials" / ".t2-0-running-0.parquet").write_bytes(b"PAR1 half a file")
    writer.write_trial(make_record("t3"))
    assert sorted(store.trials().collect()["trial_id"]) == ["t1", "t3"]


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_damaged_file_is_named(tmp_path, make_record, keep):
    """A file cut off at any place is named in one sentence."""
    StoreWriter(tmp_path).write_trial(make_record())
    (path,) = (tmp_path / "trials").iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError) as error:
        Store(tmp_path).trials()
    assert str(error.value) == f"{path} cannot be read: its content has changed since it was written"
    old = path.rename(path.with_name("of-an-earlier-release.parquet"))
    with pytest.raises(StoreError) as error:
        Store(tmp_path).trials()
    assert str(error.value).startswith(f"{old} cannot be read as Parquet: ")


def test_newer_file_is_refused(tmp_path, make_record):
    """A file of a newer schema is named, with its version and ours."""
    StoreWriter(tmp_path).write_trial(make_record())
    (path,) = (tmp_path / "trials").iterdir()
    table = pq.read_table(path)
    newer = table.replace_schema_metadata(table.schema.metadata | {b"schema_version": b"2"})
    path = path.rename(path.with_name("newer.parquet"))
    pq.write_table(newer, path)
    with pytest.raises(StoreError) as error:
        Store(tmp_path).trials()
    assert str(error.value).startswith(
        f"{path} has schema version 2, but this release reads versions up to 1"
    )


def test_folder_names_are_taken_literally(tmp_path, make_record):
    """A results folder whose name holds wildcard signs is read as it is."""
    root = tmp_path / "beta[0-9]*"
    StoreWriter(root).write_trial(make_record("t1"))
    assert Store(root).trials().collect()["trial_id"].to_list() == ["t1"]


@pytest.mark.parametrize("word", ["NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "Failed to flush response stream"])
def test_object_that_goes_away_while_it_is_read_is_absent(word):
    """In either of S3's words, so that reading begins anew; any other error is said."""
    with pytest.raises(FileNotFoundError), reading("cannot read x"):
        raise OSError(f"When reading information: AWS Error {word} during GetObject operation: gone")
    with (
        pytest.raises(StoreError, match=r"^cannot read x: AWS Error ACCESS_DENIED$"),
        reading("cannot read x"),
    ):
        raise OSError("AWS Error ACCESS_DENIED")


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_several_final_records_the_last_counts(tmp_path, make_record, names):
    """Whatever their files are named: the one that ended later, of two that ended at once the later begun."""
    begin, writer, store = datetime(2026, 1, 3, tzinfo=UTC), StoreWriter(tmp_path), Store(tmp_path)
    failed = {"status": "failed", "error": "first", "ended_at": begin}
    done = {"status": "completed", "ended_at": begin + timedelta(seconds=1)}
    for name, ended in zip(names, (failed, done), strict=True):
        writer.write_trial(make_record("t1", **ended))
        for path in (tmp_path / "trials").glob("t1-*"):
            path.rename(path.with_name(f"{name}.parquet"))
    writer.write_trial(make_record("t1"))
    for _ in range(2):
        rows = store.trials().collect()
        assert rows.select("status", "error").rows() == [("completed", None)]
        compact(store)
    again = {"status": "failed", "error": "again", "ended_at": done["ended_at"]}
    writer.write_trial(make_record("t1", started_at=begin, **again))
    assert store.trials().collect()["error"].to_list() == ["again"]


def test_a_listing_in_mid_compaction_is_looked_at_again(tmp_path, make_record, monkeypatch):
    """It may lack the files that were merged and the one that they became: no row may be missing."""
    writer, store = StoreWriter(tmp_path), Store(tmp_path)
    for trial in ("t1", "t2", "t3"):
        writer.write_trial(make_record(trial))
    compact(store)
    writer.write_trial(make_record("t4"))
    (compacted,) = [name for name in store.names("trials") if "/compact-" in name]
    whole, listings = type(store.files).list, []

    def stale(files, folder=""):
        listings.append(folder)
        found = whole(files, folder)
        return {n: size for n, size in found.items() if n != compacted} if len(listings) == 1 else found

    monkeypatch.setattr(type(store.files), "list", stale)
    assert store.names("trials")[0] == compacted
    listings.clear()
    assert sorted(store.trials().collect()["trial_id"]) == ["t1", "t2", "t3", "t4"]


def test_every_file_of_a_table_has_the_columns_of_all(tmp_path, make_record, make_report, make_evaluation):
    """Other readers take the columns of the first file for those of the table: of trials and of epochs."""
    import duckdb
    import pandas as pd
    import pyarrow.dataset as ds

    kinds = {"beta": float, "latent_dim": int, "prior_expert": str}
    writer = StoreWriter(tmp_path, kinds)
    writer.write_trial(make_record("t1"))
    values = {"conditional_coherence": 0.5, "log_likelihood": -7.0}
    parameters = {"beta": 2.0, "latent_dim": 4, "prior_expert": "all"}
    writer.write_trial(make_record("t2", status="completed", objectives=values, parameters=parameters))
    found = make_evaluation(NAMES, 0.5, -20.0)
    writer.write_reports("t1", 0, [make_report(1, NAMES)], NAMES)
    writer.write_reports("t1", 0, [make_report(2, NAMES, found=found)], NAMES)
    for table in ("trials", "epochs"):
        schemas = {str(pq.read_schema(path).remove_metadata()) for path in (tmp_path / table).iterdir()}
        assert len(schemas) == 1
        for columns in (
            pl.read_parquet(tmp_path / table / "*.parquet").columns,
            ds.dataset(tmp_path / table).schema.names,
            list(pd.read_parquet(tmp_path / table).columns),
            duckdb.sql(f"select * from '{tmp_path}/{table}/*.parquet'").columns,
        ):
            assert {"o_conditional_coherence", "o_joint_coherence", "o_log_likelihood"} <= set(columns)
    trials = pl.read_parquet(tmp_path / "trials" / "*.parquet")
    assert [trials.schema[f"p_{name}"] for name in kinds] == [pl.Float64, pl.Int64, pl.String]


@pytest.mark.parametrize("error", [pl.exceptions.PanicException("index out of bounds"), ValueError("bad")])
def test_whatever_a_reader_raises_names_the_file(error):
    """Polars' panic is no `Exception`, and names none."""
    with pytest.raises(StoreError, match=r"^cannot read x: (index|bad)"), reading("cannot read x"):
        raise error
