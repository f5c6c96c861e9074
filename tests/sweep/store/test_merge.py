import json
from dataclasses import replace

import pytest

from mopoe.config import TrialConfig
from sweep.errors import StoreError
from sweep.search.trial import split_name
from sweep.store.files import LocalFiles
from sweep.store.maintenance import merge_runs, new_names
from sweep.store.read import Store, open_store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter
from sweep.verify import problems


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
    assert str(error.value) == f"{other} holds another sweep than {tmp_path}/a: only runs of one are merged"
    with pytest.raises(StoreError) as error:
        merge_runs([runs[0], runs[1], runs[0]], out)
    assert str(error.value) == f"{tmp_path}/a holds a run that is given already (run-a)"
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
    with pytest.raises(StoreError, match=r"is no results folder: it holds no sweep\.json$"):
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
