"""The one state of a sweep: which trials have ended, run or were cut off, and which comes next.

The searcher asks it what comes next, the recorder begins and ends trials in it, and resume and `sweep status`
build it from the trials table. Pure: no Ray, no files. A step costs the same however many trials there are,
except that `uncertain` compares all configs with each other.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Self

from sweep.config.space import Suggestion
from sweep.config.sweep_spec import SweepSpec
from sweep.search.allocation import Repeat, next_repeat
from sweep.search.front import Front
from sweep.search.standing import Action, SweepStatus
from sweep.search.trial import (
    ConfigResult,
    Curve,
    SuggestedTrial,
    config_name,
    config_number,
    config_status,
    is_whole,
    means_by_key,
    replicate_name,
    split_name,
)
from sweep.store.records import Status, TrialRecord


class SweepState:
    """The trials of a sweep by where they stand; at first none has begun.

    Args:
        spec: the sweep: how many configs it has, and which of them get how many seeds.
        planned: whether trials are to come; a folder of single trials has no plan of how many.
        added: the configs that `sweep add` asked for, beside those of `trials`.
    """

    def __init__(self, spec: SweepSpec, *, planned: bool = True, added: Collection[str] = ()) -> None:
        self._spec = spec
        self._planned = planned
        self._added = set(added)
        self._queued: list[Suggestion] = []
        self._front = Front(spec.objectives, spec.reference_point)
        self.halted = False
        """Whether no further trial is to begin; those that run go on."""
        self._suggestions: dict[str, Suggestion] = {}
        self._next_number = 0
        self._begun: dict[str, set[str]] = defaultdict(set)
        self._running: dict[str, None] = {}
        self._cut_off: dict[str, int] = {}
        self._began_at: dict[str, datetime] = {}
        self._missing: dict[str, None] = {}
        self._ended: dict[str, list[TrialRecord]] = defaultdict(list)
        self._curves: dict[str, dict[int, float]] = defaultdict(dict)
        self._undecided: set[str] = set()
        self._repeat: Sequence[str] | None = None  # not known; of one name at most
        self._repeats: dict[str, Repeat] = {}
        self._counts = Counter[str]()
        self._failure: tuple[str | None, int] = (None, 0)

    @classmethod
    def of(
        cls,
        spec: SweepSpec,
        records: Iterable[TrialRecord],
        *,
        planned: bool = True,
        added: Collection[str] = (),
    ) -> Self:
        """Return the state of a sweep with these trials; those that have not ended run."""
        state = cls(spec, planned=planned, added=added)
        for record in records:
            state._take(record)
            if record.status != "running":
                state.end(record)
        return state

    @classmethod
    def resumed(
        cls,
        spec: SweepSpec,
        records: Iterable[TrialRecord],
        curves: Mapping[str, Curve] | None = None,
        *,
        retry_failed: bool = False,
        added: Collection[str] = (),
    ) -> Self:
        """Return the state of a sweep that goes on: trials that had not ended were cut off, and come again.

        Args:
            spec: the sweep.
            records: its trials, each by its last attempt.
            curves: the first objective by trial and epoch.
            retry_failed: whether to train failed trials again, as a further attempt.
            added: the configs that `sweep add` asked for.
        """
        state = cls(spec, added=added)
        state._curves |= {name: dict(curve) for name, curve in (curves or {}).items()}
        for record in records:
            state._take(record)
            if record.status == "running":
                state._began_at[record.trial_id] = record.started_at
                state._cut(record.trial_id, record.attempt)
            elif record.status == "failed" and retry_failed:
                state._cut(record.trial_id, record.attempt + 1)
            else:
                state.end(record)
        state._undecided = {name for name in state._suggestions if state._lacks(name)}
        # Each run counts its own failures in a row.
        state._failure, state.halted = (None, 0), False
        return state

    def _take(self, record: TrialRecord) -> None:
        suggestion = json.loads(record.suggestion_json or "{}")
        self.begin(SuggestedTrial(trial_id=record.trial_id, attempt=record.attempt, suggestion=suggestion))

    def next_action(self) -> Action | SuggestedTrial:
        """Return the trial to begin next, or what else is to be done."""
        if not self.halted:
            if self._queued and not self._cut_off:
                return self.first_trial(self._queued[0])
            if name := next(chain(self._cut_off, self._missing_now(), self._repeat_now()), None):
                return self._suggested(name)
            if len(self._suggestions) < self._n_configs:
                return Action.NEW_CONFIG
        return Action.WAIT if self._running else Action.END

    @property
    def _n_configs(self) -> int:
        """Return the number of configs with those that were added; the space may have fewer."""
        return int(min(self._spec.trials + len(self._added) + len(self._queued), self._spec.space.size))

    def queue(self, suggestion: Suggestion) -> str | None:
        """Take a config that a user asks for, to run before others; return its name if the sweep has it."""
        known = next((name for name, there in self._suggestions.items() if there == suggestion), None)
        if known is not None:
            self._added.add(known)
        elif suggestion not in self._queued:
            self._queued.append(suggestion)
        return known

    @property
    def next_config(self) -> str:
        """Return the name that a new config gets."""
        return config_name(self._next_number)

    def first_trial(self, suggestion: Suggestion) -> SuggestedTrial:
        """Return the first trial of a new config."""
        return SuggestedTrial(trial_id=self.next_config, attempt=0, suggestion=suggestion)

    def _suggested(self, name: str) -> SuggestedTrial:
        suggestion = dict(self._suggestions[split_name(name)[0]])
        return SuggestedTrial(trial_id=name, attempt=self._cut_off.get(name, 0), suggestion=suggestion)

    def begin(self, trial: SuggestedTrial) -> None:
        """Note that a trial runs."""
        self._cut_off.pop(trial.trial_id, None)
        self._missing.pop(trial.trial_id, None)
        self._running.setdefault(trial.trial_id)
        config, _ = split_name(trial.trial_id)
        self._begun[config].add(trial.trial_id)
        self._repeat = None
        if config not in self._suggestions:
            self._suggestions[config] = trial.suggestion
            if trial.suggestion in self._queued:
                self._queued.remove(trial.suggestion)
                self._added.add(config)
            self._next_number = max(self._next_number, 1 + config_number(config))
            self._undecided.add(config)
            if self._spec.replicates.when == "all":
                self._missing |= dict.fromkeys(self._not_begun(config))

    def began_at(self, trial_id: str) -> datetime | None:
        """Return when a trial's attempt began that goes on; None if the attempt is new."""
        return self._began_at.pop(trial_id, None)

    def repeat(self, trial_id: str) -> Repeat | None:
        """Return why a trial begins that is a further seed of a config whose place is uncertain."""
        return self._repeats.pop(trial_id, None)

    def give_back(self, trial: SuggestedTrial) -> None:
        """Note that a trial was to begin but did not: it comes again."""
        self._cut(trial.trial_id, trial.attempt)

    def _cut(self, trial_id: str, attempt: int) -> None:
        del self._running[trial_id]
        self._cut_off[trial_id] = attempt

    def measured(self, trial_id: str, epoch: int, value: float) -> None:
        """Note the first objective of a running trial after an epoch."""
        self._curves[trial_id][epoch] = value

    def end(self, record: TrialRecord) -> ConfigResult | None:
        """Note how a trial ended; return its config's result if that was the last of its seeds for now."""
        config, _ = split_name(record.trial_id)
        del self._running[record.trial_id]
        if record.status == "completed" and not is_whole(record, self._spec.objectives):
            record = replace(record, status="failed")
        self._ended[config].append(record)
        self._repeat = None
        self._counts[record.status] += 1
        if record.status == "completed" and self._spec.replicates.when == "survivors":
            self._missing |= dict.fromkeys(self._not_begun(config))
        judged, measured = config_status(self._ended[config], self._spec.limits)
        if judged == "stopped":
            for name in self._not_begun(config):
                self._missing.pop(name, None)
        whole = judged == "completed"
        self._front.place(config, tuple(measured[o.name] for o in self._spec.objectives) if whole else None)
        if self.repeated_failure is None:  # else the sweep ends for it, whatever trials still end meanwhile
            reason = record.error if record.status == "failed" else None
            times = self._failure[1] if reason and reason == self._failure[0] else 0
            self._failure = (reason, times + 1)
            self.halted |= self.repeated_failure is not None
        if config not in self._undecided or self._lacks(config):
            return None
        self._undecided.remove(config)
        return self._result(config)

    @property
    def repeated_failure(self) -> str | None:
        """Return why so many trials in a row have failed that the sweep ends, or None."""
        reason, times = self._failure
        most = self._spec.faults.identical
        return reason if most and times >= most else None

    @property
    def results(self) -> list[ConfigResult]:
        """Return every config of the sweep, and what has become of it."""
        return [self._result(name) for name in sorted(self._suggestions)]

    @property
    def ended(self) -> list[TrialRecord]:
        """Return the trials in their final state."""
        return [record for records in self._ended.values() for record in records]

    @property
    def status(self) -> SweepStatus:
        """Return how the sweep stands, in numbers."""
        return SweepStatus(
            total=self._total,
            counts={**self._counts, "running": len(self._running)},
            front_size=len(self._front.configs),
            hypervolume=self._front.volume,
            configs=max(self._n_configs * self._planned, len(self._suggestions)),
        )

    @property
    def _total(self) -> int:
        begun = self._counts.total() + len(self._running) + len(self._cut_off)
        if not self._planned:
            return begun
        to_come = max(0, self._n_configs - len(self._suggestions))
        per_config = self._spec.replicates.count if self._spec.replicates.when == "all" else 1
        return begun + len(self._missing_now()) + to_come * per_config

    def disposable_weights(self, weights: Mapping[str, Status]) -> set[str]:
        """Return the trials whose weights are not to stay, of those that have ended and still have them.

        By `keep` the completed trials of configs on the front keep theirs, or all, or none. A further seed
        may move a config on or off the front: until it has ended, what it dominates stays.
        """
        keep = self._spec.keep
        configs = {name: split_name(name)[0] for name in weights}
        kept = {
            name
            for name, status in weights.items()
            if status == "completed" or (status == "infeasible" and configs[name] in self._front.configs)
        }
        dropped = weights.keys() - kept if keep != "none" else set(weights)
        if keep != "front" or self._front_may_move:
            return dropped
        off = {name for name, config in configs.items() if config not in self._front.configs}
        return dropped | {name for name in off if not self._lacks(configs[name])}

    @property
    def _front_may_move(self) -> bool:
        """Return whether a seed is to come that may put on the front what it dominates now."""
        when, front = self._spec.replicates.when, self._front.configs
        if when == "uncertain":
            return self.halted or self.next_action() is not Action.END
        return any(self._lacks(name) or (when == "front" and self._not_begun(name)) for name in front)

    def _lacks(self, config: str) -> bool:
        """Return whether a trial of a config runs, was cut off or is missing."""
        missing = self._missing_now()
        names = [replicate_name(config, r) for r in range(self._spec.replicates.count)]
        return any(name in self._running or name in self._cut_off or name in missing for name in names)

    def _missing_now(self) -> Collection[str]:
        if self._spec.replicates.when != "front":
            return self._missing
        # Until every config has had its first seed, the front is not known.
        if len(self._suggestions) < self._n_configs or self._suggestions.keys() & self._running.keys():
            return ()
        return [name for config in sorted(self._front.configs) for name in self._not_begun(config)]

    def _repeat_now(self) -> Sequence[str]:
        """Return the further seed that is worth a trial most, if one is."""
        if self._spec.replicates.when == "uncertain" and self._repeat is None:
            ended = {config: self._ended[config] for config in self._front.placed}
            new = len(self._suggestions) < self._n_configs
            repeat = next_repeat(ended, self._begun, self._spec, new=new)
            self._repeat = self._not_begun(repeat.config)[:1] if repeat else ()
            self._repeats |= {name: repeat for name in self._repeat if repeat}
        return self._repeat or ()

    def _not_begun(self, config: str) -> Sequence[str]:
        names = (replicate_name(config, r) for r in range(self._spec.replicates.count))
        return [name for name in names if name not in self._begun[config]]

    def _result(self, config: str) -> ConfigResult:
        seeds = self._ended[config]
        status, measured = config_status(seeds, self._spec.limits)
        curves = [self._curves[seed.trial_id] for seed in seeds if seed.trial_id in self._curves]
        return ConfigResult(
            name=config,
            suggestion=self._suggestions[config],
            status="running" if config in self._undecided else status,
            measured=measured,
            curve=means_by_key(curves),
            added=config in self._added,
            began=min((seed.started_at for seed in seeds), default=None),
            ended=max((seed.ended_at for seed in seeds if seed.ended_at), default=None),
        )
