"""What any place must hold that a store lives in: a folder, and a bucket of an S3-compatible server."""

import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

from sweep.errors import StoreError
from sweep.store.files import files_at
from sweep.store.layout import KEYS
from sweep.store.maintenance import compact, merge_runs
from sweep.store.read import Store, open_store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter
from sweep.verify import problems

NAMES = ("m0", "m1")


@pytest.fixture(params=["folder", "s3"])
def root(request, tmp_path):
    """Give an empty place of either kind."""
    return str(tmp_path / "x") if request.param == "folder" else request.getfixturevalue("s3")


@pytest.fixture
def files(root):
    """Give its files."""
    return files_at(root)


def content(store):
    """Return the rows of every table, sorted."""
    return {table: sorted(store.table(table).collect().rows(), key=repr) for table in TABLES}


def test_put_open_list_delete(files):
    """What is put can be read and is listed with its size until it is deleted, which may be twice."""
    assert files.list("a") == {}
    assert files.empty()
    files.put("a/two", lambda file: file.write(b"22"))
    files.put("a/one", lambda file: file.write(b"old"))
    files.put("a/one", lambda file: file.write(b"1"))
    assert list(files.list("a").items()) == [("a/one", 1), ("a/two", 2)]
    assert files.list() == {}
    assert not files.empty()
    with files.open("a/one") as file:
        assert file.read() == b"1"
    for _ in range(2):
        files.delete("a/one")
    assert list(files.list("a")) == ["a/two"]
    with pytest.raises(FileNotFoundError):
        files.open("a/one")
    for _ in range(2):
        files.drop("a")
    assert files.list("a") == {}


def test_large_file_comes_back(files):
    """Content of several parts is the same, byte by byte."""
    content = bytes(range(256)) * (12 * 2**12)
    files.put("a/large", lambda file: file.write(content))
    assert files.list("a") == {"a/large": 12 * 2**20}
    with files.open("a/large") as file:
        assert file.read() == content


def test_half_a_file_is_never_there(files):
    """If writing fails midway the old content stands, and nothing else is listed."""

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    files.put("a/one", lambda file: file.write(b"old"))
    for name in ("a/one", "a/two"):
        with pytest.raises(RuntimeError, match="power cut"):
            files.put(name, fail)
    assert files.list("a") == {"a/one": 3}


def test_file_on_disk_is_stored_when_it_changed(files):
    """A path where libraries write: what they wrote is stored when that is asked for, and found next time."""
    with files.on_disk("a/w") as (path, send):
        assert not path.exists()
        send()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"one")
        send()
    assert files.list("a") == {"a/w": 3}
    with files.on_disk("a/w") as (path, send):
        assert path.read_bytes() == b"one"
        path.write_bytes(b"three")
        send()
    with files.open("a/w") as file:
        assert file.read() == b"three"


def test_every_table_and_the_manifest_come_back(root, make_sweep, tmp_path):
    """A sweep that is written there gives the same tables as one in a folder."""
    make_sweep(root)
    store, expected = open_store(root), Store(make_sweep(tmp_path / "folder"))
    assert store.manifest == expected.manifest
    assert content(store) == content(expected)
    done = store.trials().filter(status="completed").select("o_log_likelihood", "trial_id").sort("trial_id")
    assert done.collect().rows() == [(-1500.0, "t0000"), (-1501.0, "t0001")]


def test_writer_that_is_retried_leaves_no_rows_twice(root, make_sweep):
    """Everything written a second time is read once: a file is named by its content."""
    before = content(Store(make_sweep(root)))
    make_sweep(root)
    store = Store(root)
    assert content(store) == before
    assert len(store.names("trials")) == 7
    assert list(problems(store)) == []


def test_missing_store_is_said(root):
    """A place that holds nothing and one without a manifest are told apart."""
    files = files_at(root)
    with pytest.raises(StoreError) as error:
        open_store(root)
    assert str(error.value) == f"there is no results folder {files}"
    files.put("a", lambda file: file.write(b"1"))
    with pytest.raises(StoreError) as error:
        open_store(root)
    assert str(error.value) == f"{files} is not a results folder: it holds no sweep.json"


def test_a_manifest_is_replaced(root, make_manifest):
    """The manifest that was written last is the one that is read."""
    writer = StoreWriter(root)
    writer.write_manifest(make_manifest())
    writer.write_manifest(replace(make_manifest(), git_revision="def5678"))
    assert open_store(root).manifest.git_revision == "def5678"


def test_frame_outlives_a_compaction(root, make_sweep):
    """Each table becomes one file of the same rows, also for a frame from before; again, nothing changes."""
    store = Store(make_sweep(root))
    before = content(store)
    frames = {table: store.table(table) for table in TABLES}
    counts = compact(store)
    assert [counts[table] for table in ("trials", "epochs", "samples")] == [(7, 1), (5, 1), (2, 1)]
    assert {table: sorted(frames[table].collect().rows(), key=repr) for table in TABLES} == before
    assert content(store) == before
    assert compact(store)["trials"] == (1, 1)
    assert list(problems(store)) == []


def test_verify_names_a_file_cut_off(root, make_sweep):
    """A file that lost its end is named, and nothing else."""
    store = Store(make_sweep(root))
    name = store.names("samples")[0]
    with store.files.open(name) as file:
        half = file.read()[:-9]
    store.files.put(name, lambda file: file.write(half))
    (problem,) = problems(store)
    assert problem.startswith(f"{store.files}/{name} cannot be read: ")


def test_runs_are_merged_with_their_weights(root, make_sweep, tmp_path):
    """Trials of two places and their checkpoints come together in a third."""
    make_sweep(f"{root}/a", "run-a")
    make_sweep(tmp_path / "b", "run-b", first=2)
    runs = [Store(f"{root}/a"), Store(tmp_path / "b")]
    for run in runs:
        run.files.put("checkpoints/t0002.safetensors", lambda file: file.write(b"weights"))
    renamed = merge_runs(runs, files_at(f"{root}/c"))
    assert list(renamed.values()) == ["t0006", "t0007"]
    store = open_store(f"{root}/c")
    assert store.latest_trials().collect().height == 8
    assert list(store.files.list("checkpoints").values()) == [7, 7]
    for table in TABLES:
        found = store.table(table).collect()
        assert found.height == sum(run.table(table).collect().height for run in runs)
        assert found.select(KEYS[table]).n_unique() == found.height


WRITER = """
    import sys
    from datetime import datetime, UTC
    from mopoe.reports import EpochReport
    from sweep.store.records import TrialRecord
    from sweep.store.write import StoreWriter
    root, me, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    writer = StoreWriter(root)
    for i in range(n):
        now = datetime.now(UTC)
        writer.write_trial(TrialRecord(trial_id=f"{me}{i}", config_id="c", seed=0, status="running",
                                       epochs=0, epochs_max=1, started_at=now, config_json="{}"))
        report = EpochReport(epoch=1, step=1, examples=1, seconds=1.0, loss=1.0, elbo=1.0,
                             reconstruction={"m0": 1.0}, kl=1.0, lr=1.0, grad_norm=1.0, evaluation=None)
        writer.write_reports(f"{me}{i}", 0, [report], ("m0",))
"""
COMPACTOR = """
    import sys, time
    from sweep.store.maintenance import compact
    from sweep.store.read import Store
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        compact(Store(sys.argv[1]))
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    """Start a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_reader_beside_writers_and_compactors_loses_nothing(root):
    """Two processes write and two compact: no read fails, no row is there twice, none goes away."""
    n = 10 if root.startswith("s3") else 30
    processes = [start(WRITER, root, me, n) for me in "ab"]
    processes += [start(COMPACTOR, root, 3) for _ in range(2)]
    seen: dict[str, set[str]] = {"trials": set(), "epochs": set()}
    store, reads = Store(root), 0
    while any(process.poll() is None for process in processes):
        for table, before in seen.items():
            found = store.table(table).select("trial_id").collect()["trial_id"].to_list()
            assert len(set(found)) == len(found)
            assert before <= set(found)
            seen[table] = set(found)
        reads += 1
        time.sleep(0.005)
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    names = {f"{me}{i}" for me in "ab" for i in range(n)}
    assert {table: set(store.table(table).collect()["trial_id"]) for table in seen} == dict.fromkeys(
        seen, names
    )
    assert reads > 5
