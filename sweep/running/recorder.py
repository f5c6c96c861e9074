"""The driver's side of the record: writes the trials table as Ray Tune's callbacks report what happens."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ray.tune import Callback

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.running.trainable import watch_path
from sweep.running.watchdog import hung_at
from sweep.search.agenda import trials_in_all
from sweep.search.outcome import Ended, Standing, completed_points, end_record, split_name, start_record
from sweep.spec.sweep_spec import SweepSpec, trial_config_for
from sweep.store.merge import CHECKPOINTS
from sweep.store.records import EventRecord, TrialRecord
from sweep.store.write import StoreWriter


@dataclass(slots=True)
class _Running:
    """A trial between its start and its end."""

    record: TrialRecord
    last: dict[str, Any] = field(default_factory=dict)


class Recorder(Callback):
    """Writes one row per trial, keeps the weights that are to stay, and tells how the sweep stands.

    Args:
        spec: the sweep.
        writer: the store.
        ended: trials of earlier runs of the same sweep.
        on_change: called with the standing after every event.
    """

    def __init__(
        self,
        spec: SweepSpec,
        writer: StoreWriter,
        ended: Sequence[Ended],
        on_change: Callable[[Standing], None],
    ) -> None:
        self._spec = spec
        self._writer = writer
        self._ended = list(ended)
        self._running: dict[str, _Running] = {}
        self._on_change = on_change
        self._epochs_each = trial_config_for(spec, ()).epochs
        self._epochs_here = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that a trial runs; a retry after a lost worker keeps its first record."""
        if trial.trial_id not in self._running:
            record = start_record(self._spec, trial.config, datetime.now(UTC))
            self._running[trial.trial_id] = _Running(record)
            self._writer.write_trial(record)
        self._on_change(self.standing())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what a trial reported last."""
        running = self._running.get(trial.trial_id)
        if running is not None and ("epoch" in result or "failure" in result):
            self._epochs_here += max(0, result.get("epoch", 0) - running.last.get("epoch", 0))
            running.last |= result
            self._on_change(self.standing())

    def on_decision(self, decision: EventRecord) -> None:
        """Record what was decided at a rung; a trial that is stopped keeps the reason for its end."""
        running = next(r for r in self._running.values() if r.record.trial_id == decision.trial_id)
        self._writer.write_event(replace(decision, attempt=running.record.attempt))
        if decision.decision == "stop":
            running.last["stopped"] = decision.reason

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record how a trial ended that returned by itself."""
        running = self._running.pop(trial.trial_id)
        self._close(running, {})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial whose worker was lost more often than allowed."""
        running = self._running.pop(trial.trial_id, None)
        if running is not None:
            self._close(running, {"failure": lost_reason(self._writer.files.here, running.record.trial_id)})

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles callbacks to restore them, and a sweep is never restored so."""
        return {}

    def standing(self) -> Standing:
        """Return how the sweep stands."""
        found = completed_points(self._ended, self._spec.objectives)
        ended = Counter(trial.status for trial in self._ended)
        total = trials_in_all(self._spec, self._ended, self.running)
        gone = len(self._ended) * self._epochs_each
        gone += sum(running.last.get("epoch", 0) for running in self._running.values())
        return Standing(
            total=total,
            done=ended["completed"],
            running=len(self._running),
            failed=ended["failed"],
            stopped=ended["stopped"],
            infeasible=ended["infeasible"],
            front_size=int(front_mask(found).sum()),
            hypervolume=hypervolume(found, self._spec.reference_point),
            epochs_left=max(0, total * self._epochs_each - gone),
            epochs_here=self._epochs_here,
        )

    @property
    def ended(self) -> Sequence[Ended]:
        """The trials in their final state, those of earlier runs included."""
        return tuple(self._ended)

    @property
    def running(self) -> Sequence[str]:
        """The trials that run now."""
        return tuple(running.record.trial_id for running in self._running.values())

    def _close(self, running: _Running, failure: dict[str, str]) -> None:
        last = running.last | failure
        record = end_record(running.record, last, self._spec.objectives, datetime.now(UTC), self._spec.limits)
        self._writer.write_trial(record)
        self._ended.append(
            Ended(trial_id=record.trial_id, status=record.status, objectives=record.objectives)
        )
        self._drop_checkpoints()
        self._on_change(self.standing())

    def _drop_checkpoints(self) -> None:
        """Delete the weights of trials that ended, but for those to keep: large models would fill a disk."""
        gone = {trial.trial_id for trial in self._ended} - kept_trials(self._spec, self._ended)
        for name in self._writer.files.list(CHECKPOINTS):
            if PurePosixPath(name).stem in gone:
                self._writer.files.delete(name)


def kept_trials(spec: SweepSpec, ended: Sequence[Ended]) -> set[str]:
    """Return the trials whose weights stay: by `spec.keep` those of configs on the front, all, or none."""
    if spec.keep == "none":
        return set()
    found = completed_points(ended, spec.objectives)
    configs = zip(found.trial_ids, front_mask(found), strict=True)
    kept = {split_name(trial_id)[0] for trial_id, on_front in configs if on_front or spec.keep == "all"}
    return {t.trial_id for t in ended if t.status == "completed" and split_name(t.trial_id)[0] in kept}


def lost_reason(root: Path, trial_id: str) -> str:
    """Return why a trial's worker was lost, as far as it could say, and clear its note."""
    note = watch_path(root, trial_id)
    place = hung_at(note.read_text(encoding="utf-8", errors="replace")) if note.exists() else None
    note.unlink(missing_ok=True)
    if place:
        return f"it hung: no epoch ended within faults.trial_minutes; it was at {place}"
    return "its worker process was lost (killed, or out of memory)"
