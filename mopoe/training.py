"""The core training function: from a config and a data set to a trained model; and many trials at a time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.errors import DivergedError
from mopoe.group import Group, fuse_key
from mopoe.member import Member, start
from mopoe.model import MoPoE
from mopoe.records import EpochReport, Evaluation

Evaluate = Callable[[MoPoE, int], Evaluation | None]
"""Measures the model after an epoch, or returns None if that epoch is not due."""


def train(
    config: TrialConfig,
    data: MultimodalData,
    on_report: Callable[[EpochReport], bool | None],
    *,
    model: MoPoE | None = None,
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
) -> MoPoE:
    """Train one trial and return its model.

    The numbers depend on the config and the data alone: two calls give the same ones on the same machine,
    and so does a call that goes on from a checkpoint.

    Args:
        config: the settings; `config.seed` fixes initialisation, data order and noise.
        data: the data set; its training split is used.
        on_report: called after every epoch. What it raises ends the trial. If it returns False, because the
            report is not on disk yet, that epoch's checkpoint is left out; the last epoch's never is.
        model: a model of your own networks, already initialised; by default the paper's networks. The
            config's settings of the model (from latent_dim, method and the subsets' weights to
            initial_logvar) are then only a record; those of the loss act: beta, mixture, estimator, weights.
        evaluate: held-out measurements, called after every epoch.
        checkpoint: file to go on from if it exists, and to rewrite after epochs.
        device: where to train.

    Raises:
        DivergedError: the loss or the gradient stopped being a finite number; says at which step.
        CheckpointError: the checkpoint is damaged or belongs to a trial with other settings.
    """
    member = start(config, data, model=model, checkpoint=checkpoint, device=device)
    group = Group([member])
    while not member.finished:
        ((_, found),) = group.epoch()
        if isinstance(found, DivergedError):
            raise found
        _after_epoch(member, found, on_report, evaluate)
    return member.model


def train_group(
    configs: Sequence[TrialConfig],
    data: MultimodalData,
    on_report: Callable[[int, EpochReport], bool | None],
    *,
    size: int = 1,
    evaluate: Evaluate | None = None,
    checkpoints: Sequence[Path] | None = None,
    device: torch.device | str = "cpu",
) -> list[MoPoE | DivergedError]:
    """Train many trials, some at a time as one stacked model; return each one's model, or why it diverged.

    The numbers of a trial are those of `train`, but for the rounding of sums in another order. When one ends,
    the next that can be stacked with the others takes its place.

    Args:
        configs: the settings of each trial. Those that cannot be stacked (`fuse_key`) take turns.
        data: the data set.
        on_report: called with a trial's place in `configs` and its report; see `train`.
        size: how many to train at a time at most; `members_per_device` measures what is best.
        evaluate: held-out measurements, called after every epoch of every trial.
        checkpoints: the file of each trial; see `train`.
        device: where to train.
    """
    data = replace(data, train=data.train.to(torch.device(device)))  # one copy for all
    results: dict[int, MoPoE | DivergedError] = {}
    keys = [fuse_key(config, data.modalities) or index for index, config in enumerate(configs)]
    for key in dict.fromkeys(keys):
        # The largest latent first: all others fit into its shapes.
        waiting = sorted((i for i, k in enumerate(keys) if k == key), key=lambda i: -configs[i].latent_dim)
        group, places = Group(size=size if isinstance(key, tuple) else 1), dict[Member, int]()
        while waiting or group.members:
            while waiting and len(group.members) < size:
                i = waiting.pop(0)
                path = None if checkpoints is None else checkpoints[i]
                member = start(configs[i], data, checkpoint=path, device=device)
                results[i], places[member] = member.model, i
                if not member.finished:
                    group.join(member)
            for member, found in group.epoch() if group.members else ():
                i = places[member]
                if isinstance(found, DivergedError):
                    results[i] = found
                else:
                    _after_epoch(member, found, partial(on_report, i), evaluate)
                if isinstance(found, DivergedError) or member.finished:
                    group.leave(member)
    return [results[i] for i in range(len(configs))]


def members_per_device(
    config: TrialConfig,
    data: MultimodalData,
    *,
    candidates: Sequence[int] = (1, 2, 4, 8, 16),
    steps: int = 4,
    device: torch.device | str = "cpu",
) -> int:
    """Return how many trials like this one to train at a time on a device, by some real steps of each number.

    Args:
        config: the settings.
        data: the data set; its first samples are used.
        candidates: the numbers to try; one that does not fit into memory ends the search.
        steps: length of a measurement, of which the fastest of three counts, after one to warm up.
        device: the device, which should have nothing else to do.
    """
    some = torch.arange(min(len(data.train), steps * config.batch_size))
    few = replace(data, train=data.train.take(some).to(torch.device(device)))  # one copy for all
    speeds: dict[int, float] = {}
    for n in candidates if fuse_key(config, data.modalities) else (1,):
        try:
            group = Group([start(replace(config, seed=i), few, device=device) for i in range(n)], n)
            times = [time.perf_counter()]
            for _ in range(4):
                group.epoch()
                times.append(time.perf_counter())
        except torch.OutOfMemoryError:
            if not speeds:
                raise
            break
        speeds[n] = n / min(b - a for a, b in pairwise(times[1:]))
    return knee(speeds)


def knee(speeds: Mapping[int, float]) -> int:
    """Return the smallest number whose speed is within a tenth of the best.

    >>> knee({1: 100.0, 2: 170.0, 4: 185.0, 8: 180.0})
    2
    """
    return min(n for n, speed in speeds.items() if speed >= 0.9 * max(speeds.values()))


def _after_epoch(
    member: Member,
    report: EpochReport,
    on_report: Callable[[EpochReport], bool | None],
    evaluate: Evaluate | None,
) -> None:
    evaluation = None if evaluate is None else evaluate(member.model, member.epoch)
    safe = on_report(replace(report, evaluation=evaluation))
    # After the report: a trial that goes on from a checkpoint must not leave out an epoch's report.
    if safe is not False or member.finished:
        member.save()
