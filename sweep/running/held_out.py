"""Measures trained weights on another split than their sweep's; trains nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig
from mopoe.reports import Evaluation
from sweep.errors import StoreError
from sweep.manifest import open_folder, stored_spec
from sweep.running.shared_inputs import load_inputs
from sweep.running.worker import checkpoint_name, device_here
from sweep.store.layout import CHECKPOINTS
from sweep.store.read import open_store
from sweep.store.write import StoreWriter


def measure_split(root: str | Path, split: str, trial: str | None, say: Callable[[str], None]) -> None:
    """Measure the weights that a results folder keeps, with the sweep's evaluation, and store what is found.

    Args:
        root: the folder, or its address.
        split: train, validation or test.
        trial: a trial; None for all that have weights.
        say: called with a sentence for each trial.

    Raises:
        ConfigError: there is no such split, or the trials are measured on it already.
        StoreError: the data have changed, or no such trial has weights.
    """
    from mopoe.checkpoint import load_model, read_progress
    from mopoe.evaluation.evaluate import Evaluator

    spec, store, writer = stored_spec(root), open_store(root), StoreWriter(root)
    evaluation = EvaluationConfig(**{**spec.plain()["evaluation"], "split": split, "pictures": 0})
    if split == spec.evaluation.split:
        raise ConfigError(f"the trials of {store.files} have been measured on {split} already")
    weights = set(store.files.list(CHECKPOINTS))
    kept = {
        (name, attempt): file
        for name, attempt in store.latest_trials().select("trial_id", "attempt").collect().iter_rows()
        for file in (checkpoint_name(name), checkpoint_name(f"{name}-{attempt}"))
        if file in weights and trial in (None, name)
    }
    if not kept:
        whose = trial or "any trial"
        raise StoreError(
            f"{store.files} keeps no weights of {whose}; a sweep's key `keep` says of which it does"
        )
    data, classifiers = load_inputs(spec, store.files.address, store.manifest.classifier_hash)
    open_folder(store.files, spec, store.manifest.spec_hash, fingerprint=data.fingerprint)
    for (name, attempt), file in kept.items():
        with store.files.on_disk(file) as (path, _):
            epoch, model = read_progress(path).epoch, load_model(path, data.modalities)
        device = device_here(spec)
        evaluator = Evaluator(data, classifiers, evaluation, epochs=epoch, device=device)
        found = with_objectives(evaluator.measure(model.to(device)))
        writer.write_evaluation(name, attempt, epoch, found, spec.modalities)
        say(f"{name} on {split}: " + ", ".join(f"{n} {v:.4f}" for n, v in found.objectives.items()))


def with_objectives(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation with all objectives among its metrics, of subset 0; one of them is there already.

    For the sweep's own split they are in the trials table.
    """
    from mopoe.evaluation.final_metrics import subset_metric

    sizes = {v.metric: len(v.values) for v in evaluation.sample_values}
    rows = (
        subset_metric(0, name, (value, evaluation.stderr[name]), sizes.get(name, 0))
        for name, value in evaluation.objectives.items()
        if name != "joint_coherence"
    )
    return replace(evaluation, subset_metrics=(*evaluation.subset_metrics, *rows))
