"""`mopoe.train` as a Ray Tune function trainable: runs in a worker, writes the wide tables itself.

Ray carries only a few numbers per epoch. A trial that diverges reports its reason and ends; one that raises
goes on here from its last checkpoint until it has failed too often; only a lost worker fails in Ray's eyes.
"""

import contextlib
import gc
import os
import re
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopoe.config import TrialConfig
from mopoe.errors import DataError, MopoeError, shown
from mopoe.plugins import also_import_from, reason
from mopoe.reports import EpochReport, Evaluation
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import StoreError, TrialTimeError
from sweep.running.dashboards import write_epoch
from sweep.running.materials import materials
from sweep.running.watchdog import watched
from sweep.search.outcome import suggested_config
from sweep.store.layout import CHECKPOINTS, MANIFEST
from sweep.store.write import StoreWriter

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers

TRACEBACK = 8000
"""Signs of a traceback that are kept: its end, where the user's own line is."""
FLUSH_SECONDS = 10.0
"""Reports are written together after this long, so that short epochs do not make a file each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """What every worker of a sweep needs to know; travels once, as plain values."""

    root: str
    """The sweep's results folder, or its address."""
    spec: dict[str, Any]
    """The sweep's YAML file as plain data."""
    judges: str
    """Hash of the classifiers that judge all its trials."""
    fingerprint: str | None = None
    """Hash of the data that all its trials are trained on."""
    threads: int
    """Threads of torch per trial."""
    use_gpu: bool
    """Whether trials have been given a GPU."""
    tensorboard: bool = False
    """Whether trials write their epochs for TensorBoard, too."""
    folder: str = field(default_factory=os.getcwd)
    """Where the sweep was started: relative paths begin, and modules of your own are found, there."""


class ReportWriter:
    """Collects a trial's epoch reports and writes them to the store now and then."""

    def __init__(self, writer: StoreWriter, trial_id: str, attempt: int, modalities: tuple[str, ...]) -> None:
        self._writer = writer
        self._trial_id = trial_id
        self._attempt = attempt
        self._modalities = modalities
        self._waiting: list[EpochReport] = []
        self._flushed_at = time.monotonic()

    def add(self, report: EpochReport) -> bool:
        """Take a report; return whether all reports are written, which happens when it is time."""
        self._waiting.append(report)
        if report.evaluation is not None or time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()
        return self.written

    @property
    def written(self) -> bool:
        """Return whether all reports are written."""
        return not self._waiting

    def flush(self) -> None:
        """Write what has gathered."""
        self._writer.write_reports(self._trial_id, self._attempt, self._waiting, self._modalities)
        self._waiting = []
        self._flushed_at = time.monotonic()


def make_trainable(plan: WorkerPlan) -> Callable[[dict[str, Any]], None]:
    """Return the function that Ray Tune calls in a worker with one suggestion of the searcher."""

    def trainable(suggested: dict[str, Any]) -> None:
        run_suggestion(suggested, plan)

    return trainable


def run_suggestion(suggested: dict[str, Any], plan: WorkerPlan) -> None:
    """Train one suggested trial and report its epochs to Ray Tune; a failure is reported, not raised."""
    import torch
    from ray import tune

    from mopoe.runtime import keep_freed_memory

    torch.set_num_threads(plan.threads)
    keep_freed_memory()
    with contextlib.suppress(FileNotFoundError):  # on another machine; data given by a full path may be there
        os.chdir(plan.folder)
    also_import_from(plan.folder)  # data sets and networks of the user's own
    spec = SweepSpec.model_validate(plan.spec)
    device = "cuda" if plan.use_gpu and torch.cuda.is_available() else "cpu"
    where = {"device": device_name(device), "host": socket.gethostname()}
    writer, name = StoreWriter(plan.root), suggested["trial_id"]
    if MANIFEST not in writer.files.list():  # a machine that joined late: nobody would find what is written
        unseen = f"{where['host']} has no {writer.files}/{MANIFEST}: all machines must share that folder"
        tune.report({**where, "failure": unseen})
        return
    reports = ReportWriter(writer, name, suggested["attempt"], spec.modalities)
    log = None
    if plan.tensorboard:
        from tensorboardX import SummaryWriter

        log = SummaryWriter(str(writer.files.local_dir / "tensorboard" / name))
    minutes = spec.faults.trial_minutes

    def attempt() -> None:
        reset_clock()
        config = suggested_config(spec, suggested)

        def on_report(report: EpochReport) -> bool:
            if log is not None:
                write_epoch(log, report)
            return reports.add(report)

        def on_saved(report: EpochReport) -> None:
            send()
            found = report_to_ray(report.epoch, report.total_seconds, report.evaluation)
            tune.report({**where, **found, "saved": reports.written})
            reset_clock()
            check_time(report, config.epochs, minutes)

        again = run_trial(
            spec,
            config,
            on_report=on_report,
            on_saved=on_saved,
            using=_inputs(spec, plan),
            checkpoint=checkpoint,
            device=device,
        )
        send()
        if again is not None:
            tune.report({**where, **again})

    with (
        watched(watch_path(writer.files.local_dir, name), minutes and 60 * minutes) as reset_clock,
        writer.files.on_disk(checkpoint_name(name)) as (checkpoint, send),
    ):
        failure = failure_of(attempt, spec.faults.max_failures, clean_up=reports.flush)
    if log is not None:
        log.close()
    if failure is not None:
        tune.report({**where, **asdict(failure)})


def _inputs(spec: SweepSpec, plan: WorkerPlan) -> "tuple[MultimodalData, Classifiers]":
    """Return the data and the classifiers that a sweep's trials share, if they are those it began with."""
    data, classifiers = materials(spec, plan.root, plan.judges)
    if plan.fingerprint not in (None, data.fingerprint):
        raise DataError(
            f"{socket.gethostname()} has other data than this sweep began with: their fingerprint is "
            f"{data.fingerprint}, not {plan.fingerprint}"
        )
    return data, classifiers


def check_time(report: EpochReport, epochs: int, minutes: float | None) -> None:
    """End a trial that has taken too long, unless it has just finished.

    Raises:
        TrialTimeError: it has epochs left, and took longer than so many minutes for those behind it.
    """
    if minutes and report.epoch < epochs and report.total_seconds > 60 * minutes:
        ran = f"{report.epoch} of {epochs} epochs"
        raise TrialTimeError(f"it took longer than faults.trial_minutes ({minutes:g}) for {ran}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial failed."""

    failure: str
    """The reason, as one line."""
    traceback: str
    """The end of Python's traceback."""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Return why a trial failed that raised this."""
        text = "".join(traceback.format_exception(error))
        return cls(failure=failure_text(error), traceback=shown(text[-TRACEBACK:]))


def failure_of(
    attempt: Callable[[], None], max_failures: int, clean_up: Callable[[], None]
) -> Failure | None:
    """Call `attempt` until it succeeds or has failed too often; return the last reason, or None."""
    import torch

    for failures in range(max_failures + 1):
        try:
            attempt()
        except Exception as error:  # whatever a user's network raises ends this trial, not the sweep
            found, again = Failure.of(error), failures < max_failures and may_pass(error)
            with contextlib.suppress(StoreError):  # what could not be written waits for the next time
                clean_up()
            if isinstance(error, getattr(torch, "AcceleratorError", ())):
                raise  # This process can use its GPU no more; Ray replaces it.
        else:
            return None
        if not again:
            return found
        # Outside of the handler, so that the error's frames hold no tensor any more.
        gc.collect()
        torch.cuda.empty_cache()
    return None


def run_trial(
    spec: SweepSpec,
    config: TrialConfig,
    *,
    on_report: Callable[[EpochReport], bool],
    on_saved: Callable[[EpochReport], None],
    using: "tuple[MultimodalData, Classifiers]",
    checkpoint: Path,
    device: str,
) -> dict[str, Any] | None:
    """Train one trial with a sweep's materials.

    A trial whose checkpoint has the full budget already, because the driver was lost before it could record
    the end, has no epoch left to report: its held-out measurements are then taken again, and what the driver
    needs of them is returned.
    """
    from mopoe.checkpoint import read_progress
    from mopoe.evaluation.evaluate import Evaluator
    from mopoe.training import train

    data, classifiers = using
    evaluator = Evaluator(
        data, classifiers, spec.evaluation, epochs=config.epochs, also=spec.rungs, device=device
    )
    before = read_progress(checkpoint) if checkpoint.exists() else None
    model = train(
        config, data, on_report, evaluate=evaluator, checkpoint=checkpoint, on_saved=on_saved, device=device
    )
    if before is None or before.epoch < config.epochs:
        return None
    return report_to_ray(before.epoch, before.seconds, evaluator.measure(model, "objectives"))


def checkpoint_name(trial_id: str) -> str:
    """Return the name in the results folder of a trial's rolling checkpoint."""
    return f"{CHECKPOINTS}/{trial_id}.safetensors"


def device_name(device: str) -> str:
    """Return the device with the name of its hardware, for the record."""
    import torch

    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else "cpu"


def report_to_ray(epoch: int, seconds: float, evaluation: Evaluation | None) -> dict[str, Any]:
    """Return the few numbers of an epoch that the driver's records need; the time is that of all epochs."""
    found: dict[str, Any] = {"epoch": epoch, "seconds": seconds}
    if evaluation is not None:
        found["objectives"] = dict(evaluation.objectives)
        found["stderr"] = dict(evaluation.stderr)
        found["n_parameters"] = evaluation.n_parameters
        found["faults"] = dict(evaluation.faults)
    return found


def watch_path(root: Path, trial_id: str) -> Path:
    """Return the file in which a worker that hung leaves where."""
    return root / CHECKPOINTS / f".{trial_id}.watch"


def may_pass(error: Exception) -> bool:
    """Return whether a second try may do better; the same settings and data give the same numbers again."""
    return isinstance(error, StoreError) or not isinstance(error, MopoeError)


def failure_text(error: BaseException) -> str:
    """Return the reason of a failure as one line.

    >>> failure_text(RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ..."))
    'out of memory (tried to allocate 2.50 GiB); lower batch_size, latent_dim or channels, or raise resources'
    """
    text = shown(" ".join(str(error).split()))
    if isinstance(error, MemoryError) or re.search(r"out of memory|(can't|not enough).* memory", text):
        size = re.search(r"allocate (\d[\d.]* ?\w+)", text)
        tried = f" (tried to allocate {size[1]})" if size else ""
        return f"out of memory{tried}; lower batch_size, latent_dim or channels, or raise resources"
    return text if isinstance(error, MopoeError) and text else shown(reason(error))
