"""Trained weights on another split: the evaluation's own numbers, stored where no reader mixes them up."""

import shutil
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from mopoe.evaluation.evaluate import Evaluator
from sweep.config.sweep_spec import spec_of
from sweep.errors import StoreError
from sweep.report.cards import split_card
from sweep.report.view import view
from sweep.running.held_out import measure_split
from sweep.running.samples import choose_checkpoint
from sweep.running.shared_inputs import load_inputs
from sweep.store.files import files_at
from sweep.store.maintenance import compact, merge_runs
from sweep.store.read import Store, open_store
from sweep.store.records import TrialRecord
from sweep.store.write import StoreWriter
from sweep.verify import problems

SPLIT_TABLES = ("subset_metrics", "pair_coherence", "sample_values")


@pytest.fixture(scope="module")
def measured(trained_folder, tmp_path_factory):
    """A copy of the trained folder before and after its weights were measured on the test split."""
    root = tmp_path_factory.mktemp("measured") / "digits"
    shutil.copytree(trained_folder, root)
    said: list[str] = []
    measure_split(root, "test", None, said.append)
    assert [line.split(":")[0] for line in said] == [f"{t} on test" for t in trial_ids(trained_folder)]
    return trained_folder, root


def trial_ids(root):
    """Return the names of a folder's trials."""
    return open_store(root).latest_trials().collect()["trial_id"].to_list()


def test_the_numbers_are_the_evaluations(measured, quick_sweep):
    """Objectives and their errors, of subset 0, are those of a model that was loaded and measured by hand."""
    from mopoe.checkpoint import load_model

    _, root = measured
    store = open_store(root)
    spec = spec_of(store.document, ["evaluation.split=test", "evaluation.pictures=0"])
    data, classifiers = load_inputs(spec, str(root), store.manifest.classifier_hash)
    for trial in trial_ids(root):
        model = load_model(choose_checkpoint(root, trial), data.modalities)
        expected = Evaluator(data, classifiers, spec.evaluation, epochs=2).measure(model)
        rows = store.subset_metrics("test").filter(trial_id=trial, subset_mask=0).collect()
        for name, value in expected.objectives.items():
            (row,) = rows.filter(metric=name).iter_rows(named=True)
            assert row["value"] == pytest.approx(value, rel=1e-5)
            assert row["stderr"] == pytest.approx(expected.stderr[name], rel=1e-4)
            assert row["epoch"] == 2
        pairs = store.pair_coherence("test").filter(trial_id=trial).collect()
        assert pairs.height == len(expected.pair_coherence)


def test_readers_see_the_sweeps_own_split(measured):
    """The three tables as before, unless the other split is asked for; all rows are in the table."""
    before, after = (open_store(root) for root in measured)
    for table in SPLIT_TABLES:
        own, other = getattr(after, table)().collect(), getattr(after, table)("test").collect()
        key = pl.all().exclude("values")
        assert own.sort(key).equals(getattr(before, table)().collect().sort(key))
        assert set(other["split"]) == {"test"}
        assert after.table(table).collect().height == own.height + other.height


def test_the_folder_stays_sound_and_compacts(measured, tmp_path):
    """`verify` finds nothing, before and after `compact`; it and `merge` keep the rows of both splits."""
    root = shutil.copytree(measured[1], tmp_path / "copy")
    heights = {t: Store(root).table(t).collect().height for t in SPLIT_TABLES}
    assert list(problems(open_store(root))) == []
    compact(open_store(root))
    assert list(problems(open_store(root))) == []
    assert {t: Store(root).table(t).collect().height for t in SPLIT_TABLES} == heights
    merge_runs([open_store(root)], files_at(tmp_path / "merged"))
    assert {t: Store(tmp_path / "merged").table(t).collect().height for t in SPLIT_TABLES} == heights
    measure_split(root, "test", trial_ids(root)[0], lambda _: None)  # again: the same rows, read once
    assert {t: Store(root).table(t).collect().height for t in SPLIT_TABLES} == heights


def test_the_report_shows_both_splits(measured):
    """A row per config; before anything was measured elsewhere there is no such card."""
    before, after = (split_card(view(open_store(root))) for root in measured)
    assert before is None
    assert after.table is not None
    assert after.finding.startswith(
        "Configs were chosen by their values on the validation split, which therefore tend to be too good; "
        "those on a split that chose nothing do not: report these."
    )
    assert sorted(after.table["trial"]) == sorted(trial_ids(measured[1]))
    names = ("conditional coherence", "log likelihood")
    assert after.table.columns[2:] == [f"{n}, {split}" for n in names for split in ("validation", "test")]
    test = open_store(measured[1]).subset_metrics("test").filter(metric="log_likelihood", subset_mask=0)
    (first,) = test.filter(trial_id=after.table["trial"][0]).collect().iter_rows(named=True)
    shown = after.table["log likelihood, test"][0].split(" ± ")
    assert float(shown[0]) == pytest.approx(first["value"], abs=first["stderr"])
    assert float(shown[1]) == pytest.approx(1.96 * first["stderr"], rel=0.06)


def test_the_front_alone_is_measured(trained_folder, tmp_path):
    """Of two configs one is made worse, so off the front; the report shows the other's test values."""
    root = shutil.copytree(trained_folder, tmp_path / "copy")
    store = open_store(root)
    rows = {row["trial_id"]: row for row in store.latest_trials().collect().iter_rows(named=True)}
    best, worst = sorted(rows)
    record = TrialRecord.from_row(rows[worst])
    low = dict.fromkeys(record.objectives, -1e9) | {"conditional_coherence": 0.0}
    late = record.ended_at + timedelta(seconds=1)
    StoreWriter(root).write_trial(replace(record, objectives=low, ended_at=late))
    said = []
    measure_split(root, "test", None, said.append, front=True)
    assert [line.split(":")[0] for line in said] == [f"{best} on test"]
    assert set(store.table("subset_metrics").filter(split="test").collect()["trial_id"]) == {best}
    assert split_card(view(store)).table["trial"].to_list() == [best]
    for path in (root / "checkpoints").glob(f"{best}*"):
        path.unlink()
    with pytest.raises(StoreError, match="keeps no weights of the front at full budget"):
        measure_split(root, "test", None, said.append, front=True)
