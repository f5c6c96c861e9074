"""The classifiers of a sweep are the same to the bit wherever its trials run."""

from dataclasses import replace

import pytest
import torch

from mopoe.errors import DataError
from mopoe.evaluation import classifiers as module
from mopoe.evaluation.classifiers import ClassifierConfig, load_classifiers
from sweep.config.sweep_spec import load_spec
from sweep.manifest import open_or_create_manifest
from sweep.running import driver
from sweep.running.shared_inputs import (
    inputs_record,
    keep_classifiers,
    load_inputs,
    samples_text,
    stored_classifiers,
)
from sweep.store.files import files_at
from sweep.store.read import open_store


@pytest.fixture
def machine(monkeypatch, tmp_path, tiny_data):
    """Return a function that goes to a machine with a cache of its own, whose training gives other bits."""
    train = module.train_classifiers

    def go(seed):
        monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / f"cache {seed}"))
        quick = ClassifierConfig(epochs=1, batch_size=11, seed=seed)
        monkeypatch.setattr(module, "train_classifiers", lambda *some: train(*some[:3], quick))
        return load_classifiers(tiny_data)

    return go


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_another_machine_takes_the_folders_classifiers(machine, tiny_data, tmp_path, request, where):
    """It would train others, but has those of the folder, bit for bit, and keeps them in its cache."""
    files = files_at(tmp_path / "r" if where == "folder" else request.getfixturevalue("s3"))
    first = machine(1)
    keep_classifiers(files, first)
    assert machine(2).hash != first.hash
    found = stored_classifiers(files, tiny_data, first.hash)
    assert (found.hash, found.accuracy) == (first.hash, first.accuracy)
    for name, network in first.networks.items():
        theirs = found.networks[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items())
    files.delete(f"classifiers/{first.hash}.safetensors")
    assert stored_classifiers(files, tiny_data, first.hash).hash == first.hash
    keep_classifiers(files, found)
    assert list(files.list("classifiers")) == [f"classifiers/{first.hash}.safetensors"]


def test_other_classifiers_are_refused(machine, tiny_data, tmp_path):
    """Where the folder's file is lost or is another one, a machine with other classifiers runs no trial."""
    files, first = files_at(tmp_path / "r"), machine(1)
    assert stored_classifiers(files, tiny_data, first.hash).hash == first.hash
    second = machine(2)
    with pytest.raises(DataError, match=rf"are judged by the classifiers {first.hash}, but those here are"):
        stored_classifiers(files, tiny_data, first.hash)
    keep_classifiers(files, second)
    (tmp_path / "r/classifiers" / f"{second.hash}.safetensors").rename(
        tmp_path / "r/classifiers" / f"{first.hash}.safetensors"
    )
    with pytest.raises(DataError, match=rf"are {second.hash}; delete .*stored-classifiers-{first.hash}"):
        stored_classifiers(files, tiny_data, first.hash)


@pytest.mark.ray
def test_trials_are_judged_by_the_folders_classifiers(quick_file, tmp_path, monkeypatch, shared_ray):
    """Driver and workers on a machine with an empty cache train none but take those that began the folder."""
    root, spec = tmp_path / "r", load_spec(quick_file, ["trials=2", "resources.concurrent=1"])
    data, classifiers = load_inputs(spec)
    open_or_create_manifest(files_at(root), spec, spec.spec_hash, inputs_record(data, classifiers))
    keep_classifiers(files_at(root), classifiers)
    judges = classifiers.hash
    cache = tmp_path / "cache"
    monkeypatch.setenv("MOPOE_CACHE", str(cache))

    def make_trainable(spec, root, **more):
        # Nested, so that workers get it by value: they cannot import this module.
        def trainable(suggested):
            import os

            from sweep.running.trainable import make_trainable

            os.environ["MOPOE_CACHE"] = str(cache)
            return make_trainable(spec, root, **more)(suggested)

        return trainable

    monkeypatch.setattr(driver, "make_trainable", make_trainable)
    driver.run_sweep(spec, root)
    assert [path.name for path in cache.glob("*classifiers*s")] == [
        f"stored-classifiers-{judges}.safetensors"
    ]
    assert open_store(root).epochs().collect()["classifiers"].drop_nulls().to_list() == [judges] * 2


def test_the_samples_of_a_data_set_in_words(tiny_data):
    """Of each split, and how many of all lack a modality; nothing of what none lacks."""
    sizes = [len(tiny_data.split(name)) for name in ("train", "validation", "test")]
    plain = "{} training, {} validation and {} test samples".format(*sizes)
    assert samples_text(tiny_data) == plain
    first, second = (m.name for m in tiny_data.modalities)
    there = [torch.ones(n, 2, dtype=torch.bool) for n in sizes]
    splits = zip(("train", "validation", "test"), there, strict=True)
    gaps = replace(tiny_data, **{k: replace(tiny_data.split(k), present=present) for k, present in splits})
    assert samples_text(gaps) == plain
    there[0][:3, 1] = False
    there[2][:2, 1] = False
    assert samples_text(gaps) == f"{plain}; 5 lack {second!r}"
    there[1][4, 0] = False
    assert samples_text(gaps) == f"{plain}; 1 lacks {first!r}, 5 lack {second!r}"
