"""Optuna's ask and tell over the configs of a sweep.

The study lives in the driver's memory and has one writer. Every config ends in a final state there: COMPLETE
with finite objectives at full budget, PRUNED if it was stopped early, FAIL otherwise. (Ray's own OptunaSearch
leaves a trial with a NaN objective RUNNING for ever, and its sampler then avoids that place for ever; and it
tells a stopped trial as COMPLETE.)
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from sweep.config.objectives import Objective
from sweep.config.space import Suggestion
from sweep.config.sweep_spec import SweepSpec
from sweep.search.samplers import (
    AFFORDED,
    SamplerContext,
    grid_points,
    make_sampler,
    remembered,
    sampler_errors,
)
from sweep.search.trial import ConfigResult

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

PATIENCE = 0.05
"""Seconds that the driver waits for a suggestion (TPE takes 20 ms); then Ray asks again a little later."""

MOST_POINTS = 10**6
"""Of a larger space the configs are not listed: ten draws at random find one that is new."""

TRIES = 10
"""How often at most a sampler is asked for a config that the sweep has not had."""


class ConfigStudy:
    """Suggests configs, and is told what has become of each.

    Args:
        spec: the sweep. Its seed fixes the sampler's draws, for configs one at a time; with several at a time
            their order of finishing matters too.
        past: configs of earlier runs; those that run have been asked for.
        warm: configs of other sweeps, to learn from only.
    """

    def __init__(
        self, spec: SweepSpec, past: Sequence[ConfigResult] = (), warm: Sequence[ConfigResult] = ()
    ) -> None:
        self._spec = spec
        self._space = space = spec.space
        self._distributions = space.distributions()
        # A sampler that began anew would suggest the configs of the first run again.
        self._seed = spec.seed + len(past)
        n_asked = sum(not config.added for config in past)
        n = max(spec.n_configs, n_asked)
        context = SamplerContext.of(spec, n)
        self._make_sampler = partial(make_sampler, spec.sampler, context=context)
        self._random = make_sampler("random", self._seed, context)
        self._sampler = self._make_sampler(seed=self._seed)
        self._study = _study(self._sampler, spec.objectives)
        self._afforded, self._n_known = AFFORDED.get(spec.sampler, math.inf), 0
        self._open: dict[str, Trial] = {}
        self._asked = {_key(config.suggestion) for config in past}
        self._taken = {_key(config.suggestion) for config in past if config.added}
        self._ended: dict[frozenset[tuple[str, float | int | str]], FrozenTrial] = {}
        # With it, one thread alone asks and tells: in order, and the driver waits for neither.
        self._pool: ThreadPoolExecutor | None = None
        self._coming: Future[Trial] | None = None
        self._told: deque[Future[object]] = deque()
        completed = 0
        for config in (*warm, *past):
            if config.status != "running":
                trial = frozen_trial(config, spec, self._distributions)
                trial.system_attrs.update(self._generation(completed))
                completed += config.status == "completed"
                self._study.add_trial(trial)
                self._n_known += 1
                if _key(config.suggestion) in self._asked:
                    self._ended[_key(config.suggestion)] = trial
        running = [config for config in past if config.status == "running"]
        given = list({_key(point): point for point in spec.known_points}.values())
        grid = grid_points(space, spec.seed) if spec.sampler == "grid" else ()
        rest = (point for point in grid if point not in given)
        to_come = islice(chain(given, rest), n_asked, n)
        known = [point for point in to_come if _key(point) not in self._taken]
        for suggestion in (*(config.suggestion for config in running), *known):
            self._study.enqueue_trial(dict(suggestion))
        self._n_enqueued = len(running) + len(known)
        for config in running:
            self._open[config.name] = self._ask()

    @property
    def study(self) -> "Study":
        """The Optuna study, for reading: of a long sweep what its sampler remembers (`remembered`)."""
        if self._pool is not None:
            self._pool.submit(bool).result()
        return self._study

    def ask_in_background(self) -> None:
        """Ask and tell in a thread from now on, so that the caller never waits long."""
        self._pool = ThreadPoolExecutor(1)

    def ask_ahead(self) -> None:
        """Begin to ask for a suggestion that will be wanted, if that is done in the background."""
        if self._pool is not None and self._coming is None:
            self._coming = self._pool.submit(self._ask)

    def ask(self, name: str) -> Suggestion | None:
        """Return the suggestion for a new config, or None if the sampler is not done with it."""
        from optuna.trial import TrialState

        while (trial := self._next()) is not None and _key(trial.params) in self._taken:
            self._in_order(partial(self._study.tell, trial, state=TrialState.FAIL))
        if trial is None:
            return None
        self._open[name] = trial
        return dict(trial.params)

    def take(self, suggestion: Suggestion) -> None:
        """Note that a config begins that the user asks for, so that the sampler need not suggest it."""
        self._taken.add(_key(suggestion))
        self._asked.add(_key(suggestion))

    def tell(self, config: ConfigResult) -> None:
        """Note what has become of a config that was asked for, or taken."""
        self._in_order(partial(self._tell, config))

    def _in_order(self, act: Callable[[], object]) -> None:
        if self._pool is None:
            act()
        else:
            self._told.append(self._pool.submit(act))

    def _generation(self, completed: int) -> dict[str, int]:
        """Return what tells a genetic sampler the generation of a trial it did not suggest; empty for others.

        Optuna gives such a trial none, so that the sampler would not see it. The key is that of its genetic
        samplers' base class.
        """
        size = getattr(self._sampler, "population_size", None)
        if not size or not isinstance(size, int):
            return {}
        return {f"{type(self._sampler).__name__}:generation": completed // size}

    def _next(self) -> "Trial | None":
        if self._pool is None:
            return self._ask()
        self.ask_ahead()
        assert self._coming is not None
        try:
            trial = self._coming.result(PATIENCE)
        except TimeoutError:
            return None
        self._coming = None
        while self._told and self._told[0].done():
            self._told.popleft().result()  # raises what went wrong
        return trial

    def _tell(self, config: ConfigResult) -> None:
        from optuna.trial import TrialState

        self._ended[_key(config.suggestion)] = found = frozen_trial(config, self._spec, self._distributions)
        if (trial := self._open.pop(config.name, None)) is not None:
            self._tell_study(trial, found)
            return
        states = [trial.state for trial in self._study.get_trials(deepcopy=False)]
        found.system_attrs.update(self._generation(states.count(TrialState.COMPLETE)))
        self._study.add_trial(found)
        self._n_known += 1

    def _tell_study(self, trial: "Trial", found: "FrozenTrial") -> None:
        for name, value in found.user_attrs.items():
            trial.set_user_attr(name, value)
        for name, excess in found.constraints.items():
            trial.set_constraint(name, excess)
        with sampler_errors(self._spec.sampler):
            self._study.tell(trial, found.values, found.state)
        self._n_known += 1

    def _ask(self) -> "Trial":
        """Return the study's next trial: one that was enqueued, else a config that the sweep has not had.

        The same settings with the same seed give the same numbers again. Of a config that comes again TPE
        hears at once how it ended, as if it had been trained again: its densities become surer of the place,
        and no epoch is spent. Otherwise it is told FAIL, which samplers ignore. The next tries are at random;
        after some `TRIES` one is drawn from all that are left.
        """
        from optuna.trial import TrialState

        if self._n_known > self._afforded and not self._n_enqueued:
            self._forget()
        for tries_left in reversed(range(TRIES)):
            trial = self._ask_once()
            new = _key(trial.params) not in self._asked
            self._asked.add(_key(trial.params))
            if new or self._n_enqueued or not tries_left:
                break
            known = self._ended.get(_key(trial.params)) if self._spec.sampler == "tpe" else None
            if known is not None:
                self._tell_study(trial, known)
            else:
                self._study.tell(trial, state=TrialState.FAIL)
            self._study.sampler = self._random
            if tries_left == 1 and (left := self._left()):
                self._study.enqueue_trial(left)
        self._study.sampler = self._sampler
        self._n_enqueued = max(0, self._n_enqueued - 1)
        return trial

    def _left(self) -> dict[str, float | int | str] | None:
        """Return a config drawn from those that the sweep has not had; None if they are too many to list."""
        if self._space.size > MOST_POINTS:
            return None
        left = [point for point in self._space.points() if _key(point) not in self._asked]
        return (
            dict(left[np.random.default_rng([self._seed, len(left)]).integers(len(left))]) if left else None
        )

    def _forget(self) -> None:
        """Begin a study of what is remembered and what is open."""
        trials = self._study.get_trials(deepcopy=False)
        while len(trials) > self._afforded:
            trials = remembered(trials, self._spec.objectives)
        self._n_known = len(trials)
        # A sampler may keep what it has inferred of the old study. One that began anew would repeat itself.
        self._seed += 1
        self._sampler = self._make_sampler(seed=self._seed)
        self._study = _study(self._sampler, self._spec.objectives)
        self._study.add_trials(trials)
        for name, trial in self._open.items():
            self._study.enqueue_trial(trial.params)
            self._open[name] = self._ask_once()

    def _ask_once(self) -> "Trial":
        with sampler_errors(self._spec.sampler):
            if not self._space.conditional:
                return self._study.ask(self._distributions)
            trial = self._study.ask()
            self._space.draw(lambda axis: _suggest(trial, axis, self._distributions[axis]))
            return trial


def frozen_trial(
    config: ConfigResult, spec: SweepSpec, distributions: Mapping[str, "BaseDistribution"]
) -> "FrozenTrial":
    """Return a config in its final state as Optuna keeps it; one without full budget has its values aside."""
    from optuna.trial import TrialState, create_trial

    states = {"stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    state = states.get(config.status, TrialState.COMPLETE)
    done = state == TrialState.COMPLETE
    values = [config.measured[o.name] for o in spec.objectives if o.name in config.measured]
    excesses = {limit.name: limit.excess(config.measured) for limit in spec.limits}
    return create_trial(
        params=dict(config.suggestion),
        distributions={axis: distributions[axis] for axis in config.suggestion},
        values=values if done else None,
        state=state,
        constraints=excesses if done else {},
        user_attrs={"name": config.name} | ({} if done else {"values": values}),
    )


def _key(suggestion: Suggestion) -> frozenset[tuple[str, float | int | str]]:
    return frozenset(suggestion.items())


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


def _study(sampler: "BaseSampler", objectives: Sequence[Objective]) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=sampler, directions=[o.direction for o in objectives])
