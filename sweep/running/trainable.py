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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopoe.config import TrialConfig
from mopoe.errors import MopoeError
from mopoe.functions import also_import_from
from mopoe.records import EpochReport, Evaluation
from sweep.errors import StoreError, TrialTimeError
from sweep.running.dashboards import write_epoch
from sweep.running.materials import materials
from sweep.running.watchdog import watched
from sweep.search.outcome import suggested_config
from sweep.spec.sweep_spec import SweepSpec
from sweep.store.merge import CHECKPOINTS
from sweep.store.read import MANIFEST
from sweep.store.write import StoreWriter

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers

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

    from mopoe.memory import keep_freed_memory

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

        log = SummaryWriter(str(writer.files.here / "tensorboard" / name))
    minutes = spec.faults.trial_minutes
    began = time.monotonic()

    def attempt() -> None:
        reset_clock()
        config = suggested_config(spec, suggested)

        def on_report(report: EpochReport) -> bool:
            send()  # the checkpoint of the epoch before
            written = reports.add(report)
            if log is not None:
                write_epoch(log, report)
            tune.report({**where, **report_to_ray(report.epoch, report.evaluation)})
            reset_clock()
            if minutes and report.epoch < config.epochs and time.monotonic() - began > 60 * minutes:
                ran = f"{report.epoch} of {config.epochs} epochs"
                raise TrialTimeError(f"it took longer than faults.trial_minutes ({minutes:g}) for {ran}")
            return written

        using = materials(spec, plan.root, plan.judges)
        measured = run_trial(spec, config, on_report, using=using, checkpoint=checkpoint, device=device)
        send()
        if measured is not None:
            tune.report({**where, **report_to_ray(config.epochs, measured)})

    with (
        watched(watch_path(writer.files.here, name), minutes and 60 * minutes) as reset_clock,
        writer.files.on_disk(checkpoint_name(name)) as (checkpoint, send),
    ):
        failure = failure_of(attempt, spec.faults.max_failures, clean_up=reports.flush)
    if log is not None:
        log.close()
    if failure is not None:
        tune.report({**where, "failure": failure})


def failure_of(attempt: Callable[[], None], max_failures: int, clean_up: Callable[[], None]) -> str | None:
    """Call `attempt` until it succeeds or has failed too often; return the last reason, or None."""
    import torch

    for failures in range(max_failures + 1):
        try:
            attempt()
        except Exception as error:  # whatever a user's network raises ends this trial, not the sweep
            text, again = failure_text(error), failures < max_failures and may_pass(error)
            with contextlib.suppress(StoreError):  # what could not be written waits for the next time
                clean_up()
            if isinstance(error, getattr(torch, "AcceleratorError", ())):
                raise  # This process can use its GPU no more; Ray replaces it.
        else:
            return None
        if not again:
            return text
        # Outside of the handler, so that the error's frames hold no tensor any more.
        gc.collect()
        torch.cuda.empty_cache()
    return None


def run_trial(
    spec: SweepSpec,
    config: TrialConfig,
    on_report: Callable[[EpochReport], bool],
    *,
    using: "tuple[MultimodalData, Classifiers]",
    checkpoint: Path,
    device: str,
) -> Evaluation | None:
    """Train one trial with a sweep's materials.

    A trial whose checkpoint has the full budget already, because the driver was lost before it could record
    the end, has no epoch left to report: its held-out measurements are then taken again and returned.
    """
    from mopoe.checkpoint import read_progress
    from mopoe.evaluation.evaluate import Evaluator
    from mopoe.training import train

    data, classifiers = using
    evaluator = Evaluator(
        data, classifiers, spec.evaluation, epochs=config.epochs, also=spec.rungs, device=device
    )
    finished = checkpoint.exists() and read_progress(checkpoint).epoch >= config.epochs
    model = train(config, data, on_report, evaluate=evaluator, checkpoint=checkpoint, device=device)
    return evaluator.measure(model, "objectives") if finished else None


def checkpoint_name(trial_id: str) -> str:
    """Return the name in the results folder of a trial's rolling checkpoint."""
    return f"{CHECKPOINTS}/{trial_id}.safetensors"


def device_name(device: str) -> str:
    """Return the device with the name of its hardware, for the record."""
    import torch

    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else "cpu"


def report_to_ray(epoch: int, evaluation: Evaluation | None) -> dict[str, Any]:
    """Return the few numbers of an epoch that the searcher and the driver's records need."""
    found: dict[str, Any] = {"epoch": epoch}
    if evaluation is not None:
        found["objectives"] = dict(evaluation.objectives)
        found["stderr"] = dict(evaluation.stderr)
        found["n_parameters"] = evaluation.n_parameters
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
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or re.search(r"out of memory|can't allocate memory", text):
        size = re.search(r"allocate (\d[\d.]* ?\w+)", text)
        tried = f" (tried to allocate {size[1]})" if size else ""
        return f"out of memory{tried}; lower batch_size, latent_dim or channels, or raise resources"
    return text if isinstance(error, MopoeError) and text else f"{type(error).__name__}: {text}"
