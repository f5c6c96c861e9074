"""One trial on this machine, without Ray: the same tables as a sweep, and a checkpoint for samples."""

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from mopoe.config import TrialConfig
from mopoe.memory import keep_freed_memory
from mopoe.records import EpochReport
from sweep.errors import StoreError
from sweep.manifest import enter, open_folder
from sweep.running.materials import keep_classifiers, materials
from sweep.running.trainable import (
    ReportWriter,
    checkpoint_name,
    device_name,
    failure_text,
    report_to_ray,
    run_trial,
)
from sweep.search.outcome import end_record
from sweep.spec.sweep_spec import SweepSpec
from sweep.store.files import settled
from sweep.store.merge import CHECKPOINTS
from sweep.store.read import Store
from sweep.store.records import TrialRecord
from sweep.store.write import StoreWriter


def run_single(
    spec: SweepSpec,
    config: TrialConfig,
    root: str | Path,
    *,
    resume: bool,
    device: str,
    on_report: Callable[[EpochReport], None],
) -> TrialRecord:
    """Train one trial and return its final record; every call but a resumed one is a new attempt.

    Args:
        spec: the sweep the trial belongs to, for its data set, evaluation and objectives.
        config: the trial's settings.
        root: results folder, or its address; trials of one data set and evaluation may share it.
        resume: go on from the checkpoint of the last attempt.
        device: "cpu" or "cuda".
        on_report: called after every epoch.

    Raises:
        StoreError: the folder holds something else, or there is nothing to resume.
        DivergedError: the loss stopped being a finite number; the trial is recorded as failed.
    """
    keep_freed_memory()
    writer = StoreWriter(settled(root))
    spec_hash = trials_hash(spec)
    before = open_folder(root, spec, spec_hash)
    trial_id = f"{config.config_id}-s{config.seed}"
    attempts = _attempts(Store(writer.files), trial_id) if before else 0
    if resume and attempts == 0:
        raise StoreError(
            f"{writer.files} holds no trial {trial_id} to resume; leave out --resume to start it"
        )
    attempt = attempts - 1 if resume else attempts
    weights = checkpoint_name(f"{trial_id}-{attempt}")
    if resume and weights not in writer.files.list(CHECKPOINTS):
        raise StoreError(
            f"{writer.files}/{weights} is missing, so that the trial cannot be resumed; leave out --resume"
        )
    using = _, classifiers = materials(spec, settled(root), before.classifier_hash if before else None)
    enter(root, spec, spec_hash, classifiers.accuracy, classifiers.hash)
    keep_classifiers(writer.files, classifiers)
    record = _start(spec, config, trial_id, attempt)
    writer.write_trial(record)
    reports = ReportWriter(writer, trial_id, attempt, spec.modalities)
    last: dict[str, object] = {"device": device_name(device), "host": socket.gethostname()}

    def take(report: EpochReport) -> bool:
        send()  # the checkpoint of the epoch before
        written = reports.add(report)
        last.update(report_to_ray(report.epoch, report.evaluation))
        on_report(report)
        return written

    try:
        with writer.files.on_disk(weights) as (checkpoint, send):
            measured = run_trial(spec, config, take, using=using, checkpoint=checkpoint, device=device)
            send()
        if measured is not None:
            last.update(report_to_ray(config.epochs, measured))
    except Exception as error:
        last["failure"] = failure_text(error)
        raise
    except KeyboardInterrupt:
        last["failure"] = "interrupted; go on with --resume"
        raise
    finally:
        try:
            reports.flush()
        finally:
            record = end_record(record, last, spec.objectives, datetime.now(UTC))
            writer.write_trial(record)
    return record


def trials_hash(spec: SweepSpec) -> str:
    """Return a hash of what makes single trials comparable: data, evaluation, objectives, reference point."""
    plain = spec.plain()
    kept = {key: plain[key] for key in ("data", "evaluation", "objectives", "reference_point")}
    return "t" + hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:11]


def _attempts(store: Store, trial_id: str) -> int:
    return store.trials().filter(pl.col("trial_id") == trial_id).collect().height


def _start(spec: SweepSpec, config: TrialConfig, trial_id: str, attempt: int) -> TrialRecord:
    settings = config.to_dict()
    filed = TrialConfig.from_dict(spec.fixed).to_dict() | {"seed": config.seed}
    # Beside the searched settings, what --set changed against the file.
    scalars = {k: v for k, v in settings.items() if isinstance(v, (int, float, str)) and v != filed[k]}
    record = TrialRecord(
        trial_id=trial_id,
        attempt=attempt,
        config_id=config.config_id,
        seed=config.seed,
        status="running",
        epochs=0,
        epochs_max=config.epochs,
        started_at=datetime.now(UTC),
        config_json=config.to_json(),
    )
    return replace(record, parameters=scalars | spec.space.columns(settings))
