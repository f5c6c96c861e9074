"""Optuna's ask and tell behind Ray Tune's public `Searcher` interface.

The study lives in the driver's memory and has one writer. Every trial ends in a final state there: COMPLETE
with finite objectives, FAIL otherwise (Ray's own OptunaSearch leaves a trial with a NaN objective RUNNING for
ever, and its sampler then avoids that place for ever).
"""

import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from sweep.outcome import objective_values
from sweep.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

Suggestion = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """A trial of an earlier run of the same sweep."""

    trial_id: str
    """The trial."""
    suggestion: Suggestion
    """The sampler's parameters."""
    values: tuple[float, ...] | None
    """Its objectives, in order; None if it failed or never ended."""
    finished: bool
    """False if it was cut off and is to be run again."""


class OptunaSearcher(Searcher):
    """Suggests trials from an Optuna study, at most `n_trials` in all, all objectives maximised.

    A suggestion is the mapping `{"trial_id": ..., "suggestion": ...}`; the trainable makes settings of it.

    Args:
        space: the search space.
        objectives: names of the objectives, in order.
        sampler: tpe, random, nsga2 or qmc.
        seed: fixes the sampler's draws.
        n_trials: trials of the sweep in all, those of earlier runs included.
        past: trials of earlier runs; those that never ended are suggested again first.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str],
        *,
        sampler: str,
        seed: int,
        n_trials: int,
        past: Sequence[PastTrial] = (),
    ) -> None:
        super().__init__()
        self._space = space
        self._objectives = tuple(objectives)
        self._distributions = space.distributions()
        self._study = _study(make_sampler(sampler, seed, n_trials), len(objectives))
        self._open: dict[str, int] = {}
        self._again = deque(trial.trial_id for trial in past if not trial.finished)
        self._n_asked = sum(trial.finished for trial in past)
        self._next_number = len(past)
        self._n_trials = n_trials
        for trial in past:
            self._add(trial)

    @property
    def study(self) -> "Study":
        """The Optuna study, for reading."""
        return self._study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override] # FINISHED is a str
        """Return the next suggestion, or FINISHED when `n_trials` have been suggested."""
        if self._n_asked >= self._n_trials:
            return Searcher.FINISHED
        self._n_asked += 1
        asked = self._study.ask(self._distributions)
        self._open[trial_id] = asked.number
        if self._again:
            name = self._again.popleft()
        else:
            name = trial_name(self._next_number)
            self._next_number += 1
        return {"trial_id": name, "suggestion": dict(asked.params)}

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's interface
    ) -> None:
        """Tell the study how a trial ended; a missing or non-finite objective is a failure."""
        from optuna.trial import TrialState

        number = self._open.pop(trial_id, None)
        if number is None:
            return
        values = None if error else objective_values(result, self._objectives)
        if values is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, values)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore results before the last one: they are of a smaller budget."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: a sweep goes on from its Parquet tables, never from a pickled searcher."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing; see `save`."""

    def _add(self, trial: PastTrial) -> None:
        from optuna.trial import TrialState, create_trial

        if not trial.finished:
            self._study.enqueue_trial(dict(trial.suggestion))
            return
        self._study.add_trial(
            create_trial(
                params=dict(trial.suggestion),
                distributions=self._distributions,
                values=None if trial.values is None else list(trial.values),
                state=TrialState.FAIL if trial.values is None else TrialState.COMPLETE,
            )
        )


def trial_name(number: int) -> str:
    """Return the name of a sweep's trial by its number.

    >>> trial_name(7)
    't0007'
    """
    return f"t{number:04}"


def make_sampler(name: str, seed: int, n_trials: int) -> "BaseSampler":
    """Return Optuna's sampler of that name, seeded.

    TPE draws its first trials at random: ten by default, but no more than a third of a short sweep.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import NSGAIISampler, QMCSampler, RandomSampler, TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match name:
            case "tpe":
                return TPESampler(seed=seed, n_startup_trials=max(1, min(10, n_trials // 3)))
            case "random":
                return RandomSampler(seed=seed)
            case "nsga2":
                return NSGAIISampler(seed=seed)
            case "qmc":
                return QMCSampler(scramble=True, seed=seed)
    raise ValueError(f"no sampler is named {name!r}")


def _study(sampler: "BaseSampler", n_objectives: int) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler, directions=["maximize"] * n_objectives)
