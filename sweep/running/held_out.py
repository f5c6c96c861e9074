"""Measures trained weights on another split than their sweep's; trains nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from mopoe.errors import ConfigError
from mopoe.quantities import with_quantities
from sweep.analysis.points import FULL_BUDGET
from sweep.analysis.tradeoff import tradeoff
from sweep.errors import StoreError
from sweep.manifest import open_folder, stored_spec
from sweep.running.shared_inputs import inputs_of_trial, load_inputs
from sweep.running.worker import checkpoint_name, device_here, weights_name
from sweep.store.layout import CHECKPOINTS
from sweep.store.read import open_store
from sweep.store.write import StoreWriter


def measure_split(
    root: str | Path, split: str, trial: str | None, say: Callable[[str], None], *, front: bool = False
) -> None:
    """Measure the weights that a results folder keeps, with the sweep's evaluation, and store what is found.

    Args:
        root: the folder, or its address.
        split: train, validation or test.
        trial: a trial; None for all that have weights.
        say: called with a sentence for each trial.
        front: whether to measure the trials of the configs on the front alone.

    Raises:
        ConfigError: there is no such split, or the trials are measured on it already.
        StoreError: the data have changed, or no such trial has weights.
    """
    from mopoe.checkpoint import load_model, read_progress
    from mopoe.evaluation.evaluate import Evaluator
    from mopoe.evaluation.final_metrics import subset_metric

    spec, store, writer = stored_spec(root), open_store(root), StoreWriter(root)
    c = replace(spec.evaluation, split=split, pictures=0)  # type: ignore[arg-type] # checks the split
    if split == spec.evaluation.split:
        raise ConfigError(f"the trials of {store.files} have been measured on {split} already")
    weights = set(store.files.list(CHECKPOINTS))
    full = store.latest_trials().filter(pl.col("status").is_in(FULL_BUDGET))
    if front:
        trade = tradeoff(store)
        full = full.filter(
            pl.col("config_id").is_in(trade.configs.filter(trade.on_front)["config_id"].implode())
        )
    kept = {
        (trial_id, attempt): file
        for trial_id, attempt in full.select("trial_id", "attempt").collect().iter_rows()
        for file in (checkpoint_name(trial_id), weights_name(trial_id, attempt))
        if file in weights and trial in (None, trial_id)
    }
    if not kept:
        of = trial or ("the front" if front else "any trial")
        whose = f"{store.files} keeps no weights of {of} at full budget"
        raise StoreError(f"{whose}; a sweep's key `keep` says whose it keeps")
    if front:
        lost = full.filter(~pl.col("trial_id").is_in([name for name, _ in kept])).collect()["trial_id"]
        for name in lost.sort():
            say(f"{name} is on the front, but its weights are not kept")
    data, classifiers = load_inputs(spec, store.files.address, store.manifest.classifier_hash)
    open_folder(store.files, spec, store.manifest.spec_hash, fingerprint=data.fingerprint)
    shared = data, classifiers
    for (trial_id, attempt), file in kept.items():
        data, classifiers = inputs_of_trial(spec, shared, trial_id)
        with store.files.on_disk(file) as (path, _):
            progress, model = read_progress(path), load_model(path, data.modalities)
        device = device_here(spec)
        evaluator = Evaluator(data, classifiers, c, epochs=progress.epoch, device=device)
        found = with_quantities(
            evaluator.measure(model.to(device)),
            spec.quantities,
            spec.modalities,
            progress.epoch,
            progress.seconds,
        )
        # Of the sweep's own split the trials table has these; some are among the metrics already.
        sizes = {"conditional_coherence": c.coherence_samples, "log_likelihood": c.likelihood_samples}
        n_samples = len(data.split(split).complete())
        there = {m.metric for m in found.subset_metrics if not m.subset_mask and m.target is None}
        own = (
            subset_metric(0, name, (value, found.stderr.get(name)), min(sizes.get(name, 0), n_samples))
            for name, value in found.objectives.items()
            if name not in there
        )
        found = replace(found, subset_metrics=(*found.subset_metrics, *own))
        writer.write_evaluation(trial_id, attempt, progress.epoch, found, spec.modalities)
        values = (f"{name} {value:.4f}" for name, value in found.objectives.items())
        say(f"{trial_id} on {split}: {', '.join(values)}")
