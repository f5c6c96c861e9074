from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from sweep.errors import StoreError
from sweep.store.files import write_atomically
from sweep.store.read import open_store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter

NAMES = ("m0", "m1")


def test_file_says_what_it_is(tmp_path, make_record):
    """A written file is zstd and keeps schema name, version and column descriptions."""
    StoreWriter(tmp_path).write_trial(make_record())
    (path,) = (tmp_path / "trials").iterdir()
    found = pq.ParquetFile(path)
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    assert found.schema_arrow.metadata[b"schema_name"] == b"trials"
    assert found.schema_arrow.metadata[b"schema_version"] == b"1"
    assert found.schema_arrow.field("seconds").metadata[b"unit"] == b"s"


def test_nothing_is_ever_replaced(tmp_path, make_record, make_report):
    """Other content has another name, the same content the same name; nothing has a dot-name."""
    writer = StoreWriter(tmp_path)
    for beta in (1.0, 1.0, 2.0):
        writer.write_trial(make_record(parameters={"beta": beta}))
        writer.write_reports("t00", 0, [make_report(1, NAMES, beta)], NAMES)
    names = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert len(names) == 4
    assert [n.rsplit("-", 1)[0] for n in names] == ["t00-0-0001-0001"] * 2 + ["t00-0-running"] * 2


def test_reports_without_evaluation_touch_one_table(tmp_path, make_report):
    """Tables that the epochs have no rows for get no file; no epochs write nothing at all."""
    writer = StoreWriter(tmp_path)
    writer.write_reports("t00", 0, [], NAMES)
    assert list(tmp_path.iterdir()) == []
    writer.write_reports("t00", 0, [make_report(1, NAMES)], NAMES)
    assert [p.name for p in tmp_path.iterdir()] == ["epochs"]


def test_reports_with_evaluation_reach_every_table(tmp_path, make_report, make_evaluation):
    """An evaluated epoch gives one file in each table but trials and events."""
    report = make_report(1, NAMES, found=make_evaluation(NAMES, 0.5, -20.0))
    StoreWriter(tmp_path).write_reports("t00", 0, [report], NAMES)
    assert {p.parent.name for p in tmp_path.rglob("*.parquet")} == set(TABLES) - {"trials", "events"}


def test_another_sweeps_folder_is_left_alone(tmp_path, make_manifest):
    """A manifest does not replace that of another sweep, and does replace its own."""
    writer = StoreWriter(tmp_path)
    first = make_manifest()
    writer.write_manifest(first)
    with pytest.raises(StoreError) as error:
        writer.write_manifest(replace(first, sweep_id="other"))
    assert str(error.value) == (
        f"{tmp_path} holds the results of another sweep, 'made-up' (digits-20260102): choose another folder"
    )
    writer.write_manifest(replace(first, git_revision="def5678"))
    assert open_store(tmp_path).manifest.git_revision == "def5678"


@pytest.mark.parametrize("trial", ["", "../t", "a/b", ".t", "-t", "t 1", "ä"])
def test_trial_name_must_suit_a_file(tmp_path, make_record, trial):
    """A trial whose name could leave the folder or hide its file is refused, and nothing is written."""
    with pytest.raises(StoreError, match=r"^the trial is named .*, but must be named with letters, digits"):
        StoreWriter(tmp_path).write_trial(replace(make_record(), trial_id=trial))
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path):
    """If writing fails midway, the old content stands and no temporary file is left."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_unwritable_folder_is_said_in_a_sentence(tmp_path, make_record):
    """A results folder that is a file gives one sentence with the path."""
    (tmp_path / "digits").write_text("")
    with pytest.raises(
        StoreError, match=r"^cannot write .*/digits/trials/t00-0-running-.*: Not a directory$"
    ):
        StoreWriter(tmp_path / "digits").write_trial(make_record())
