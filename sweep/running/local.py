"""One trial on this machine, without Ray: the same tables as a sweep, and a checkpoint for samples."""

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.rehearsal import check_memory, rehearse
from mopoe.reports import EpochReport
from mopoe.runtime import check_precision
from sweep.config.schema import ReplicatesSpec
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import StoreError
from sweep.manifest import MEASURED_BY, open_folder, open_or_create_manifest
from sweep.running.reporting import ReportWriter
from sweep.running.shared_inputs import inputs_record, keep_classifiers, load_inputs
from sweep.running.signals import stoppable
from sweep.running.worker import device_name, failure_report, run_trial, weights_name
from sweep.search.trial import SuggestedTrial, TrialReport, begin_record, end_record
from sweep.store.files import canonical_uri
from sweep.store.layout import CHECKPOINTS
from sweep.store.read import Store
from sweep.store.records import TrialRecord
from sweep.store.write import StoreWriter

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers


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
        DataError: a modality does not work with its networks; said before anything is trained.
        ConfigError: the trial does not fit into memory.
        DivergedError: the loss stopped being a finite number; the trial is recorded as failed.
        KeyboardInterrupt: Ctrl-C; or SIGUSR2, once the epoch that runs has ended and is checkpointed.
    """
    # A single trial has the splits as they are.
    spec = spec.model_copy(update={"replicates": ReplicatesSpec()}) if spec.replicates.folds else spec
    writer = StoreWriter(canonical_uri(root), spec.space.kinds())
    record, inputs = _begin(spec, config, writer, resume=resume, device=device)
    weights = weights_name(record.trial_id, record.attempt)
    reports = ReportWriter(writer, record.trial_id, record.attempt, spec.modalities)
    last = TrialReport(device=device_name(device), host=socket.gethostname())
    warned: list[bool] = []

    def take(report: EpochReport) -> None:
        if warned:
            reports.save_now()
        on_report(report)

    def on_saved(report: TrialReport) -> None:
        nonlocal last
        last = last.followed_by(report)
        if warned and report.saved and report.epoch != config.epochs:
            raise KeyboardInterrupt

    try:
        with stoppable(lambda: warned.append(True)):
            run_trial(spec, config, inputs, reports, weights, device, on_report=take, on_saved=on_saved)
    except Exception as error:
        last = last.followed_by(failure_report(error))
        if last.failure is not None and last.failure.startswith("out of memory"):
            raise ConfigError(last.failure) from error
        raise
    except KeyboardInterrupt:
        last = replace(last, failure="interrupted; continue with --resume")
        raise
    finally:
        try:
            reports.flush()
        finally:
            record = end_record(record, last, spec.objectives, datetime.now(UTC))
            writer.write_trial(record)
    return record


def _begin(
    spec: SweepSpec, config: TrialConfig, writer: StoreWriter, *, resume: bool, device: str
) -> "tuple[TrialRecord, tuple[MultimodalData, Classifiers]]":
    """Record that an attempt at a trial begins or goes on; return the record and what it trains with."""
    spec_hash = trials_hash(spec)
    before = open_folder(writer.files, spec, spec_hash)
    trial_id = _name(config)
    rows = Store(writer.files).trials().filter(trial_id=trial_id).sort("attempt").collect()
    if resume and not rows.height:
        raise StoreError(
            f"{writer.files} holds no trial {trial_id} to resume; leave out --resume to start it"
        )
    attempt = rows.height - 1 if resume else rows.height
    weights = weights_name(trial_id, attempt)
    if resume and weights not in writer.files.list(CHECKPOINTS):
        raise StoreError(
            f"{writer.files}/{weights} is missing, so the trial cannot be resumed; leave out --resume"
        )
    classifier_hash = before.classifier_hash if before else None
    inputs = data, classifiers = load_inputs(spec, writer.files.address, classifier_hash)
    for precision in (config.precision, spec.evaluation.precision):
        check_precision(precision, device)
    check_memory(config, data, device)
    rehearse(config, data, classifiers, spec.evaluation)
    open_or_create_manifest(writer.files, spec, spec_hash, inputs_record(data, classifiers))
    keep_classifiers(writer.files, classifiers)
    began = rows["started_at"][attempt] if resume else datetime.now(UTC)
    record = _start(spec, config, trial_id, attempt, began, data.fingerprint)
    writer.write_trial(record)
    return record, inputs


def last_attempt(spec: SweepSpec, config: TrialConfig, root: str | Path) -> TrialRecord | None:
    """Return the record of the last attempt at a trial; None if the folder, which may be new, has none.

    Raises:
        StoreError: the folder holds something else.
    """
    store = Store(canonical_uri(root))
    if open_folder(store.files, spec, trials_hash(spec)) is None:
        return None
    rows = store.latest_trials().filter(trial_id=_name(config)).collect().rows(named=True)
    return TrialRecord.from_row(rows[0]) if rows else None


def _name(config: TrialConfig) -> str:
    return f"{config.config_id}-s{config.seed}"


def trials_hash(spec: SweepSpec) -> str:
    """Return a hash of what makes single trials comparable: data, evaluation, objectives, reference point."""
    plain = spec.plain()
    kept = {key: plain[key] for key in MEASURED_BY}
    return "t" + hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:11]


def _start(
    spec: SweepSpec, config: TrialConfig, trial_id: str, attempt: int, began: datetime, fingerprint: str
) -> TrialRecord:
    settings = config.to_dict()
    filed = TrialConfig.from_dict(spec.fixed).to_dict() | {"seed": config.seed}
    # Beside the searched settings, what --set changed against the file.
    scalars = {k: v for k, v in settings.items() if isinstance(v, (int, float, str)) and v != filed.get(k)}
    scalars = {k: json.dumps(v) if isinstance(v, bool) else v for k, v in scalars.items()}
    trial = SuggestedTrial(trial_id=trial_id, attempt=attempt, suggestion={})
    record = begin_record(spec, config, trial, began, fingerprint)
    return replace(record, parameters={**scalars, **record.parameters})
