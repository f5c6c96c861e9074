"""The driver's side of the record: writes the trials table as Ray Tune's callbacks report what happens."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray.tune import Callback

from sweep.config.objectives import names
from sweep.config.sweep_spec import SweepSpec, trial_config_for
from sweep.running.signals import interrupt
from sweep.running.trainable import checkpoint_name, watch_path
from sweep.running.watchdog import hung_at
from sweep.search.agenda import Agenda
from sweep.search.outcome import Ended, Standing, end_record, measured_values, split_name, start_record
from sweep.search.searcher import Past
from sweep.store.layout import CHECKPOINTS
from sweep.store.records import EventRecord, TrialRecord
from sweep.store.write import StoreWriter


@dataclass(slots=True)
class _Running:
    """A trial between its start and its end."""

    record: TrialRecord
    last: dict[str, Any] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)


class Recorder(Callback):
    """Writes one row per trial, keeps the weights that are to stay, and tells how the sweep stands.

    Args:
        spec: the sweep.
        writer: the store.
        past: trials of earlier runs of the same sweep.
        on_change: called with the standing after every event.
        agenda: the trials by where they stand; by default one made of the past.
        on_end: called with every trial that has ended, after its record is written.
        fingerprint: hash of the data that trials are trained on.
    """

    def __init__(
        self,
        spec: SweepSpec,
        writer: StoreWriter,
        past: Past,
        on_change: Callable[[Standing], None],
        *,
        agenda: Agenda | None = None,
        on_end: Callable[[Ended], None] = lambda _: None,
        fingerprint: str | None = None,
    ) -> None:
        self._spec = spec
        self._writer = writer
        self.agenda = agenda or Agenda(spec, past.ended, cut_off=past.cut_off)
        self._on_end = on_end
        self._fingerprint = fingerprint
        self._started = dict(past.started)
        self._never_began = Counter[str]()
        self._failures: tuple[str | None, int] = (None, 0)
        self._draining: set[str] | None = None
        self._counts = Counter(trial.status for trial in past.ended)
        self._running: dict[str, _Running] = {}
        self._on_change = on_change
        self._epochs_each = trial_config_for(spec, ()).epochs
        self._epochs_here = 0
        self._weights: set[str] = set()
        if past.ended:
            there = set(writer.files.list(CHECKPOINTS))
            self._drop_checkpoints(
                [trial for trial in past.ended if checkpoint_name(trial.trial_id) in there]
            )

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that a trial runs; a retry after a lost worker keeps its first record."""
        if trial.trial_id not in self._running:
            self._running[trial.trial_id] = self._begun(trial)
        self._on_change(self.standing())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what a trial reported last."""
        running = self._running.get(trial.trial_id)
        if running is not None and ("epoch" in result or "failure" in result):
            self._epochs_here += max(0, result.get("epoch", 0) - running.last.get("epoch", 0))
            running.last |= result
            if (value := measured_values(result).get(self._spec.objectives[0].name)) is not None:
                running.curve[result["epoch"]] = value
            self._on_change(self.standing())
            if result.get("saved"):
                self._drained(trial.trial_id)

    def on_decision(self, decision: EventRecord) -> None:
        """Record what was decided at a rung; a trial that is stopped keeps the reason for its end."""
        running = next(r for r in self._running.values() if r.record.trial_id == decision.trial_id)
        self._writer.write_event(replace(decision, attempt=running.record.attempt))
        if decision.decision == "stop":
            running.last["stopped"] = decision.reason

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record how a trial ended that returned by itself."""
        self._close(self._running.pop(trial.trial_id), {})
        self._drained(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial whose worker was lost more often than allowed, or could not be started.

        A trial that was to take over the worker of another that was just killed comes again: Ray itself
        starts only those again that ran.
        """
        running, name = self._running.pop(trial.trial_id, None), trial.config["trial_id"]
        if running is not None:
            self._close(running, {"failure": lost_reason(self._writer.files.local_dir, name)})
        elif self._never_began[name] < self._spec.faults.max_failures:
            self._never_began[name] += 1
            self.agenda.give_back(name)
        else:
            told = str(trial.get_error() or "Ray does not say why").strip().splitlines()[-1]
            self._close(self._begun(trial), {"failure": f"no worker could be started for it: {told}"})
        self._drained(trial.trial_id)

    def drain(self) -> None:
        """Interrupt the sweep as soon as every trial that runs has written a checkpoint; begin no other."""
        self.agenda.halted = True
        self._draining = set(self._running)
        self._drained("")

    @property
    def interrupted(self) -> bool:
        """Return whether the sweep was drained."""
        return self._draining is not None

    @property
    def repeated_failure(self) -> str | None:
        """Return why so many trials in a row have failed that the sweep ends, or None."""
        reason, times = self._failures
        return reason if self._spec.faults.identical and times >= self._spec.faults.identical else None

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles callbacks to restore them, and a sweep is never restored so."""
        return {}

    def standing(self) -> Standing:
        """Return how the sweep stands."""
        total = self.agenda.total
        gone = self._counts.total() * self._epochs_each
        gone += sum(running.last.get("epoch", 0) for running in self._running.values())
        return Standing(
            total=total,
            done=self._counts["completed"],
            running=len(self._running),
            failed=self._counts["failed"],
            stopped=self._counts["stopped"],
            infeasible=self._counts["infeasible"],
            front_size=len(self.agenda.front.configs),
            hypervolume=self.agenda.front.volume,
            epochs_left=max(0, total * self._epochs_each - gone),
            epochs_here=self._epochs_here,
        )

    def _begun(self, trial: Any) -> _Running:
        began = self._started.pop(trial.config["trial_id"], None) or datetime.now(UTC)
        record = start_record(self._spec, trial.config, began, self._fingerprint)
        self.agenda.begin(record.trial_id)
        self._writer.write_trial(record)
        return _Running(record)

    def _close(self, running: _Running, failure: dict[str, str]) -> None:
        last = running.last | failure
        record = end_record(
            running.record, last, names(self._spec.objectives), datetime.now(UTC), self._spec.limits
        )
        self._writer.write_trial(record)
        measured = measured_values(last)  # with what constraints are about
        ended = Ended(
            trial_id=record.trial_id,
            status=record.status,
            objectives=measured,
            started_at=record.started_at,
            ended_at=record.ended_at,
            curve=running.curve,
        )
        self.agenda.end(ended)
        self._on_end(ended)
        self._counts[ended.status] += 1
        reason = record.error if record.status == "failed" else None
        self._failures = (reason, self._failures[1] + 1 if reason and reason == self._failures[0] else 1)
        self.agenda.halted |= self.repeated_failure is not None
        self._drop_checkpoints([ended])
        self._on_change(self.standing())

    def _drained(self, trial_id: str) -> None:
        """Note that a trial has written its checkpoint, or ended; interrupt once none is waited for."""
        if self._draining is not None:
            self._draining.discard(trial_id)
            if not self._draining:
                interrupt()

    def _drop_checkpoints(self, ended: Sequence[Ended]) -> None:
        """Delete the weights that are not to stay now that trials have ended: large models would fill a disk.

        By `keep` the completed trials of configs on the front keep theirs, or all, or none. A further seed
        may still move a config on or off the front: until it has ended, what it dominates stays.
        """
        keep, agenda = self._spec.keep, self.agenda
        completed = {trial.trial_id for trial in ended if trial.status == "completed" and keep != "none"}
        dropped = {trial.trial_id for trial in ended} - completed
        self._weights |= completed
        front = agenda.front.configs
        if keep == "front" and not agenda.front_may_move:
            configs = {name: split_name(name)[0] for name in self._weights}
            dropped |= {
                n for n, config in configs.items() if config not in front and not agenda.lacks(config)
            }
            self._weights -= dropped
        for name in sorted(dropped):
            self._writer.files.delete(checkpoint_name(name))


def lost_reason(root: Path, trial_id: str) -> str:
    """Return why a trial's worker was lost, as far as it could say, and clear its note."""
    note = watch_path(root, trial_id)
    place = hung_at(note.read_text(encoding="utf-8", errors="replace")) if note.exists() else None
    note.unlink(missing_ok=True)
    if place:
        return f"it hung: no epoch ended within faults.trial_minutes; it was at {place}"
    return "its worker process was lost (killed, or out of memory)"
