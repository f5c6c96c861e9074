"""A sweep by a thousand workers: what its driver and its object store have to bear.

Run: python benchmarks/workers.py       (five minutes)

State, searcher, recorder and writers are the project's own; the workers, their epochs and the store are made
up, on a clock that jumps from event to event. A trial has 300 epochs of 0.85 s (PolyMNIST on a GPU), a
checkpoint of 170 MB and one evaluation, at its end; a request takes 50 ms, and a worker sends 100 MB a
second. CPU time of the driver: our part is measured here; what Ray and we take for a report, in a real run
with trials that do nothing but report, is added for each report.

"every epoch" tells the driver of every epoch, and writes reports and a checkpoint every ten seconds.
"""

import heapq
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import count
from types import SimpleNamespace
from typing import BinaryIO

from common import header
from driver import made_up, trivial_spec
from store import NAMES, reports

from mopoe.reports import EpochReport
from sweep.config.sweep_spec import SweepSpec
from sweep.running import reporting
from sweep.running.recorder import Recorder
from sweep.running.reporting import DriverReports, ReportWriter
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, TrialReport
from sweep.store.files import Files
from sweep.store.write import StoreWriter

WORKERS, TRIALS, EPOCHS, EPOCH_SECONDS = 1000, 2000, 300, 0.85
CHECKPOINT_BYTES, BYTES_PER_SECOND, REQUEST_SECONDS = 170e6, 100e6, 0.05
REPORTS = 1000
SHARE = reporting.CHECKPOINT_SHARE


@dataclass(slots=True)
class World:
    """The clock, and what has happened."""

    now: float = 0.0
    told: int = 0
    driver: float = 0.0
    """CPU seconds of the driver."""


class MadeUpStore(Files):
    """Counts what is stored, and takes its time; keeps nothing."""

    def __init__(self, world: World, *, waited_for: bool) -> None:
        self.address, self._world, self._waited_for = "s3://made/up", world, waited_for
        self.puts, self.files, self.bytes = 0, 0, 0.0

    def put(self, name: str, write: Callable[[BinaryIO], object]) -> None:  # noqa: ARG002 - as in Files
        """Count a file."""
        buffer = BytesIO()
        write(buffer)
        self.files += 1
        self.send(buffer.tell())

    def send(self, size: float) -> None:
        """Count a file of so many bytes."""
        self.puts += 1
        self.bytes += size
        if self._waited_for:
            self._world.now += REQUEST_SECONDS + size / BYTES_PER_SECOND

    def list(self, folder: str = "") -> dict[str, int]:  # noqa: ARG002 - as in Files
        """Return that there is nothing."""
        return {}

    def delete(self, name: str) -> None:
        """Do nothing."""


@contextmanager
def timed(world: World) -> Iterator[None]:
    """Count the CPU time of a block as the driver's."""
    began = time.process_time()
    yield
    world.driver += time.process_time() - began


class Sweep:
    """A sweep by a thousand workers on a clock of its own."""

    def __init__(self, spec: SweepSpec, made: Sequence[EpochReport], tell_seconds: float) -> None:
        self.world, self._made, self._tell_seconds = World(), made, tell_seconds
        self.of_driver = MadeUpStore(self.world, waited_for=False)
        self.of_workers = MadeUpStore(self.world, waited_for=True)
        state = SweepState(spec)
        self._searcher = SweepSearcher(spec, state)
        self._recorder = Recorder(spec, state, StoreWriter(self.of_driver), on_config=self._searcher.tell)
        self._numbers, self._events = count(), []

    def run(self) -> None:
        """Run it to its end."""
        for _ in range(WORKERS):
            self._begin()
        while self._events:
            self.world.now, _, epochs = heapq.heappop(self._events)
            if next(epochs, "ended") != "ended":
                self._come_back(epochs)

    def _begin(self) -> None:
        with timed(self.world):
            config = self._searcher.suggest(name := f"r{next(self._numbers)}")
            if not isinstance(config, dict):
                return
            trial = SimpleNamespace(trial_id=name, config=config)
            self._recorder.on_trial_start(0, [], trial)
        self._come_back(self._epochs(trial))

    def _come_back(self, epochs: Iterator[None]) -> None:
        heapq.heappush(self._events, (self.world.now + EPOCH_SECONDS, next(self._numbers), epochs))

    def _epochs(self, trial: SimpleNamespace) -> Iterator[None]:
        suggested = SuggestedTrial.from_ray(trial.config)
        writer = ReportWriter(
            StoreWriter(self.of_workers), suggested.trial_id, 0, NAMES, lambda: self.world.now
        )

        def tell(report: TrialReport) -> None:
            self.world.told += 1
            with timed(self.world):
                self._recorder.on_trial_result(0, [], trial, report.to_ray())

        driver = DriverReports(tell, TrialReport(), self._tell_seconds, lambda: self.world.now)
        for report in self._made:
            writer.add(report)
            if writer.due or report.evaluation:
                self.of_workers.send(CHECKPOINT_BYTES)
            writer.saved()
            measured = made_up(suggested.suggestion, report.epoch) if report.evaluation else None
            driver.add(
                TrialReport(epoch=report.epoch, seconds=1.0, objectives=measured, saved=writer.due or None)
            )
            if report is not self._made[-1]:
                yield
        with timed(self.world):
            self._recorder.on_trial_complete(0, [], trial)
        self._begin()


def cost_of_a_report() -> float:
    """Return the CPU seconds of a driver for a report in a real run, Ray's part and ours."""
    import ray

    from sweep.running import driver
    from sweep.store.read import Store

    spec = trivial_spec(2, "resources.concurrent=2", "resources.gpu=0", f"fixed.epochs={REPORTS}")
    driver.start_ray("local")
    took = []
    for each in (1, REPORTS):

        def only_reports(_: dict, each: int = each) -> None:
            from ray import tune

            for epoch in range(1, each + 1):
                tune.report({"epoch": epoch, "seconds": 1.0})

        with tempfile.TemporaryDirectory() as folder:
            state = SweepState(spec)
            searcher = SweepSearcher(spec, state, ahead=True)
            recorder = Recorder(spec, state, StoreWriter(folder), on_config=searcher.tell)
            began = time.process_time()
            driver.make_tuner(spec, Store(folder), only_reports, searcher, recorder).fit()
            took.append(time.process_time() - began)
    ray.shutdown()
    return (took[1] - took[0]) / (2 * (REPORTS - 1))


def main() -> None:
    """Print a row for each way to pace the workers."""
    print(header("ray"))
    (last,) = reports(0, 1)
    first = replace(last, evaluation=None)
    made = [replace(first, epoch=e) for e in range(1, EPOCHS)] + [replace(last, epoch=EPOCHS)]
    each = cost_of_a_report()
    print(f"a report costs the driver of a real run {1e3 * each:.2f} ms of CPU time, Ray's part and ours")
    print(f"{TRIALS} trials of {EPOCHS} epochs by {WORKERS} workers; by second, and share of a core\n")
    print(f"{'':<14}{'reports':>9}{'puts':>8}{'MB':>9}{'files':>9}{'ours':>8}{'with Ray':>10}")
    ways = {
        "every epoch": (0.0, math.inf, 10.0),
        "now": (reporting.TELL_SECONDS["cluster"], SHARE, Files.interval),
    }
    for name, (tell, share, interval) in ways.items():
        reporting.CHECKPOINT_SHARE, MadeUpStore.interval = share, interval
        sweep = Sweep(trivial_spec(TRIALS, f"fixed.epochs={EPOCHS}", "replicates.seeds=1"), made, tell)
        sweep.run()
        world, stores = sweep.world, (sweep.of_driver, sweep.of_workers)
        told, puts = world.told / world.now, sum(store.puts for store in stores) / world.now
        ours, size = world.driver / world.now, sum(store.bytes for store in stores) / world.now
        files = sum(store.files for store in stores)
        both = ours + told * each
        print(
            f"{name:<14}{told:>9.0f}{puts:>8.0f}{size / 1e6:>9.0f}{files:>9}{ours:>8.1%}{both:>10.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
