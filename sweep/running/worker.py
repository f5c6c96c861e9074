"""Runs one trial: a sweep's workers and `sweep trial` train and record by this one way, to the same bits."""

import re
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mopoe.config import TrialConfig
from mopoe.errors import MopoeError, shown
from mopoe.plugins import reason
from mopoe.quantities import final_metric, with_quantities
from mopoe.reports import EpochReport, Evaluation
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import StoreError
from sweep.running.reporting import ReportWriter
from sweep.search.trial import TrialReport
from sweep.store.layout import CHECKPOINTS

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers

TRACEBACK = 8000
"""Characters of a traceback that are kept: its end, where the user's own line is."""


def run_trial(
    spec: SweepSpec,
    config: TrialConfig,
    inputs: "tuple[MultimodalData, Classifiers]",
    reports: ReportWriter,
    weights: str,
    device: str,
    *,
    on_report: Callable[[EpochReport], None],
    on_saved: Callable[[TrialReport], None],
) -> None:
    """Train a trial, or what is left of it, and write what it reports; `reports` decides when.

    A trial whose checkpoint has the full budget already, because the driver was lost before it could record
    the end, has no epoch left to report: its held-out measurements are then taken again for `on_saved`.

    Args:
        spec: the sweep, for its evaluation, rungs and threads.
        config: the trial's settings.
        inputs: the data and the classifiers that all trials of the sweep share.
        reports: where epochs go.
        weights: name in the results folder of the trial's rolling checkpoint.
        device: "cpu" or "cuda".
        on_report: called after every epoch, once the writer has its report.
        on_saved: called with what the driver's record needs of an epoch, once its checkpoint is saved or
            was left out because none is due.
    """
    import torch

    from mopoe.checkpoint import read_progress
    from mopoe.evaluation.evaluate import Evaluator
    from mopoe.runtime import keep_freed_memory, return_freed_memory
    from mopoe.training import banks_fit, train

    torch.set_num_threads(max(1, int(spec.resources.cpu)))
    keep_freed_memory()
    data, classifiers = inputs
    evaluator = Evaluator(
        data, classifiers, spec.evaluation, epochs=config.epochs, also=spec.rungs, device=device
    )

    def wanted(evaluation: Evaluation | None, epoch: int, seconds: float) -> Evaluation | None:
        known = spec.quantities, spec.modalities, epoch, seconds
        return evaluation and with_quantities(evaluation, *known)

    def take(report: EpochReport) -> bool:
        evaluation = wanted(report.evaluation, report.epoch, report.total_seconds)
        reports.add(report := replace(report, evaluation=evaluation))
        on_report(report)
        return reports.due

    def saved(report: EpochReport) -> None:
        send()
        reports.saved()
        at, whole = (report.epoch, report.total_seconds), reports.due or report.epoch == config.epochs
        on_saved(trial_report(*at, wanted(report.evaluation, *at), saved=whole))

    with ExitStack() as ended:
        ended.callback(return_freed_memory)
        checkpoint, send = ended.enter_context(reports.files.on_disk(weights))
        before = read_progress(checkpoint) if checkpoint.exists() else None
        model = train(
            config, data, take, evaluate=evaluator, checkpoint=checkpoint, on_saved=saved, device=device
        )
        if before is not None and before.epoch == config.epochs:
            if banks_fit(config, device):  # as when it was measured first, to the last digit
                model.bank()
            final = any(final_metric(name) for name in spec.quantities)
            again = evaluator.measure(model, "all" if final else "objectives")
            at = before.epoch, before.seconds
            on_saved(trial_report(*at, wanted(again, *at), saved=True))


def trial_report(epoch: int, seconds: float, evaluation: Evaluation | None, *, saved: bool) -> TrialReport:
    """Return the few numbers of an epoch that the driver's record needs; the time is that of all epochs."""
    report = TrialReport(epoch=epoch, seconds=seconds, saved=saved)
    if evaluation is None:
        return report
    return replace(
        report,
        objectives=dict(evaluation.objectives),
        stderr=dict(evaluation.stderr),
        n_parameters=evaluation.n_parameters,
        faults=dict(evaluation.faults),
    )


def failure_report(error: BaseException) -> TrialReport:
    """Return why a trial failed that raised this."""
    text = "".join(traceback.format_exception(error))
    return TrialReport(failure=failure_text(error), traceback=shown(text[-TRACEBACK:]))


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


def may_pass(error: Exception) -> bool:
    """Return whether a second try may do better; the same settings and data give the same numbers again."""
    return isinstance(error, StoreError) or not isinstance(error, MopoeError)


def checkpoint_name(trial_id: str) -> str:
    """Return the name in the results folder of a trial's rolling checkpoint."""
    return f"{CHECKPOINTS}/{trial_id}.safetensors"


def weights_name(trial_id: str, attempt: int) -> str:
    """Return the name in the results folder of the weights of an attempt by `sweep trial`."""
    return checkpoint_name(f"{trial_id}-{attempt}")


def watch_path(root: Path, trial_id: str) -> Path:
    """Return the file in which a worker that hung leaves where."""
    return root / CHECKPOINTS / f".{trial_id}.watch"


def device_here(spec: SweepSpec) -> str:
    """Return on what this machine trains a sweep's trials: "cpu" or "cuda"."""
    import torch

    return "cuda" if torch.cuda.is_available() and spec.resources.gpu != 0 else "cpu"


def device_name(device: str) -> str:
    """Return the device with the name of its hardware, for the record; of a CPU, how it convolves."""
    import torch

    from mopoe.kernels import library

    if device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return "cpu" if library(torch.float32) is None else "cpu (compiled convolutions)"
