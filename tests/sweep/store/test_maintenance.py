"""Compacting the tables of a folder, and merging folders."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pyarrow.parquet as pq
import pytest

from mopoe.config import TrialConfig
from sweep.errors import StoreError
from sweep.search.trial import split_name
from sweep.store.files import LocalFiles
from sweep.store.maintenance import compact, merge_runs, new_names, parts
from sweep.store.read import Store, open_store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter
from sweep.verify import problems

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
        "sample_values": (2, 1),
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
    for _ in range(2):
        with pytest.raises(StoreError) as error:
            frame.collect()
    assert str(error.value) == (
        "column p_a changed from Int64 to Float64 while it was read; read the table again"
    )
    assert store.trials().sort("trial_id").collect()["p_a"].to_list() == [1.0, 1.5]


def test_file_that_stays_away_is_said(tmp_path, make_record):
    """A file that is listed but never there ends in a sentence, not in an endless search."""

    class Ghost(LocalFiles):
        def list(self, folder=""):
            return super().list(folder) | {f"{folder}/ghost.parquet": 1}

    with pytest.raises(StoreError, match=r"^files keep disappearing while they are read: .*ghost\.parquet"):
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


@pytest.fixture
def runs(tmp_path, make_sweep, make_checkpoint):
    """Two runs of one sweep: t0000 to t0003 with a checkpoint each, and t0002 to t0005."""
    roots = [make_sweep(tmp_path / "a", "run-a"), make_sweep(tmp_path / "b", "run-b", first=2)]
    for root, trials in zip(roots, [("t0000", "t0001"), ("t0002", "t0003-0")], strict=True):
        configs = Store(root).latest_trials().select("trial_id", "config_json").collect().rows()
        for trial in trials:
            config = TrialConfig.from_dict(json.loads(dict(configs)[trial.removesuffix("-0")]))
            make_checkpoint(root / "checkpoints" / f"{trial}.safetensors", config)
    return [Store(root) for root in roots]


def test_trials_of_both_runs_are_there_under_names_of_their_own(runs, tmp_path):
    """Names that are taken change everywhere: in each table and in the names of the weights."""
    renamed = merge_runs(runs, LocalFiles(tmp_path / "out"))
    assert renamed == {f"{tmp_path}/b: t0002": "t0006", f"{tmp_path}/b: t0003": "t0007"}
    store = open_store(tmp_path / "out")
    found = store.latest_trials().select("trial_id", "status", "p_beta").collect().rows()
    assert found == [
        ("t0000", "completed", 0.5),
        ("t0001", "completed", 1.5),
        ("t0002", "failed", 2.5),
        ("t0003", "running", 3.5),
        ("t0004", "failed", 4.5),
        ("t0005", "running", 5.5),
        ("t0006", "completed", 2.5),
        ("t0007", "completed", 3.5),
    ]
    for table in TABLES:
        assert store.table(table).collect().height == sum(run.table(table).collect().height for run in runs)
    weights = {p.stem: p.read_bytes() for p in (tmp_path / "out" / "checkpoints").iterdir()}
    olds = {"t0000": "a t0000", "t0001": "a t0001", "t0006": "b t0002", "t0007-0": "b t0003-0"}
    for new, (root, name) in {new: old.split() for new, old in olds.items()}.items():
        assert weights.pop(new) == (tmp_path / root / "checkpoints" / f"{name}.safetensors").read_bytes()
    assert not weights
    assert store.manifest == replace(runs[0].manifest, sweep_id=store.manifest.sweep_id)
    assert store.manifest.sweep_id not in ("run-a", "run-b")
    assert list(problems(store)) == []


def test_only_runs_of_one_sweep_are_merged(runs, tmp_path, make_sweep):
    """Another sweep, the same run twice and an --out that holds files are each refused in a sentence."""
    other = tmp_path / "other"
    StoreWriter(other).write_manifest(replace(runs[0].manifest, spec_hash="x", sweep_id="y"))
    out = LocalFiles(tmp_path / "out")
    with pytest.raises(StoreError) as error:
        merge_runs([runs[0], Store(other)], out)
    assert str(error.value) == (
        f"{other} and {tmp_path}/a hold different sweeps: only runs of one sweep can be merged"
    )
    with pytest.raises(StoreError) as error:
        merge_runs([runs[0], runs[1], runs[0]], out)
    assert str(error.value) == f"{tmp_path}/a holds run run-a, which is given twice"
    with pytest.raises(StoreError) as error:
        merge_runs(runs, LocalFiles(tmp_path / "b"))
    assert str(error.value) == f"{tmp_path}/b holds files already; choose an empty folder with --out"
    assert not (tmp_path / "out").exists()


def test_cut_off_merge_is_no_results_folder(runs, tmp_path):
    """The manifest is written last: what is cut off before cannot be taken for the whole."""

    class Full(LocalFiles):
        def put(self, name, write):
            if name.startswith("samples"):
                raise StoreError("the disk is full")
            super().put(name, write)

    with pytest.raises(StoreError, match="the disk is full"):
        merge_runs(runs, Full(tmp_path / "out"))
    with pytest.raises(StoreError, match=r"is not a results folder: it holds no sweep\.json$"):
        open_store(tmp_path / "out")


def test_new_name_is_free_in_both_runs():
    """A new name is neither taken nor one of the run's own."""
    assert new_names(["a", "a.2", "b"], {"a", "b", "b.2"}) == {"a": "a.3", "b": "b.3"}
    assert new_names(["a"], set()) == {}


def test_seeds_move_with_their_config():
    """Also one whose own name is free: under the old name it would be a seed of the other run's config."""
    taken = {"t0000", "t0009-s2"}
    names = new_names(["t0000", "t0000-s1", "t0001"], taken)
    assert names == {"t0000": "t0010", "t0000-s1": "t0010-s1"}
    assert {split_name(name) for name in names.values()} == {("t0010", 0), ("t0010", 1)}


def test_runs_on_other_data_are_not_merged(runs, tmp_path):
    """By the fingerprints that both know; one of an earlier release knows none."""
    for run, fingerprint in zip(runs, ("f00d", "beef"), strict=True):
        StoreWriter(run.files).write_manifest(replace(run.manifest, data_fingerprint=fingerprint))
    runs = [Store(run.files) for run in runs]
    with pytest.raises(StoreError) as error:
        merge_runs(runs, LocalFiles(tmp_path / "out"))
    assert str(error.value) == (
        f"{tmp_path}/a and {tmp_path}/b hold trials of different data: their fingerprints are f00d and beef"
    )
    assert not (tmp_path / "out").exists()
    StoreWriter(runs[1].files).write_manifest(replace(runs[1].manifest, data_fingerprint=None))
    merge_runs([runs[0], Store(runs[1].files)], LocalFiles(tmp_path / "out"))
