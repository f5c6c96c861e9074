"""Whose a results folder is, and what its manifest says."""

import pytest

from sweep.errors import StoreError
from sweep.manifest import PACKAGES, difference, enter, open_folder
from sweep.spec import load_spec


def test_a_new_folder_gets_a_manifest(tmp_path, sweep_file):
    """The manifest names objectives, modalities, versions, and the classifiers' accuracy and hash."""
    spec = load_spec(sweep_file)
    found = enter(tmp_path / "r", spec, spec.spec_hash, {"m0": 0.9}, "abc")
    assert [o.name for o in found.objectives] == list(spec.objectives)
    assert found.modalities == ("m0", "m1", "m2", "m3", "m4")
    assert set(found.versions) == set(PACKAGES)
    assert (found.classifier_accuracy, found.classifier_hash) == ({"m0": 0.9}, "abc")
    assert found.reference_point == {"conditional_coherence": 0.0, "log_likelihood": -20000.0}


def test_the_same_sweep_enters_again(tmp_path, sweep_file):
    """More trials and other resources are the same sweep: the first manifest stays."""
    root = tmp_path / "r"
    spec = load_spec(sweep_file)
    first = enter(root, spec, spec.spec_hash, {})
    grown = load_spec(sweep_file, ["trials=9", "resources.cpu=2"])
    assert enter(root, grown, grown.spec_hash, {}).sweep_id == first.sweep_id


def test_another_sweep_is_refused_with_the_difference(tmp_path, sweep_file):
    """The sentence names the key, both values and the way out; nothing is written."""
    root = tmp_path / "r"
    spec = load_spec(sweep_file)
    enter(root, spec, spec.spec_hash, {})
    before = (root / "sweep.json").read_bytes()
    other = load_spec(sweep_file, ["evaluation.importance_samples=62"])
    with pytest.raises(StoreError) as caught:
        enter(root, other, other.spec_hash, {})
    assert str(caught.value) == (
        f"{root} holds the results of another sweep: "
        "evaluation.importance_samples was 31 there and is 62 here; "
        "choose another folder with --out"
    )
    assert (root / "sweep.json").read_bytes() == before


def test_single_trials_and_sweeps_do_not_mix(tmp_path, sweep_file):
    """A folder of single trials has another hash with the same specification, and says so."""
    spec = load_spec(sweep_file)
    enter(tmp_path / "r", spec, "t123", {})
    with pytest.raises(StoreError, match="a sweep and single trials do not share a folder"):
        open_folder(tmp_path / "r", spec, spec.spec_hash)


def test_foreign_folders_and_files_are_refused(tmp_path, sweep_file):
    """A folder with other files, or a file, is never written into."""
    spec = load_spec(sweep_file)
    with pytest.raises(StoreError, match=r"holds files but no sweep\.json: it is no results folder"):
        open_folder(tmp_path, spec, spec.spec_hash)
    with pytest.raises(StoreError, match="is a file, but results need a folder"):
        open_folder(sweep_file, spec, spec.spec_hash)


def test_difference_names_keys_that_came_or_went():
    """A key on one side only counts as absent on the other."""
    assert difference({"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}) == "a.y was absent there and is 2 here"
    assert difference({"trials": 1, "b": 1}, {"trials": 2, "b": 2}) == "b was 1 there and is 2 here"
