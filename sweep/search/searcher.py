"""Optuna's ask and tell behind Ray Tune's public `Searcher` interface.

The study lives in the driver's memory and has one writer. Every trial ends in a final state there: COMPLETE
with finite objectives at full budget, PRUNED if it was stopped early, FAIL otherwise. (Ray's own OptunaSearch
leaves a trial with a NaN objective RUNNING for ever, and its sampler then avoids that place for ever; and it
tells a stopped trial as COMPLETE.)
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from sweep.search.memory import AFFORDED, thinned
from sweep.search.outcome import judge, measured_values
from sweep.search.samplers import known_points, make_sampler
from sweep.spec.constraints import Limit
from sweep.spec.space import Space, Suggestion
from sweep.store.records import Status

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

PATIENCE = 0.05
"""Seconds that the driver waits for a suggestion (TPE takes 20 ms); then Ray asks again a little later."""

TRIES = 10
"""How often at most a sampler is asked for a config that the sweep has not had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """A trial of an earlier run of the same sweep, or of another sweep."""

    trial_id: str
    """The trial."""
    suggestion: Suggestion
    """The sampler's parameters."""
    status: Status
    """How it ended; running if it was cut off and is to be run again."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What it measured last: objectives, and whatever constraints are about."""

    @property
    def finished(self) -> bool:
        """Return whether it is in a final state."""
        return self.status != "running"


class OptunaSearcher(Searcher):
    """Suggests trials from an Optuna study, at most `n_trials` in all, all objectives maximised.

    A suggestion is the mapping `{"trial_id": ..., "suggestion": ...}`; the trainable makes settings of it.

    Args:
        space: the search space.
        objectives: names of the objectives, in order.
        sampler: tpe, gp, nsga2, nsga3, random, qmc or grid.
        seed: fixes the sampler's draws, for trials one at a time; with several at a time their order of
            finishing matters too.
        n_trials: trials of the sweep in all, those of earlier runs included.
        epochs_max: gives the full budget of a suggestion.
        limits: the constraints.
        start_with: suggestions that come first.
        past: trials of earlier runs; those that never ended are suggested again first.
        warm: trials of other sweeps, to learn from only.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str],
        *,
        sampler: str,
        seed: int,
        n_trials: int,
        epochs_max: Callable[[Suggestion], int],
        limits: Sequence[Limit] = (),
        start_with: Sequence[Suggestion] = (),
        past: Sequence[PastTrial] = (),
        warm: Sequence[PastTrial] = (),
    ) -> None:
        super().__init__()
        self._space = space
        self._objectives = tuple(objectives)
        self._distributions = space.distributions()
        # A sampler that began anew would suggest the configs of the first run again.
        self._make_sampler = partial(make_sampler, sampler, n_trials=n_trials, conditional=space.conditional)
        self._seed = seed + len(past)
        self._random = make_sampler("random", self._seed, n_trials)
        self._sampler = self._make_sampler(seed=self._seed)
        self._study = _study(self._sampler, len(objectives))
        self._afforded, self._n_known = AFFORDED.get(sampler, math.inf), 0
        self._epochs_max = epochs_max
        self._limits = tuple(limits)
        self._open: dict[str, Trial] = {}
        # With it, one thread alone asks and tells: in order, and the driver waits for neither.
        self._pool: ThreadPoolExecutor | None = None
        self._coming: Future[Trial] | None = None
        self._told: deque[Future[None]] = deque()
        self._asked = {_key(trial.suggestion) for trial in past}
        self._again = deque(trial.trial_id for trial in past if not trial.finished)
        self._n_asked = sum(trial.finished for trial in past)
        self._next_number = len(past)
        self._n_trials = n_trials
        for trial in (*warm, *past):
            self._add(trial)
        known = known_points(space, sampler, seed, list(start_with), n_trials)
        known = known[len(past) :]
        for suggestion in known:
            self._study.enqueue_trial(dict(suggestion))
        self._n_enqueued = len(self._again) + len(known)

    @property
    def study(self) -> "Study":
        """The Optuna study, for reading: of a long sweep what its sampler remembers (`memory`)."""
        if self._pool is not None:
            self._pool.submit(bool).result()
        return self._study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override] # FINISHED is a str
        """Return the next suggestion, None if it is not ready, or FINISHED after `n_trials`."""
        if self._n_asked >= self._n_trials:
            return Searcher.FINISHED
        asked = self._next()
        if asked is None:
            return None
        self._n_asked += 1
        self._open[trial_id] = asked
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
        """Tell the study how a trial ended; one that ended before its full budget was stopped early."""
        if self._pool is None:
            self._tell(trial_id, dict(result or {}), error=error)
        else:
            self._told.append(self._pool.submit(self._tell, trial_id, dict(result or {}), error=error))

    def _tell(self, trial_id: str, result: dict[str, Any], *, error: bool) -> None:
        from optuna.trial import TrialState

        trial = self._open.pop(trial_id, None)
        if trial is None:
            return
        self._n_known += 1
        last = result | {"stopped": "before its full budget"}
        status, _ = judge(last, self._epochs_max(trial.params), self._objectives, self._limits)
        measured = measured_values(last)
        values = [measured[name] for name in self._objectives if name in measured]
        if error or status == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
        elif status == "stopped":
            trial.set_user_attr("epoch", last["epoch"])
            trial.set_user_attr("values", values)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            for name, excess in excesses(self._limits, measured).items():
                trial.set_constraint(name, excess)
            self._study.tell(trial, values)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore results before the last one: they are of a smaller budget."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: a sweep goes on from its Parquet tables, never from a pickled searcher."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing; see `save`."""

    def ask_ahead(self) -> None:
        """Begin to ask for a suggestion that will be wanted, in the background."""
        if self._pool is not None and self._coming is None and self._n_asked < self._n_trials:
            self._coming = self._pool.submit(self._ask)

    def _next(self) -> "Trial | None":
        """Return the next trial, or None if the sampler is not done with it."""
        if self._pool is None:
            return self._ask()
        self.ask_ahead()
        assert self._coming is not None
        try:
            asked = self._coming.result(PATIENCE)
        except TimeoutError:
            return None
        self._coming = None
        while self._told and self._told[0].done():
            self._told.popleft().result()  # raises what went wrong
        return asked

    def _ask(self) -> "Trial":
        """Return the study's next trial: one that was enqueued, else a config that the sweep has not had.

        The same settings with the same seed give the same numbers again. A config that comes again is told
        FAIL, which samplers ignore; the last of `TRIES` is taken as it is, for the space may be used up.
        """
        from optuna.trial import TrialState

        if self._n_known > self._afforded:
            self._forget()
        for tries_left in reversed(range(TRIES)):
            trial = self._ask_once()
            new = _key(trial.params) not in self._asked
            self._asked.add(_key(trial.params))
            if new or self._n_enqueued or not tries_left:
                break
            self._study.tell(trial, state=TrialState.FAIL)
            self._study.sampler = self._random
        self._study.sampler = self._sampler
        self._n_enqueued = max(0, self._n_enqueued - 1)
        return trial

    def _forget(self) -> None:
        """Begin a study of what is remembered and what is open; enqueued trials must have been asked for."""
        if self._n_enqueued:
            return
        remembered = thinned(self._study.get_trials(deepcopy=False))
        self._n_known = len(remembered)
        # A sampler may keep what it has inferred of the old study. One that began anew would repeat itself.
        self._seed += 1
        self._sampler = self._make_sampler(seed=self._seed)
        self._study = _study(self._sampler, len(self._objectives))
        self._study.add_trials(remembered)
        for name, trial in self._open.items():
            self._study.enqueue_trial(trial.params)
            self._open[name] = self._ask_once()

    def _ask_once(self) -> "Trial":
        if not self._space.conditional:
            return self._study.ask(self._distributions)
        trial = self._study.ask()
        self._space.draw(lambda axis: _suggest(trial, axis, self._distributions[axis]))
        return trial

    def _add(self, trial: PastTrial) -> None:
        if trial.finished:
            found = frozen_trial(trial, self._distributions, self._objectives, self._limits)
            self._study.add_trial(found)
            self._n_known += 1
        else:
            self._study.enqueue_trial(dict(trial.suggestion))


def frozen_trial(
    trial: PastTrial,
    distributions: Mapping[str, "BaseDistribution"],
    objectives: Sequence[str],
    limits: Sequence[Limit],
) -> "FrozenTrial":
    """Return a trial in its final state as Optuna keeps it; one without full budget has its values aside."""
    from optuna.trial import TrialState, create_trial

    states = {"stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    state = states.get(trial.status, TrialState.COMPLETE)
    done = state == TrialState.COMPLETE
    values = [trial.measured[name] for name in objectives if name in trial.measured]
    return create_trial(
        params=dict(trial.suggestion),
        distributions={axis: distributions[axis] for axis in trial.suggestion},
        values=values if done else None,
        state=state,
        constraints=excesses(limits, trial.measured) if done else {},
        user_attrs={"trial_id": trial.trial_id} | ({} if done else {"values": values}),
    )


def excesses(limits: Sequence[Limit], measured: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each constraint is missed; at most 0 where it is kept."""
    return {limit.name: limit.excess(measured) for limit in limits}


def _key(suggestion: Suggestion) -> frozenset[tuple[str, float | int | str]]:
    return frozenset(suggestion.items())


def trial_name(number: int) -> str:
    """Return the name of a sweep's trial by its number.

    >>> trial_name(7)
    't0007'
    """
    return f"t{number:04}"


def _suggest(trial: "Trial", axis: str, kind: "BaseDistribution") -> float | int | str:
    """Return Optuna's value for an axis that exists under what was suggested before."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match kind:
        case FloatDistribution():
            return trial.suggest_float(axis, kind.low, kind.high, log=kind.log)
        case IntDistribution():
            return trial.suggest_int(axis, kind.low, kind.high, step=kind.step, log=kind.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(axis, kind.choices)  # type: ignore[return-value] # numbers and words
    raise TypeError(kind)


def _study(sampler: "BaseSampler", n_objectives: int) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=sampler, directions=["maximize"] * n_objectives)
