"""A trial as a Ray Tune function trainable: runs in a worker, which writes the wide tables itself.

Ray carries only a few numbers, of evaluated epochs and now and then of another. A trial that diverges
reports its reason and ends; one that raises goes on here from its last checkpoint until it has failed too
often; only a lost worker fails in Ray's eyes.
"""

import contextlib
import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopoe.errors import DataError
from mopoe.plugins import also_import_from
from mopoe.reports import EpochReport
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import StoreError, TrialTimeError
from sweep.running.dashboards import write_epoch
from sweep.running.notice import reclaim_notice
from sweep.running.reporting import DriverReports, ReportWriter
from sweep.running.shared_inputs import inputs_of_trial, load_inputs
from sweep.running.watchdog import watched
from sweep.running.worker import (
    checkpoint_name,
    device_name,
    failure_report,
    may_pass,
    run_trial,
    watch_path,
)
from sweep.search.trial import SuggestedTrial, TrialReport
from sweep.store.layout import MANIFEST
from sweep.store.write import StoreWriter

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers


def make_trainable(
    spec: SweepSpec,
    root: str,
    *,
    classifier_hash: str | None,
    fingerprint: str,
    use_gpu: bool,
    tell_seconds: float = 0.0,
    tensorboard: bool = False,
    tell_rows: bool = False,
    spot: bool = False,
) -> Callable[[dict[str, Any]], None]:
    """Return the function that Ray Tune calls in a worker with one suggestion of the searcher.

    Args:
        spec: the sweep.
        root: its results folder, or its address.
        classifier_hash: of the classifiers that judge all its trials; None without labels.
        fingerprint: hash of the data that all its trials are trained on.
        use_gpu: whether trials have been given a GPU.
        tell_seconds: after how long a trial tells the driver of an epoch that was not evaluated.
        tensorboard: whether trials write their epochs for TensorBoard, too.
        tell_rows: whether the driver is told what the epochs table holds.
        spot: whether machines may be taken back with notice; a trial then saves what it has.
    """
    # A worker asks no sampler, so that one of the user's own need not be installed there.
    plain = spec.plain() | {"sampler": "random"}
    # Where relative paths begin, and modules of the user's own are found.
    folder = str(Path.cwd())

    def trainable(config: dict[str, Any]) -> None:
        """Train one suggested trial and report its epochs to Ray; a failure is reported, not raised."""
        import torch
        from ray import tune

        trial = SuggestedTrial.from_ray(config)
        # Another machine may lack the folder, and have data that is given by a full path.
        with contextlib.suppress(FileNotFoundError):
            os.chdir(folder)
        also_import_from(folder)  # data sets and networks of the user's own
        spec = SweepSpec.model_validate(plain)
        device = "cuda" if use_gpu and torch.cuda.is_available() else "cpu"
        where = TrialReport(device=device_name(device), host=socket.gethostname())
        writer = StoreWriter(root)
        told = DriverReports(lambda r: tune.report(r.to_ray()), where, tell_seconds, rows=tell_rows)
        if MANIFEST not in writer.files.list():  # nobody would find what is written
            unseen = f"{where.host} has no {writer.files}/{MANIFEST}: all machines must share that folder"
            told.tell(TrialReport(failure=unseen))
            return
        minutes = spec.faults.trial_minutes
        note = watch_path(writer.files.local_dir, trial.trial_id)
        with (
            _tensorboard(writer, trial.trial_id, wanted=tensorboard) as log,
            watched(note, minutes and 60 * minutes) as reset_clock,
            reclaim_notice() if spot else contextlib.nullcontext(lambda: False) as leaving,
        ):
            place = writer, trial.trial_id, trial.attempt, spec.modalities
            reports = ReportWriter(*place, leaving=leaving)

            def on_report(report: EpochReport) -> None:
                log(report)
                told.add_row(report)

            def on_saved(report: TrialReport) -> None:
                told.add(report)
                reset_clock()
                check_time(report, settings.epochs, minutes)

            for tries_left in reversed(range(spec.faults.max_failures + 1)):
                reset_clock()
                try:
                    settings = trial.config(spec)
                    shared = _inputs(spec, root, classifier_hash, fingerprint)
                    inputs = inputs_of_trial(spec, shared, trial.trial_id)
                    weights = checkpoint_name(trial.trial_id)
                    run_trial(
                        *(spec, settings, inputs, reports, weights, device),
                        on_report=on_report,
                        on_saved=on_saved,
                    )
                except Exception as error:  # whatever a user's network raises ends this trial, not the sweep
                    failure, again = failure_report(error), tries_left and may_pass(error)
                    with contextlib.suppress(StoreError):  # what could not be written waits for the next try
                        reports.flush()
                    if isinstance(error, getattr(torch, "AcceleratorError", ())):
                        raise  # this process can use its GPU no more; Ray replaces it
                else:
                    return
                if not again:
                    told.tell(failure)
                    return
                # Outside of the handler, so that the error's frames hold no tensor any more.
                gc.collect()
                torch.cuda.empty_cache()

    return trainable


def _inputs(
    spec: SweepSpec, root: str, classifier_hash: str | None, fingerprint: str
) -> "tuple[MultimodalData, Classifiers]":
    """Return the data and the classifiers that a sweep's trials share, if they are those it began with."""
    data, classifiers = load_inputs(spec, root, classifier_hash)
    if data.fingerprint != fingerprint:
        raise DataError(
            f"{socket.gethostname()} has other data than this sweep began with: their fingerprint is "
            f"{data.fingerprint}, not {fingerprint}"
        )
    return data, classifiers


@contextlib.contextmanager
def _tensorboard(
    writer: StoreWriter, trial_id: str, *, wanted: bool
) -> Iterator[Callable[[EpochReport], None]]:
    """Give what writes an epoch for TensorBoard, or does nothing if that is not wanted."""
    if not wanted:
        yield lambda _: None
        return
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(writer.files.local_dir / "tensorboard" / trial_id)) as log:
        yield lambda report: write_epoch(log, report)


def check_time(report: TrialReport, epochs: int, minutes: float | None) -> None:
    """End a trial that has taken too long, unless it has just finished.

    Raises:
        TrialTimeError: it has epochs left, and took longer than so many minutes for those behind it.
    """
    epoch, seconds = report.epoch or 0, report.seconds or 0.0
    if minutes and epoch < epochs and seconds > 60 * minutes:
        ran = f"{epoch} of {epochs} epochs"
        raise TrialTimeError(f"it took longer than faults.trial_minutes ({minutes:g}) for {ran}")
