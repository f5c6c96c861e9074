"""Files, and the tables in them, as writers make them."""

import math
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mopoe.reports import SubsetMetric
from sweep.errors import StoreError
from sweep.store import write as tables
from sweep.store.files import write_atomically
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


@pytest.mark.parametrize("trial", ["", "../t", "a/b", ".t", "-t", "t 1", "ä"])
def test_trial_name_must_suit_a_file(tmp_path, make_record, trial):
    """A trial whose name could leave the folder or hide its file is refused, and nothing is written."""
    with pytest.raises(StoreError, match=r"^the trial is named .*, but a name consists of letters, digits"):
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


def test_trial_row_has_typed_parameters(make_record):
    """A searched setting keeps its type in a column of its own: float, whole number or text."""
    table = tables.trial_table(make_record(parameters={"beta": 2.0, "latent_dim": 64, "prior_expert": "all"}))
    kinds = {c.name: c.type for c in table.schema if c.name.startswith("p_")}
    assert kinds == {"p_beta": pa.float64(), "p_latent_dim": pa.int64(), "p_prior_expert": pa.string()}
    row = table.to_pylist()[0]
    assert (row["p_beta"], row["p_latent_dim"], row["p_prior_expert"]) == (2.0, 64, "all")


def test_trial_row_tells_not_measured_from_not_a_number(make_record):
    """An absent time is null, as is an objective that was not measured; a measured NaN stays NaN."""
    table = tables.trial_table(make_record(objectives={"log_likelihood": math.nan}))
    row = table.to_pylist()[0]
    assert row["ended_at"] is None
    assert math.isnan(row["o_log_likelihood"])
    assert table["o_log_likelihood"].null_count == 0
    assert row["o_conditional_coherence"] is None


def test_epochs_have_objectives_only_where_evaluated(make_report, make_evaluation):
    """An epoch without evaluation has null objectives; one with has the values."""
    reports = [make_report(1, NAMES), make_report(2, NAMES, found=make_evaluation(NAMES, 0.5, -20.0))]
    rows = tables.epoch_table("t", 1, reports, NAMES).to_pylist()
    assert [r["o_conditional_coherence"] for r in rows] == [None, 0.5]
    assert [r["o_log_likelihood"] for r in rows] == [None, -20.0]
    assert [r["evaluation_seconds"] for r in rows] == [None, 1.5]
    assert [(r["trial_id"], r["attempt"], r["epoch"], r["step"]) for r in rows] == [
        ("t", 1, 1, 4),
        ("t", 1, 2, 8),
    ]
    assert (rows[0]["reconstruction_m0"], rows[0]["reconstruction_m1"]) == (100.0, 101.0)


def test_subsets_carry_label_and_size(make_report, make_evaluation):
    """Each subset of two modalities is labelled and counted."""
    found = {3: make_evaluation(NAMES, 0.5, -20.0)}
    rows = tables.measured_table("subset_metrics", "t", 0, found, NAMES).to_pylist()
    assert [(r["subset_mask"], r["subset_label"], r["subset_size"], r["value"]) for r in rows] == [
        (1, "m0", 1, 10.0),
        (2, "m1", 1, 10.0),
        (3, "m0+m1", 2, 20.0),
    ]


def test_metrics_may_be_about_a_target_or_the_prior(make_report, make_evaluation):
    """One subset and metric has a row for each target; subset 0 is the prior; no error is null, not NaN."""
    metrics = (
        SubsetMetric(subset_mask=1, metric="frechet", target="m0", value=2.0, n=10),
        SubsetMetric(subset_mask=1, metric="frechet", target="m1", value=3.0, n=10),
        SubsetMetric(subset_mask=0, metric="joint_coherence", value=0.5, stderr=0.1, n=25),
    )
    found = replace(
        make_evaluation(NAMES, 0.5, -20.0), subset_metrics=metrics, classifiers="abc", pair_coherence=()
    )
    report = make_report(3, NAMES, found=found)
    rows = tables.measured_table("subset_metrics", "t", 0, {3: found}, NAMES).to_pylist()
    assert [(r["target"], r["value"], r["stderr"], r["subset_label"], r["subset_size"]) for r in rows] == [
        ("m0", 2.0, None, "m0", 1),
        ("m1", 3.0, None, "m0", 1),
        (None, 0.5, 0.1, "", 0),
    ]
    epochs = tables.epoch_table("t", 0, [make_report(2, NAMES), report], NAMES).to_pylist()
    assert [r["classifiers"] for r in epochs] == [None, "abc"]


def test_pairs_say_whether_the_target_was_observed(make_report, make_evaluation):
    """`in_source` holds exactly where the target's bit is set in the source."""
    found = {3: make_evaluation(NAMES, 0.5, -20.0)}
    rows = tables.measured_table("pair_coherence", "t", 0, found, NAMES).to_pylist()
    assert [(r["source_label"], r["target"], r["in_source"]) for r in rows] == [
        ("m0", "m0", True),
        ("m0", "m1", False),
        ("m1", "m0", False),
        ("m1", "m1", True),
        ("m0+m1", "m0", True),
        ("m0+m1", "m1", True),
    ]
    assert {(r["chance"], r["measure"]) for r in rows} == {(0.12, "accuracy")}


def test_a_pair_that_is_always_right_has_an_interval(make_report, make_evaluation):
    """Wilson's of 100 of 100, although the standard error is 0; 1.96 errors of an average precision."""
    found = make_evaluation(NAMES, 0.5, -20.0)
    right = replace(found.pair_coherence[0], value=1.0, stderr=0.0)
    precise = replace(found.pair_coherence[1], value=0.9, stderr=0.1, measure="average_precision")
    found = {3: replace(found, pair_coherence=(right, precise))}
    rows = tables.measured_table("pair_coherence", "t", 0, found, NAMES).to_pylist()
    z = 1.959964
    assert (rows[0]["low"], rows[0]["high"]) == (pytest.approx(1 / (1 + z**2 / 100)), pytest.approx(1.0))
    assert (rows[1]["low"], rows[1]["high"]) == (pytest.approx(0.9 - 0.1 * z), 1.0)


def test_samples_keep_bytes_and_labels(make_report, make_evaluation):
    """A strip comes back byte for byte with its labels."""
    found = make_evaluation(NAMES, 0.5, -20.0)
    rows = tables.measured_table("samples", "t", 0, {3: found}, NAMES).to_pylist()
    assert [(r["kind"], r["source_mask"], r["source_label"], r["png"], tuple(r["labels"])) for r in rows] == [
        (p.kind, p.source_mask, {0: "", 1: "m0", 2: "m1", 3: "m0+m1"}[p.source_mask], p.png, p.labels)
        for p in found.pictures
    ]


def test_unevaluated_epochs_give_empty_tables_of_the_schema(make_report):
    """Without an evaluation the long tables have no rows, yet their schema."""
    for make, name in (
        (partial(tables.measured_table, "subset_metrics"), "subset_metrics"),
        (partial(tables.measured_table, "pair_coherence"), "pair_coherence"),
        (partial(tables.measured_table, "samples"), "samples"),
    ):
        table = make("t", 0, {}, NAMES)
        assert table.num_rows == 0
        assert table.schema.equals(TABLES[name], check_metadata=True)
