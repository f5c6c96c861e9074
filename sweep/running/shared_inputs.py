"""What all trials of a sweep share: its data set, and the classifiers that judge coherence.

Training them anew on another machine would give other bits, and coherence compares only under the same
classifiers: whoever begins a results folder stores its own there, and all others take those.
"""

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mopoe.errors import DataError
from sweep.config.checks import check_labels
from sweep.config.sweep_spec import SweepSpec
from sweep.search.trial import split_name
from sweep.store.files import Files, files_at
from sweep.store.layout import CLASSIFIERS
from sweep.store.records import SharedInputs

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers


def load_inputs(
    spec: SweepSpec, root: str | None = None, classifier_hash: str | None = None
) -> "tuple[MultimodalData, Classifiers]":
    """Return a sweep's data set and its classifiers, loaded once per process.

    Args:
        spec: the sweep.
        root: its results folder, or its address.
        classifier_hash: of the classifiers that judge all its trials; None for those of this machine.

    Raises:
        DataError: the data set cannot be built or cut into the sweep's folds, or those classifiers are
            nowhere to be found.
        ConfigError: the sweep asks for what needs labels, but the data set has none.
    """
    options = json.dumps(spec.data.options)
    inputs = _loaded(spec.data.name, options, spec.replicates.folds, root, classifier_hash)
    check_labels(spec, inputs[0].n_classes)
    return inputs


def inputs_of_trial(
    spec: SweepSpec, inputs: "tuple[MultimodalData, Classifiers]", trial_id: str
) -> "tuple[MultimodalData, Classifiers]":
    """Return what a trial of a sweep is trained and judged with: its replicate's fold, if there are folds.

    The classifiers are the same for all folds, as coherence compares only under the same ones.
    """
    from mopoe.data.folds import fold
    from mopoe.evaluation.classifiers import for_fold

    if not spec.replicates.folds:
        return inputs
    data, classifiers = inputs
    own = fold(data, split_name(trial_id)[1], spec.replicates.folds)
    return own, for_fold(classifiers, data, own)


@functools.cache
def _loaded(
    name: str, options_json: str, folds: int | None, root: str | None, classifier_hash: str | None
) -> "tuple[MultimodalData, Classifiers]":
    from mopoe.data import load_data
    from mopoe.data.folds import check_folds
    from mopoe.evaluation.classifiers import load_classifiers

    data = load_data(name, **json.loads(options_json))
    if folds:
        check_folds(data, folds)
    if root is None or classifier_hash is None:
        return data, load_classifiers(data)
    return data, stored_classifiers(files_at(root), data, classifier_hash)


def samples_text(data: "MultimodalData") -> str:
    """Return how many samples each split has, and how many of them all lack which modality."""
    splits = data.train, data.validation, data.test
    train, validation, test = (f"{len(split):,}" for split in splits)
    parts = [f"{train} training, {validation} validation and {test} test samples"]
    for m, modality in enumerate(data.modalities):
        lack = sum(int((~s.present[:, m]).sum()) for s in splits if s.present is not None)
        parts += [f"{lack:,} {'lacks' if lack == 1 else 'lack'} {modality.name!r}"] * (lack > 0)
    return "; ".join([parts[0], ", ".join(parts[1:])] if parts[1:] else parts)


def inputs_record(data: "MultimodalData", classifiers: "Classifiers") -> SharedInputs:
    """Return what a results folder keeps about its data set and its classifiers."""
    return SharedInputs(
        data_fingerprint=data.fingerprint,
        shapes={m.name: m.shape for m in data.modalities},
        n_classes=data.n_classes,
        classes=data.classes,
        classifier_accuracy=dict(classifiers.accuracy),
        classifier_hash=classifiers.hash,
    )


def stored_classifiers(files: Files, data: "MultimodalData", classifier_hash: str) -> "Classifiers":
    """Return the classifiers with this hash: those of a results folder, or this machine's if it has none.

    Raises:
        DataError: they have another hash.
    """
    from mopoe.cache import cache_dir, cached_file
    from mopoe.evaluation.classifiers import load_classifiers, read_classifiers

    name = _name(classifier_hash)

    def fetch(path: Path) -> None:
        with files.open(name) as file:
            path.write_bytes(file.read())

    path = cache_dir() / f"stored-classifiers-{classifier_hash}.safetensors"
    try:
        found = read_classifiers(cached_file(path, fetch), data)
    except FileNotFoundError:  # its file was deleted
        found = load_classifiers(data)
    if found.hash != classifier_hash:
        raise DataError(
            f"trials in {files} are judged by the classifiers {classifier_hash}, but those here are "
            f"{found.hash}; delete {path} and bring back {files}/{name}, or begin another folder with --out"
        )
    return found


def keep_classifiers(files: Files, classifiers: "Classifiers") -> None:
    """Store classifiers in a results folder, unless it has them or there are none."""
    from mopoe.evaluation.classifiers import packed

    if classifiers.hash is None:
        return
    name = _name(classifiers.hash)
    if name not in files.list(CLASSIFIERS):
        content = packed(classifiers.networks, classifiers.accuracy)
        files.put(name, lambda file: file.write(content))


def _name(classifier_hash: str) -> str:
    return f"{CLASSIFIERS}/{classifier_hash}.safetensors"
