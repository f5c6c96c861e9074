"""What losing machines costs a sweep: 64 simulated machines that vanish and come back, on a made-up clock.

Run: python benchmarks/losses.py [--seeds 10]      (two minutes)

Searcher, state, recorder and store are those of a sweep, called as Ray calls them, and so is what paces a
trial's checkpoints. Machines, epochs and the clock are made up: a machine trains one trial at a time and
vanishes without a warning, as a Poisson process; another one comes some minutes later. A trial that was on it
goes back to its last checkpoint, on the next machine that is free.

Printed for each seed: trials that were hit, the time to finish beside that of the same sweep without losses,
work that was done again for each loss beside the longest interval between checkpoints, and whether every
trial is there once and every epoch once. What it cannot show: Ray's own time to notice a loss, slow networks.
"""

import argparse
import heapq
import itertools
import statistics
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import header

from mopoe.reports import EpochReport, Evaluation
from sweep.config.sweep_spec import SweepSpec, load_spec
from sweep.running.recorder import Recorder
from sweep.running.reporting import ReportWriter
from sweep.running.worker import trial_report
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial
from sweep.store.read import Store
from sweep.store.write import StoreWriter

MACHINES, TRIALS, EPOCHS = 64, 256, 20
EPOCH, CHECKPOINT, START, NOTICED, REPLACED = 60.0, 2.0, 30.0, 30.0, 300.0
"""Seconds of a mean epoch, a checkpoint and a worker's start; until a loss is noticed, and replaced."""
STORE = 90.0
"""Seconds between checkpoints at an object store."""


@dataclass(slots=True)
class Training:
    """A trial on its way."""

    trial: SimpleNamespace
    """What Ray hands to its callbacks."""
    pace: float
    """Seconds of its epochs."""
    epoch: int = 0
    """The epoch it has reached."""
    saved: int = 0
    """The epoch of its checkpoint."""
    reports: ReportWriter | None = None
    """What paces its checkpoints on the machine it is on."""


@dataclass(slots=True)
class Outcome:
    """What one simulated sweep came to."""

    seconds: float = 0.0
    """When the last trial ended."""
    hit: set[str] = field(default_factory=set)
    """Trials that lost a machine."""
    again: list[float] = field(default_factory=list)
    """Seconds of training that each loss undid."""
    interval: float = 0.0
    """The longest time between two checkpoints of a trial on one machine; a start counts as one."""
    sound: bool = False
    """Whether every trial completed once, with every epoch once."""


class Simulation:
    """One sweep over machines that come and go."""

    def __init__(self, spec: SweepSpec, folder: Path, seed: int, per_hour: float) -> None:
        """Begin a sweep.

        Args:
            spec: the sweep.
            folder: for its store.
            seed: of the machines.
            per_hour: losses per machine and hour.
        """
        self.now, self.out = 0.0, Outcome()
        self._spec, self._rate = spec, per_hour / 3600
        self._random, self._folder = np.random.default_rng(seed), folder
        self._writer = StoreWriter(folder)
        self._writer.files.interval = STORE
        state = SweepState(spec)
        self._searcher = SweepSearcher(spec, state)
        self._recorder = Recorder(spec, state, self._writer, on_config=self._searcher.tell)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._waiting: deque[Training] = deque()
        self._on: dict[int, Training | None] = {}
        self._last: dict[int, float] = {}
        self._more = True

    def run(self) -> Outcome:
        """Run it to its end."""
        for machine in range(MACHINES):
            self._arrive(machine)
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
        store, n = Store(self._folder), self._spec.trials
        trials, epochs = store.trials().collect(), store.epochs().select("trial_id", "epoch").collect()
        whole = trials.height == trials["trial_id"].n_unique() == n
        once = epochs.unique().height == epochs.height == n * EPOCHS
        self.out.sound = whole and once and set(trials["status"]) == {"completed"}
        return self.out

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), act))

    def _arrive(self, machine: int) -> None:
        self._on[machine] = None
        if self._rate:
            life = float(self._random.exponential(1 / self._rate))
            self._at(life, lambda: self._vanish(machine))
        self._take(machine)

    def _vanish(self, machine: int) -> None:
        training = self._on.pop(machine)
        if training is not None:
            self.out.hit.add(training.trial.config["trial_id"])
            self.out.again.append(self.now - self._last[machine])
            training.epoch = training.saved
            self._at(NOTICED, lambda: self._put_back(training))
        if self._left():
            new = max(self._last.keys() | self._on.keys() | {machine}) + 1
            self._last[new] = self.now
            self._at(float(self._random.exponential(REPLACED)), lambda: self._arrive(new))

    def _left(self) -> bool:
        return bool(self._waiting or any(self._on.values())) or self._more

    def _put_back(self, training: Training) -> None:
        self._waiting.append(training)
        for machine, busy in self._on.items():
            if busy is None:
                self._take(machine)
                return

    def _take(self, machine: int) -> None:
        """Give a free machine the trial that waits, or the next one."""
        if self._waiting:
            training = self._waiting.popleft()
        else:
            config = self._searcher.suggest(f"r{next(self._order)}")
            if not isinstance(config, dict):
                self._more = False
                return
            trial = SimpleNamespace(trial_id=f"r{next(self._order)}", config=config)
            training = Training(trial, EPOCH * float(self._random.uniform(0.5, 1.5)))
        self._on[machine] = training
        self._recorder.on_trial_start(0, [], training.trial)
        suggested = SuggestedTrial.from_ray(training.trial.config)
        ids = suggested.trial_id, suggested.attempt
        training.reports = ReportWriter(self._writer, *ids, self._spec.modalities, lambda: self.now)
        self._last[machine] = self.now
        self._epoch(machine, training, START)

    def _epoch(self, machine: int, training: Training, wait: float = 0.0) -> None:
        self._at(wait + training.pace, lambda: self._reached(machine, training))

    def _reached(self, machine: int, training: Training) -> None:
        """Report an epoch, unless its machine is gone meanwhile, and save a checkpoint if one is due."""
        if self._on.get(machine) is not training:
            return
        training.epoch += 1
        report = _report(training.epoch, training.pace, self._spec)
        assert training.reports
        training.reports.add(report)
        whole = training.reports.due or training.epoch == EPOCHS
        cost = CHECKPOINT if whole else 0.0
        self._at(cost, lambda: self._saved(machine, training, report, whole=whole))

    def _saved(self, machine: int, training: Training, report: EpochReport, *, whole: bool) -> None:
        if self._on.get(machine) is not training:
            return
        assert training.reports
        training.reports.saved()
        if whole:
            training.saved = training.epoch
            self.out.interval = max(self.out.interval, self.now - self._last[machine])
            self._last[machine] = self.now
        at = report.epoch, report.total_seconds
        told = trial_report(*at, report.evaluation, saved=whole).to_ray()
        self._recorder.on_trial_result(0, [], training.trial, told)
        if training.epoch < EPOCHS:
            self._epoch(machine, training)
            return
        self._recorder.on_trial_complete(0, [], training.trial)
        self._on[machine], self.out.seconds = None, self.now
        self._take(machine)


def _report(epoch: int, pace: float, spec: SweepSpec) -> EpochReport:
    measured = None
    if epoch == EPOCHS:
        values = {objective.name: -pace for objective in spec.objectives}
        measured = Evaluation(
            split="validation",
            objectives=values,
            stderr=dict.fromkeys(values, 1.0),
            subset_metrics=(),
            pair_coherence=(),
            pictures=(),
            seconds=0.0,
            n_parameters=1,
        )
    return EpochReport(
        epoch=epoch,
        step=epoch,
        examples=epoch,
        seconds=pace,
        loss=0.0,
        elbo=0.0,
        reconstruction=dict.fromkeys(spec.modalities, 0.0),
        kl=0.0,
        lr=0.001,
        grad_norm=0.0,
        evaluation=measured,
        total_seconds=epoch * pace,
    )


def simulate(seed: int, *, trials: int = TRIALS, per_hour: float) -> Outcome:
    """Return what a sweep of so many trials comes to with so many losses per machine and hour."""
    fixed = [f"fixed.epochs={EPOCHS}", "sampler=random", "replicates.seeds=1", "faults.max_failures=20"]
    spec = load_spec("digits", [f"trials={trials}", "replicates.when=all", *fixed])
    with tempfile.TemporaryDirectory() as folder:
        return Simulation(spec, Path(folder), seed, per_hour).run()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    print(header("ray"))
    per_hour = 0.6  # about a fifth of the trials of 20 minutes
    sweep = f"{TRIALS} trials of {EPOCHS} epochs of {EPOCH:.0f} s"
    print(f"{MACHINES} machines with {per_hour} losses an hour each, {sweep}")
    print(
        "seed  losses  trials hit  time / without losses  undone, s a loss (longest)  longest interval  sound"
    )
    slower, undone = [], []
    for seed in range(seeds):
        plain, out = simulate(seed, per_hour=0.0), simulate(seed, per_hour=per_hour)
        slower.append(out.seconds / plain.seconds)
        undone += out.again
        print(
            f"{seed:4}{len(out.again):8}{len(out.hit) / TRIALS:11.0%}{slower[-1]:22.3f}"
            f"{statistics.mean(out.again):19.0f} ({max(out.again):.0f}){out.interval:18.0f}"
            f"  {'yes' if out.sound and plain.sound else 'NO'}"
        )
    most = f"({min(slower):.3f} to {max(slower):.3f})"
    print(f"time: {statistics.mean(slower):.3f} times that without losses {most}")
    print(f"undone: {statistics.mean(undone):.0f} s a loss")


if __name__ == "__main__":
    main()
