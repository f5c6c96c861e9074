"""Whose a results folder is, and what its manifest says."""

import json
import re
import subprocess
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import pytest

from mopoe.errors import ConfigError
from sweep.config.sweep_spec import load_spec
from sweep.errors import StoreError
from sweep.manifest import (
    PACKAGES,
    differences,
    git_revision,
    open_folder,
    open_or_create_manifest,
    stored_spec,
)
from sweep.store.read import open_store
from sweep.store.records import SharedInputs

NOTHING = SharedInputs()
INPUTS = SharedInputs(
    data_fingerprint="f00d",
    shapes={"m0": (3, 28, 28)},
    n_classes=10,
    classifier_accuracy={"m0": 0.9},
    classifier_hash="abc",
)


def test_a_new_folder_gets_a_manifest(tmp_path, sweep_file):
    """The manifest names objectives, modalities, versions, the data's hash and shapes, and the judges."""
    spec = load_spec(sweep_file)
    found = open_or_create_manifest(tmp_path / "r", spec, spec.spec_hash, INPUTS)
    assert found.objectives == spec.objectives
    assert found.modalities == ("m0", "m1", "m2", "m3", "m4")
    assert set(found.versions) == set(PACKAGES)
    assert {f.name: getattr(found, f.name) for f in fields(SharedInputs)} == asdict(INPUTS)
    assert found.reference_point == {"conditional_coherence": 0.0, "log_likelihood": -20000.0}


def test_the_same_sweep_enters_again(tmp_path, sweep_file):
    """More trials and other resources are the same sweep: the first manifest stays."""
    root = tmp_path / "r"
    spec = load_spec(sweep_file)
    first = open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    grown = load_spec(sweep_file, ["trials=9", "resources.cpu=2"])
    assert open_or_create_manifest(root, grown, grown.spec_hash, NOTHING).sweep_id == first.sweep_id


def test_another_sweep_is_refused_with_the_difference(tmp_path, sweep_file):
    """The sentence names the key, both values and the way out; nothing is written."""
    root = tmp_path / "r"
    spec = load_spec(sweep_file)
    open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    before = (root / "sweep.json").read_bytes()
    other = load_spec(sweep_file, ["evaluation.importance_samples=62"])
    with pytest.raises(StoreError) as caught:
        open_or_create_manifest(root, other, other.spec_hash, NOTHING)
    assert str(caught.value) == (
        f"{root} holds the results of another sweep: "
        "evaluation.importance_samples was 31 there and is 62 here; "
        "choose another folder with --out, "
        "or continue here with --allow-changed evaluation.importance_samples"
    )
    assert (root / "sweep.json").read_bytes() == before


def test_single_trials_and_sweeps_do_not_mix(tmp_path, sweep_file):
    """A folder of single trials has another hash with the same specification, and says so."""
    spec = load_spec(sweep_file)
    open_or_create_manifest(tmp_path / "r", spec, "t123", NOTHING)
    with pytest.raises(StoreError, match="a sweep and single trials cannot share a folder"):
        open_folder(tmp_path / "r", spec, spec.spec_hash)


def test_foreign_folders_and_files_are_refused(tmp_path, sweep_file):
    """A folder with other files, or a file, is never written into."""
    spec = load_spec(sweep_file)
    with pytest.raises(StoreError, match=r"holds files but no sweep\.json: it is not a results folder"):
        open_folder(tmp_path, spec, spec.spec_hash)
    with pytest.raises(StoreError, match="is a file, but results need a folder"):
        open_folder(sweep_file, spec, spec.spec_hash)


def test_differences_are_by_key_and_leave_out_what_may_change():
    """A key on one side only is absent on the other; labels, numbers of trials and resources do not count."""
    assert differences({"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}) == {"a.y": ("absent", 2)}
    assert differences({"trials": 1, "b": 1, "keep": "all"}, {"trials": 2, "b": 2}) == {"b": (1, 2)}


@pytest.mark.parametrize("key", ["evaluation", "evaluation.importance_samples"])
def test_an_allowed_change_goes_on_and_is_recorded(tmp_path, sweep_file, key):
    """The key or its section allows it; the manifest has the new spec and a sentence on what changed."""
    root = tmp_path / "r"
    spec = load_spec(sweep_file)
    first = open_or_create_manifest(root, spec, spec.spec_hash, INPUTS)
    other = load_spec(sweep_file, ["evaluation.importance_samples=62"])
    found = open_or_create_manifest(root, other, other.spec_hash, NOTHING, allowed=[key])
    assert (found.sweep_id, found.classifier_accuracy) == (first.sweep_id, {"m0": 0.9})
    assert [c.partition(": ")[2] for c in found.allowed_changes] == [
        "evaluation.importance_samples was 31 there and is 62 here"
    ]
    assert stored_spec(root) == other
    assert (
        open_or_create_manifest(root, other, other.spec_hash, NOTHING).allowed_changes
        == found.allowed_changes
    )


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ("evaluation.importance_samples=62", ["evaluation.importance"]),
        ("evaluation.importance_samples=62", ["fixed"]),
        ("data.seed=3", ["data"]),
        ("search_space.beta.high=5", ["search_space.beta"]),
    ],
)
def test_only_what_is_allowed_may_change_and_not_everything_is(tmp_path, sweep_file, change, allowed):
    """Another key allows nothing; data, objectives and search space never change within a folder."""
    spec = load_spec(sweep_file)
    open_or_create_manifest(tmp_path / "r", spec, spec.spec_hash, NOTHING)
    other = load_spec(sweep_file, [change])
    with pytest.raises(StoreError, match=r"was .* there and is .* here; choose another folder") as caught:
        open_or_create_manifest(tmp_path / "r", other, other.spec_hash, NOTHING, allowed=allowed)
    fixed = change.startswith(("data", "search_space"))
    assert ("--allow-changed" in str(caught.value)) is not fixed


def test_the_stored_spec_is_that_of_the_last_run(tmp_path, sweep_file):
    """More trials are remembered, so that a sweep goes on from its folder alone; overrides count above."""
    root = tmp_path / "r"
    for overrides in ([], ["trials=9", "faults.max_failures=0"]):
        spec = load_spec(sweep_file, overrides)
        open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    assert stored_spec(root) == spec
    assert stored_spec(root, ["trials=11"]).trials == 11
    with pytest.raises(ConfigError, match=r"'trial=1': unknown key 'trial'; did you mean 'trials'\?"):
        stored_spec(root, ["trial=1"])


def test_a_folder_of_an_earlier_release_is_the_same_sweep(tmp_path, sweep_file):
    """A spec without keys that have come since, and a hash that did not know them, differ in nothing."""
    root = tmp_path / "r"
    spec = load_spec(sweep_file)
    open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    plain = json.loads((root / "sweep.json").read_text())
    for key in ("replicates", "faults", "keep"):
        del plain["spec"][key]
    del plain["allowed_changes"]
    plain["spec_hash"] = "0123456789ab"
    (root / "sweep.json").write_text(json.dumps(plain))
    assert open_or_create_manifest(root, spec, spec.spec_hash, NOTHING).spec_hash == spec.spec_hash


def test_a_folder_whose_keys_had_other_names_is_the_same_sweep(tmp_path, sweep_file):
    """Its file says `extras` and `at_rungs`, and its hash is of them; it is read, and goes on."""
    root, spec = tmp_path / "r", load_spec(sweep_file)
    open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    stored = json.loads((root / "sweep.json").read_text())
    evaluation = stored["spec"]["evaluation"]
    evaluation["extras"], evaluation["at_rungs"] = (
        evaluation.pop("final_metrics"),
        evaluation.pop("intermediate"),
    )
    (root / "sweep.json").write_text(json.dumps(stored | {"spec_hash": "before"}))
    assert open_store(root).spec == spec
    found = open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    assert (found.sweep_id, found.spec_hash, found.allowed_changes) == (
        stored["sweep_id"],
        spec.spec_hash,
        (),
    )


def test_other_data_under_the_same_name_are_refused(tmp_path, sweep_file):
    """By their fingerprint, whatever is allowed to change; the manifest stays."""
    root, spec = tmp_path / "r", load_spec(sweep_file)
    before = open_or_create_manifest(root, spec, spec.spec_hash, INPUTS)
    with pytest.raises(StoreError) as error:
        open_or_create_manifest(
            root, spec, spec.spec_hash, replace(INPUTS, data_fingerprint="beef"), allowed=["data"]
        )
    assert str(error.value) == (
        f"{root} holds trials on other data (fingerprint f00d; digits here has beef); "
        "restore the data, or choose another folder with --out"
    )
    assert open_store(root).manifest == before


def test_a_folder_of_an_earlier_release_takes_the_data_it_goes_on_with(tmp_path, sweep_file):
    """From then on other data are refused."""
    root, spec = tmp_path / "r", load_spec(sweep_file)
    open_or_create_manifest(root, spec, spec.spec_hash, NOTHING)
    assert open_or_create_manifest(root, spec, spec.spec_hash, INPUTS).data_fingerprint == "f00d"
    with pytest.raises(StoreError, match="trials on other data"):
        open_folder(root, spec, spec.spec_hash, fingerprint="beef")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("fixed.batch_size=400", None),
        ("search_space.beta.high=5", None),
        ("name=other", None),
        ("evaluation.likelihood_samples=5", "evaluation.likelihood_samples was 4 there and is 5 here"),
        ("data.seed=3", "data.seed was 0 there and is 3 here"),
    ],
)
def test_single_trials_share_how_they_are_measured(tmp_path, sweep_file, change, refused):
    """Settings may differ from trial to trial; a changed evaluation is named as that, not by another key."""
    root, spec = tmp_path / "r", load_spec(sweep_file)
    open_or_create_manifest(root, spec, "t1", NOTHING)
    other = load_spec(sweep_file, ["fixed.batch_size=400", change])
    if refused is None:
        assert open_folder(root, other, "t2") is not None
    else:
        with pytest.raises(StoreError, match=rf"another sweep: {re.escape(refused)}; choose another"):
            open_folder(root, other, "t2")


def provenance(monkeypatch, folder, direct_url):
    """Let the package be installed as pip says in `direct_url`, with its source in a folder."""
    monkeypatch.setattr(
        "sweep.manifest.distribution", lambda _: SimpleNamespace(read_text=lambda _: direct_url)
    )
    monkeypatch.setattr("sweep.manifest.__file__", str(folder / "sweep" / "manifest.py"))


def test_the_revision_is_that_of_an_editable_install(tmp_path, monkeypatch):
    """With a sign for changes that are not committed; files that git does not know are none."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "manifest.py").write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    provenance(monkeypatch, tmp_path, '{"dir_info": {"editable": true}}')
    (tmp_path / "new").touch()
    assert git_revision() == head
    (tmp_path / "sweep" / "manifest.py").write_text("2")
    assert git_revision() == f"{head}+"
    # An environment inside somebody's checkout, and a package from elsewhere.
    for told in (None, '{"url": "file:///x.whl", "archive_info": {}}', '{"dir_info": {}}'):
        provenance(monkeypatch, tmp_path, told)
        assert git_revision() is None
