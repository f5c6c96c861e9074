"""The searcher that Ray Tune sees: makes trials, with several seeds each, of the study's configs."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from sweep.config.space import Suggestion
from sweep.config.sweep_spec import SweepSpec
from sweep.search.agenda import Agenda, Next
from sweep.search.outcome import Ended, split_name
from sweep.search.study import ConfigStudy, KnownConfig
from sweep.store.records import Status

if TYPE_CHECKING:
    from optuna.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The trials of earlier runs of a sweep."""

    ended: tuple[Ended, ...] = ()
    """Those in their final state."""
    cut_off: Mapping[str, int] = field(default_factory=dict)
    """Attempt by name of those that never ended, or are to be tried again."""
    started: Mapping[str, datetime] = field(default_factory=dict)
    """When the attempt began, by name of those that never ended."""
    suggestions: Mapping[str, Suggestion] = field(default_factory=dict)
    """The sampler's parameters, by config."""


_BEST_FIRST: tuple[Status, ...] = ("completed", "infeasible", "stopped")


class SweepSearcher(Searcher):
    """Suggests trials `{"trial_id": ..., "attempt": ..., "suggestion": ...}` in the order of `agenda`.

    The trainable makes settings of a suggestion. How a trial ended is judged once, by the recorder, which
    calls `end`. The study knows configs only: it is told the means over a config's completed seeds as soon as
    none of its seeds runs or is missing.

    Args:
        spec: the sweep.
        past: trials of earlier runs; those that never ended are suggested again first.
        on_told: called with every config that the study knows the end of.
        warm: configs of other sweeps, to learn from only.
        agenda: the trials by where they stand, kept by the recorder; by default one made of the past.
        ahead: whether to ask in the background, as soon as it is known that a suggestion will be wanted.
    """

    def __init__(
        self,
        spec: SweepSpec,
        past: Past,
        on_told: Callable[[KnownConfig], None] = lambda _: None,
        warm: Sequence[KnownConfig] = (),
        *,
        agenda: Agenda | None = None,
        ahead: bool = False,
    ) -> None:
        super().__init__()
        self._agenda = agenda or Agenda(spec, past.ended, cut_off=past.cut_off)
        self._ended: dict[str, list[Ended]] = defaultdict(list)
        for trial in past.ended:
            self._ended[split_name(trial.trial_id)[0]].append(trial)
        self._suggestions = dict(past.suggestions)
        self._attempts = past.cut_off
        self._next_config = 1 + max((int(name[1:]) for name in self._suggestions), default=-1)
        self._on_told = on_told
        self._unfinished = {name for name in self._suggestions if self._agenda.lacks(name)}
        configs = [self._config(name) for name in sorted(self._suggestions)]
        self._configs = ConfigStudy(
            spec.space,
            spec.objectives,
            sampler=spec.sampler,
            seed=spec.seed,
            n_configs=max(spec.n_configs, len(configs)),
            limits=spec.limits,
            start_with=spec.known_points,
            past=configs,
            warm=warm,
        )
        for config in configs:
            if config.status != "running":
                on_told(config)
        if ahead:
            self._configs.ask_in_background()
            self._ask_ahead()

    @property
    def study(self) -> "Study":
        """The Optuna study, for reading."""
        return self._configs.study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override] # noqa: ARG002 - FINISHED is a str
        """Return the next trial, None if there is none for now, or FINISHED."""
        found = self._agenda.next_trial()
        if found is Next.END:
            return self.FINISHED
        if found is Next.WAIT:
            return None
        if found is Next.NEW_CONFIG:
            name = trial_name(self._next_config)
            suggestion = self._configs.ask(name)
            if suggestion is None:
                return None
            self._next_config += 1
            self._suggestions[name] = suggestion
            self._unfinished.add(name)
        else:
            name = str(found)
        self._agenda.begin(name)
        suggestion = dict(self._suggestions[split_name(name)[0]])
        return {"trial_id": name, "attempt": self._attempts.get(name, 0), "suggestion": suggestion}

    def end(self, trial: Ended) -> None:
        """Take the end of a trial that the agenda knows, and tell the study if it was its config's last."""
        config_name, _ = split_name(trial.trial_id)
        self._ended[config_name].append(trial)
        if config_name not in self._unfinished or self._agenda.lacks(config_name):
            return
        self._unfinished.remove(config_name)
        config = self._config(config_name)
        self._configs.tell(config)
        self._ask_ahead()
        self._on_told(config)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's interface
    ) -> None:
        """Do nothing: Ray calls it before the recorder has judged the trial; see `end`."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore results before the last one: they are of a smaller budget."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: a sweep goes on from its Parquet tables, never from a pickled searcher."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing; see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing; see `save`."""
        return {}

    def _ask_ahead(self) -> None:
        if self._agenda.next_trial() is Next.NEW_CONFIG:
            self._configs.ask_ahead()

    def _config(self, config_name: str) -> KnownConfig:
        """Return a config as the study knows it: with the means over the seeds that got farthest."""
        mine = self._ended[config_name]
        best: Status = next((s for s in _BEST_FIRST if any(t.status == s for t in mine)), "failed")
        seeds = [trial.objectives for trial in mine if trial.status == best]
        names = seeds[0].keys() if seeds and best != "failed" else ()
        return KnownConfig(
            name=config_name,
            suggestion=self._suggestions[config_name],
            status="running" if config_name in self._unfinished else best,
            measured={name: fmean(seed[name] for seed in seeds if name in seed) for name in names},
            began=min((trial.started_at for trial in mine if trial.started_at), default=None),
            ended=max((trial.ended_at for trial in mine if trial.ended_at), default=None),
            curve={
                epoch: fmean(trial.curve[epoch] for trial in mine if epoch in trial.curve)
                for epoch in sorted({epoch for trial in mine for epoch in trial.curve})
            },
        )


def trial_name(number: int) -> str:
    """Return the name of a sweep's trial by its number.

    >>> trial_name(7)
    't0007'
    """
    return f"t{number:04}"
