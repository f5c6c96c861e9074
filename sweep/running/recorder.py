"""The driver's side of the record: writes the trials table as Ray Tune's callbacks report what happens."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray.tune import Callback

from sweep.config.sweep_spec import SweepSpec
from sweep.running.record_log import LogRecord, epoch_record
from sweep.running.signals import interrupt
from sweep.running.steering import STOPPED, Steering
from sweep.running.watchdog import hung_at
from sweep.running.worker import checkpoint_name, watch_path
from sweep.search.budget import Budget
from sweep.search.overview import Overview, RunningTrial, overview
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.search.trial import ConfigResult, SuggestedTrial, TrialReport, begin_record, end_record
from sweep.store.layout import CHECKPOINTS
from sweep.store.records import EventRecord, Status, TrialRecord
from sweep.store.write import StoreWriter


@dataclass(slots=True)
class _Running:
    """A trial between its start and its end."""

    record: TrialRecord
    began: float
    last: TrialReport = field(default_factory=TrialReport)
    heard: float = math.inf

    @property
    def far(self) -> RunningTrial:
        """Return how far it is."""
        now = time.monotonic()
        return RunningTrial(
            trial_id=self.record.trial_id,
            epoch=self.last.epoch or 0,
            epochs_max=self.record.epochs_max,
            seconds=self.last.seconds or 0.0,
            silent=max(0.0, now - self.heard),
            elapsed=now - self.began,
            measured=self.last.measured if self.last.objectives else {},
        )


class Recorder(Callback):
    """Ends trials in the sweep's state, writes one row for each, and keeps the weights that are to stay.

    Args:
        spec: the sweep.
        state: its trials by where they stand.
        writer: the store.
        on_step: called several times a second with what returns how the sweep stands in detail.
        on_setup: called once Ray Tune has set up what it needs, and before the first trial begins.
        on_config: called with every config of which no seed runs or is missing any more.
        fingerprint: hash of the data that trials are trained on.
        budget: how long the sweep has run and may run; no further trial begins once it is used up.
        log: called with every record of a trial, an epoch or an event.
        steering: what users ask for while the sweep runs.
    """

    def __init__(
        self,
        spec: SweepSpec,
        state: SweepState,
        writer: StoreWriter,
        *,
        on_step: Callable[[Callable[[], Overview]], None] = lambda _: None,
        on_setup: Callable[[], None] = lambda: None,
        on_config: Callable[[ConfigResult], None] = lambda _: None,
        fingerprint: str | None = None,
        budget: Budget | None = None,
        log: Callable[[LogRecord], None] = lambda _: None,
        steering: Steering | None = None,
    ) -> None:
        self._spec = spec
        self._steering = steering or Steering(spec, state, writer, log=log)
        self._state = state
        self._writer = writer
        self._on_step = on_step
        self._on_setup = on_setup
        self._on_config = on_config
        self._fingerprint = fingerprint
        self._budget = budget or Budget(None)
        self._log = log
        self._running: dict[str, _Running] = {}
        self._never_began = Counter[str]()
        self._draining: set[str] | None = None
        there = writer.files.list(CHECKPOINTS)
        self._weights: dict[str, Status] = {
            r.trial_id: r.status for r in state.ended if checkpoint_name(r.trial_id) in there
        }
        self._drop_weights()

    def setup(self, *args: Any, **info: Any) -> None:
        """Pass on that Ray Tune is set up."""
        self._on_setup()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Take what users ask for, and let them see how the sweep stands."""
        if self._state.next_action() is not Action.END:  # else Tune ends, and what is asked for waits
            self._steering.look()
        self._on_step(self.overview)

    def overview(self) -> Overview:
        """Return how the sweep stands in detail."""
        trials = [*self._state.ended, *(running.record for running in self._running.values())]
        far = [running.far for running in self._running.values()]
        return overview(self._spec, self._state.status, trials, far, self._budget)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that a trial runs; a retry after a lost worker keeps its first record."""
        if trial.trial_id not in self._running:
            self._running[trial.trial_id] = self._begun(SuggestedTrial.from_ray(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what a trial reported last."""
        running, report = self._running.get(trial.trial_id), TrialReport.from_ray(result)
        if running is None or (report.epoch is None and report.failure is None):
            return
        for row in report.rows or ():
            self._log(epoch_record(running.record, row))
        running.last = running.last.followed_by(replace(report, rows=None))
        running.heard = time.monotonic()
        value = report.measured.get(self._spec.objectives[0].name)
        if report.epoch is not None and value is not None:
            self._state.measured(running.record.trial_id, report.epoch, value)
        if report.saved:
            self._drained(trial.trial_id)

    def on_decision(self, decision: EventRecord) -> None:
        """Record what was decided at a rung; a trial that is stopped keeps the reason for its end."""
        running = next(r for r in self._running.values() if r.record.trial_id == decision.trial_id)
        self._write(replace(decision, attempt=running.record.attempt))
        if decision.decision == "stop":
            running.last = replace(running.last, stopped=decision.reason)

    def unwanted(self, trial_id: str, report: TrialReport) -> bool:
        """Return whether a user ends a trial here, which then keeps the reason for its end."""
        if not self._steering.ends(trial_id, report):
            return False
        running = next(r for r in self._running.values() if r.record.trial_id == trial_id)
        running.last = replace(running.last, stopped=STOPPED)
        return True

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record how a trial ended that returned by itself."""
        self._close(self._running.pop(trial.trial_id))
        self._drained(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial whose worker was lost more often than allowed, or could not be started.

        A trial that was to take over the worker of another that was just killed comes again: Ray itself
        starts only those again that ran.
        """
        running, suggested = self._running.pop(trial.trial_id, None), SuggestedTrial.from_ray(trial.config)
        name = suggested.trial_id
        if running is not None:
            self._close(running, lost_reason(self._writer.files.local_dir, name))
        elif self._never_began[name] < self._spec.faults.max_failures:
            self._never_began[name] += 1
            self._state.give_back(suggested)
        else:
            told = str(trial.get_error() or "Ray gives no reason").strip().splitlines()[-1]
            self._close(self._begun(suggested), f"no worker could be started for it: {told}")
        self._drained(trial.trial_id)

    def drain(self) -> None:
        """Interrupt the sweep as soon as every trial that runs has written a checkpoint; begin no other."""
        self._state.halted = True
        self._draining = set(self._running)
        self._drained("")

    @property
    def interrupted(self) -> bool:
        """Return whether the sweep was drained."""
        return self._draining is not None

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles callbacks to restore them, and a sweep is never restored so."""
        return {}

    def _begun(self, trial: SuggestedTrial) -> _Running:
        self._state.begin(trial)
        began = self._state.began_at(trial.trial_id) or datetime.now(UTC)
        record = begin_record(self._spec, trial.config(self._spec), trial, began, self._fingerprint)
        self._write(record)
        self._steering.began(trial)
        if repeat := self._state.repeat(trial.trial_id):
            event = EventRecord(
                trial_id=trial.trial_id,
                attempt=trial.attempt,
                epoch=0,
                kind="seed",
                at=began,
                reason=repeat.reason,
            )
            self._write(event)
        return _Running(record, time.monotonic())

    def _write(self, record: TrialRecord | EventRecord) -> None:
        if isinstance(record, TrialRecord):
            self._writer.write_trial(record)
        else:
            self._writer.write_event(record)
        self._log(record)

    def _close(self, running: _Running, failure: str | None = None) -> None:
        last = replace(running.last, failure=failure) if failure else running.last
        spec = self._spec
        record = end_record(running.record, last, spec.objectives, datetime.now(UTC), spec.limits)
        self._write(record)
        self._steering.ended(record)
        self._budget.add(record)
        self._state.halted |= self._budget.used_up
        config = self._state.end(record)
        if config is not None:
            self._on_config(config)
        self._weights[record.trial_id] = record.status
        self._drop_weights()

    def _drained(self, trial_id: str) -> None:
        """Note that a trial has written its checkpoint, or ended; interrupt once none is waited for."""
        if self._draining is not None:
            self._draining.discard(trial_id)
            if not self._draining:
                interrupt()

    def _drop_weights(self) -> None:
        """Delete the weights that are not to stay: those of large models would fill a disk."""
        for name in sorted(self._state.disposable_weights(self._weights)):
            del self._weights[name]
            self._writer.files.delete(checkpoint_name(name))


def lost_reason(root: Path, trial_id: str) -> str:
    """Return why a trial's worker was lost, as far as it could say, and clear its note."""
    note = watch_path(root, trial_id)
    place = hung_at(note.read_text(encoding="utf-8", errors="replace")) if note.exists() else None
    note.unlink(missing_ok=True)
    if place:
        return f"it hung: no epoch ended within faults.trial_minutes; it was at {place}"
    return "its worker process was lost (killed, or out of memory)"
