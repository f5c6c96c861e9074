"""What a user follows of a running sweep: its trials, the best so far, failures and the time left. Pure."""

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweep.config.objectives import Objective
from sweep.config.sweep_spec import SweepSpec
from sweep.search.budget import Budget
from sweep.search.standing import SweepStatus
from sweep.search.trial import config_status, split_name
from sweep.store.records import TrialRecord

SPREAD, SPREAD_TRIALS = 0.5, 2
"""Until trials have shown how much their costs differ, their relative spread is this, as if seen so often."""
WARM_UP = 2
"""Epochs after which the pace of a trial counts half as much as the known cost of one that has ended."""
DRIFT = 0.05
"""Relative error that remains however many trials are known: machines are not always equally fast."""
EIGHTY_PERCENT = 1.28
"""Standard deviations of a normal distribution on either side of its mean that hold 80 % of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """How far a trial is that runs."""

    trial_id: str
    """The trial."""
    epoch: int = 0
    """Epochs that it has reported."""
    epochs_max: int
    """Its full budget."""
    seconds: float = 0.0
    """Time of these epochs and their evaluations."""
    silent: float = 0.0
    """Seconds since it last reported, as far as that is known."""
    elapsed: float = 0.0
    """Seconds since it began, or went on after a resume as far as that is known."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """Value by objective at its last evaluation; empty before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """How long a sweep will go on."""

    seconds: float
    """The estimate."""
    low: float
    """Start of the interval that holds it with a probability of about 80 %, in seconds."""
    high: float
    """End of that interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A sweep that runs, at a time."""

    status: SweepStatus
    """How it stands, in numbers."""
    objectives: tuple[Objective, ...]
    """Its objectives."""
    expected: int
    """Further seeds that are not among the trials yet, but would come if the front stayed as it is."""
    replicate: str
    """What a further trial of a config is: seed or fold."""
    running: tuple[RunningTrial, ...]
    """The trials that run."""
    best: Mapping[str, tuple[str, float]]
    """The best config by objective, and its value, the mean over its seeds."""
    failures: tuple[tuple[str, str], ...]
    """The trials that failed and the first line of the reason, in the order of their ends."""
    left: TimeLeft | None
    """The time left; None before the first epoch, and when nothing is left to do."""


def overview(
    spec: SweepSpec,
    status: SweepStatus,
    trials: Sequence[TrialRecord],
    running: Sequence[RunningTrial],
    budget: Budget,
) -> Overview:
    """Return what a user follows of a sweep.

    Args:
        spec: the sweep.
        status: how it stands, in numbers.
        trials: every trial that has ended, as the sweep's state has it, or runs.
        running: how far those are that run.
        budget: how long the sweep has run, and may.
    """
    by_config: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        by_config[split_name(trial.trial_id)[0]].append(trial)
    judged = {
        name: config_status([seed for seed in seeds if seed.status != "running"], spec.limits)
        for name, seeds in by_config.items()
    }
    completed = {name: values for name, (kind, values) in judged.items() if kind == "completed"}
    seeds = spec.replicates
    expected = 0
    if seeds.when == "front" and status.total == status.configs and not status.complete:
        expected = status.front_size * (seeds.count - 1)
    failed = sorted((t for t in trials if t.status == "failed"), key=lambda t: t.ended_at or t.started_at)
    hours = math.inf if budget.hours is None else max(0.0, budget.hours - budget.used)
    return Overview(
        status=status,
        objectives=tuple(spec.objectives),
        expected=expected,
        replicate="fold" if seeds.folds else "seed",
        running=tuple(running),
        best={
            o.name: max(
                ((name, values[o.name]) for name, values in completed.items()),
                key=lambda found: o.sign * found[1],
            )
            for o in spec.objectives
            if completed
        },
        failures=tuple((t.trial_id, (t.error or "no reason recorded").split("\n")[0]) for t in failed),
        left=time_left(
            [t.seconds for t in trials if t.seconds and t.status not in ("running", "failed")],
            running,
            status.total - status.begun + expected,
            slots=max(slots(trials), status.counts.get("running", 0)),
            begin_within=3600 * hours,
        ),
    )


def slots(trials: Sequence[TrialRecord]) -> int:
    """Return how many trials ran side by side when the last one began: by then every place was taken."""
    last = max((trial.started_at for trial in trials), default=None)
    return sum(trial.ended_at is None or trial.ended_at > last for trial in trials) if last else 0


def time_left(
    costs: Sequence[float],
    running: Sequence[RunningTrial],
    to_come: int,
    *,
    slots: int,
    begin_within: float = math.inf,
) -> TimeLeft | None:
    """Return the time until the last trial ends; None before the first epoch, and if nothing is left.

    A trial to come costs as much as the mean of those that are known: what has ended, and what runs at its
    pace so far, which counts less while its first epochs, with their warm-up, are most of it. A trial that
    runs goes on at its own pace, drawn to that mean while it is young. Each begins where a place is free
    first. The interval is log-normal, by the spread of the costs, which is drawn to `SPREAD` at first.

    Args:
        costs: seconds of each trial that has ended and did not fail.
        running: the trials that run.
        to_come: the number of those that have not begun.
        slots: how many run side by side.
        begin_within: seconds after which no other begins.
    """
    own = [t.seconds / t.epoch * t.epochs_max if t.epoch else 0.0 for t in running]
    trust = [t.epoch / (t.epoch + WARM_UP) for t in running]
    known = [(cost, 1.0) for cost in costs] + [(c, w) for c, w in zip(own, trust, strict=True) if w]
    n = sum(weight for _, weight in known)
    mean = sum(weight * cost for cost, weight in known) / n if n else 0.0
    if not mean:
        return None
    left = []
    for trial, pace, weight in zip(running, own, trust, strict=True):
        cost = weight * pace + (1 - weight) * mean
        ahead = max(0.0, 1 - trial.epoch / trial.epochs_max) * cost
        # The epoch that runs is partly behind it, but never done before it is reported.
        left.append(ahead - 0.9 * min(trial.silent, cost / trial.epochs_max, ahead))
    places = left + [0.0] * max(not left, slots - len(left))
    heapq.heapify(places)
    begun = 0
    while begun < to_come and places[0] < begin_within:
        heapq.heapreplace(places, places[0] + mean)
        begun += 1
    whole = sum(left) + begun * mean
    if not whole:
        return None
    spread = sum(weight * (cost / mean - 1) ** 2 for cost, weight in known)
    spread = (SPREAD_TRIALS * SPREAD**2 + spread) / (SPREAD_TRIALS + n)
    each = (sum(seconds**2 for seconds in left) + begun * mean**2) / whole**2
    error = math.sqrt(DRIFT**2 + spread * (each + 1 / (0.5 + n)))
    factor = math.exp(EIGHTY_PERCENT * error)
    seconds = max(places)
    return TimeLeft(seconds=seconds, low=seconds / factor, high=seconds * factor)
