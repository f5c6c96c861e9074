"""The searcher that Ray Tune sees: makes of a searcher of configs one of trials, with several seeds each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.agenda import Next, missing_trials, next_trial
from sweep.outcome import Ended, completed_points, objective_values, split_name, suggested_config
from sweep.searcher import OptunaSearcher, PastTrial, Suggestion, trial_name
from sweep.spec import SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The trials of earlier runs of a sweep."""

    ended: tuple[Ended, ...] = ()
    """Those in their final state."""
    cut_off: tuple[str, ...] = ()
    """Those that never ended."""
    suggestions: Mapping[str, Suggestion] = field(default_factory=dict)
    """The sampler's parameters, by config."""


class ReplicatingSearcher(OptunaSearcher):
    """Suggests trials `{"trial_id": ..., "suggestion": ...}` in the order of `agenda`.

    The study knows configs only. It is told the means over a config's completed seeds as soon as none of its
    seeds runs or is missing.

    Args:
        spec: the sweep.
        past: trials of earlier runs; those that never ended are suggested again first.
        on_told: called with every config that the study knows the end of.
    """

    def __init__(
        self, spec: SweepSpec, past: Past, on_told: Callable[[PastTrial], None] = lambda _: None
    ) -> None:
        self._spec = spec
        self._ended = list(past.ended)
        self._cut_off = list(past.cut_off)
        self._suggestions = dict(past.suggestions)
        self._running: dict[str, str] = {}
        self._on_told = on_told
        self._unfinished = {name for name in self._suggestions if self._lacks(name)}
        configs = [self._config(name) for name in sorted(self._suggestions)]
        super().__init__(
            spec.space,
            spec.objectives,
            sampler=spec.sampler,
            # A sampler that began anew would suggest the configs of the first run again.
            seed=spec.seed + len(configs),
            n_trials=max(spec.trials, len(configs)),
            past=configs,
        )
        for config in configs:
            if config.finished:
                on_told(config)
            else:
                # Asks for the enqueued config at once: it is the study's open one of that name from now on.
                super().suggest(config.trial_id)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override] # FINISHED is a str
        """Return the next trial, None while what runs must end first, or FINISHED."""
        found = next_trial(self._spec, self._ended, self._running.values(), self._cut_off)
        if found is Next.END:
            return self.FINISHED
        if found is Next.WAIT:
            return None
        if found is Next.NEW_CONFIG:
            name = trial_name(1 + max((int(c[1:]) for c in self._suggestions), default=-1))
            asked = super().suggest(name)
            assert isinstance(asked, dict)
            self._suggestions[name] = asked["suggestion"]
            self._unfinished.add(name)
        else:
            name = str(found)
            self._cut_off = [t for t in self._cut_off if t != name]
        self._running[trial_id] = name
        return {"trial_id": name, "suggestion": dict(self._suggestions[split_name(name)[0]])}

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's interface
    ) -> None:
        """Note how a trial ended, and tell the study if it was the last one of its config."""
        name = self._running.pop(trial_id, None)
        if name is None:
            return
        result = result or {}
        config_name, _ = split_name(name)
        config = suggested_config(
            self._spec, {"trial_id": name, "suggestion": self._suggestions[config_name]}
        )
        whole = not error and "failure" not in result and result.get("epoch", 0) >= config.epochs
        values = objective_values(result, self._spec.objectives) if whole else None
        measured = dict(zip(self._spec.objectives, values or (), strict=False))
        self._ended.append(
            Ended(trial_id=name, status="completed" if values else "failed", objectives=measured)
        )
        if config_name not in self._unfinished or self._lacks(config_name):
            return
        self._unfinished.remove(config_name)
        past = self._config(config_name)
        if sum(split_name(trial.trial_id)[0] == config_name for trial in self._ended) > 1:
            means = dict(zip(self._spec.objectives, past.values or (), strict=False))
            result, error = {**result, "objectives": means}, past.values is None
        super().on_trial_complete(config_name, result, error)
        self._on_told(past)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles searchers to restore them, and a sweep is never restored so."""
        return {}

    def _lacks(self, config_name: str) -> bool:
        """Return whether a trial of a config runs, was cut off or is missing."""
        running = self._running.values()
        waiting = (*running, *self._cut_off, *missing_trials(self._spec, self._ended, running))
        return any(split_name(trial)[0] == config_name for trial in waiting)

    def _config(self, config_name: str) -> PastTrial:
        """Return a config as the study knows it."""
        mine = [trial for trial in self._ended if split_name(trial.trial_id)[0] == config_name]
        means = completed_points(mine, self._spec.objectives).values
        return PastTrial(
            trial_id=config_name,
            suggestion=self._suggestions[config_name],
            values=tuple(means[0].tolist()) if len(means) else None,
            finished=config_name not in self._unfinished,
        )
