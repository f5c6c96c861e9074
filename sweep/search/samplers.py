"""Optuna's samplers by name, seeded, those of the user's own, and the grid."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from mopoe.errors import ConfigError
from mopoe.plugins import named_function, reason
from mopoe.wording import show
from sweep.config.objectives import Objective, gains
from sweep.config.space import Space, Suggestion
from sweep.config.sweep_spec import SweepSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

AFFORDED = {"tpe": 1000, "gp": 200}
"""Trials that a sampler looks at by its name; the others cost next to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerContext:
    """What a sampler is made for, besides its seed."""

    n_trials: int
    """Number of configs that the sweep asks for."""
    search_space: "Mapping[str, BaseDistribution]"
    """Optuna's distribution of every parameter, by its name in the study; a simplex has several."""
    conditional: bool
    """Whether some parameters exist only under certain values of others."""
    directions: Sequence[str]
    """Maximize or minimize, in the order of the objectives."""

    @classmethod
    def of(cls, spec: SweepSpec, n_trials: int) -> Self:
        """Return what the samplers of a sweep with so many configs are made for."""
        space, directions = spec.space, tuple(o.direction for o in spec.objectives)
        return cls(
            n_trials=n_trials,
            search_space=space.distributions(),
            conditional=space.conditional,
            directions=directions,
        )


def check_sampler(spec: SweepSpec) -> None:
    """Refuse a sampler of the user's own that cannot be made.

    Raises:
        ConfigError: as for `make_sampler`.
    """
    if ":" in spec.sampler:
        make_sampler(spec.sampler, spec.seed, SamplerContext.of(spec, spec.n_configs))


def remembered(trials: "Sequence[FrozenTrial]", objectives: Sequence[Objective]) -> "list[FrozenTrial]":
    """Return, in their order, the better half of the completed trials and every second one of the rest.

    Those that meet their constraints come first, then those of a lower front rank; of equals the
    newer ones. Failed trials tell a sampler nothing and go.
    """
    import moocore
    from optuna.trial import TrialState

    trials = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    done = [i for i, t in enumerate(trials) if t.state == TrialState.COMPLETE]
    better = set[int]()
    if done:
        rank = moocore.pareto_rank(gains([trials[i].values for i in done], objectives), maximise=True)
        missed = [sum(max(0.0, excess) for excess in trials[i].constraints.values()) for i in done]
        order = np.lexsort((-np.arange(len(done)), rank, np.array(missed)))
        better = {done[i] for i in order[: (len(done) + 1) // 2]}
    rest = [i for i in range(len(trials)) if i not in better]
    return [trials[i] for i in sorted(better | set(rest[1::2]))]


def make_sampler(name: str, seed: int, context: SamplerContext) -> "BaseSampler":
    """Return Optuna's sampler of that name, seeded; that of a grid only draws once the grid is used up.

    A name with a colon is a function of the user's own, which returns the sampler.

    TPE draws its first trials at random: ten by default, but no more than a third of a short sweep. It models
    all parameters together (under `conditional`, those that exist together), which sees what they do to each
    other and takes a third of the time of one by one. The genetic samplers' populations are a fifth of the
    sweep, from 8 to Optuna's 50.

    Raises:
        ConfigError: the user's function cannot be called, raises, or returns no sampler.
    """
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    startup = max(1, min(10, context.n_trials // 3))
    population = min(50, max(8, context.n_trials // 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler: BaseSampler
        match name:
            case "tpe":
                sampler = samplers.TPESampler(
                    seed=seed, n_startup_trials=startup, multivariate=True, group=context.conditional
                )
            case "gp":
                sampler = samplers.GPSampler(seed=seed, n_startup_trials=startup)
            case "nsga2":
                sampler = samplers.NSGAIISampler(seed=seed, population_size=population)
            case "nsga3":
                sampler = samplers.NSGAIIISampler(seed=seed, population_size=population)
            case "qmc":
                sampler = samplers.QMCSampler(seed=seed, scramble=True)
            case _ if ":" in name:
                sampler = _own_sampler(name, seed, context)
            case _:  # random, or grid
                sampler = samplers.RandomSampler(seed=seed)
    return sampler


@contextmanager
def sampler_errors(name: str) -> Iterator[None]:
    """Raise whatever a sampler of the user's own raises as a ConfigError; of others it is a bug of ours."""
    try:
        yield
    except Exception as error:
        if ":" not in name:
            raise
        raise ConfigError(f"sampler {name!r} failed ({reason(error)})") from error


def _own_sampler(reference: str, seed: int, context: SamplerContext) -> "BaseSampler":
    from optuna.samplers import BaseSampler

    with sampler_errors(reference):
        sampler = named_function(reference)(seed, context)
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(
            f"sampler {reference!r} returned {show(sampler)}, but must return an optuna.samplers.BaseSampler"
        )
    return sampler


def grid_points(space: Space, seed: int) -> Iterator[Suggestion]:
    """Give every point of a grid once, in an order drawn from the seed.

    Raises:
        ConfigError: a parameter has endlessly many values.
    """
    axes = space.grid()
    sizes = [len(values) for values in axes.values()]
    for point in np.random.default_rng(seed).permutation(math.prod(sizes)):
        places = np.unravel_index(point, sizes)
        yield {axis: values[int(i)] for (axis, values), i in zip(axes.items(), places, strict=True)}
