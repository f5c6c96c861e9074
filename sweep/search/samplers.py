"""Optuna's samplers by name, seeded, and the grid."""

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from mopoe.errors import ConfigError
from sweep.config.objectives import Objective, gains
from sweep.config.space import Space, Suggestion

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

AFFORDED = {"tpe": 1000, "gp": 200}
"""Trials that a sampler looks at by its name; the others cost next to nothing."""


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


def make_sampler(name: str, seed: int, n_trials: int, *, conditional: bool = False) -> "BaseSampler":
    """Return Optuna's sampler of that name, seeded; that of a grid only draws once the grid is used up.

    TPE draws its first trials at random: ten by default, but no more than a third of a short sweep. It models
    all parameters together (under `conditional`, those that exist together), which sees what they do to each
    other and takes a third of the time of one by one. The genetic samplers' populations are a fifth of the
    sweep, from 8 to Optuna's 50.

    Raises:
        ConfigError: gp, and a package that it needs is not installed.
    """
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    population = min(50, max(8, n_trials // 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match name:
            case "tpe":
                startup = max(1, min(10, n_trials // 3))
                return samplers.TPESampler(
                    seed=seed, n_startup_trials=startup, multivariate=True, group=conditional
                )
            case "gp":
                for package in ("scipy", "torch"):
                    if find_spec(package) is None:
                        raise ConfigError(f"sampler gp needs {package}, which is not installed here; use tpe")
                return samplers.GPSampler(seed=seed, n_startup_trials=max(1, min(10, n_trials // 3)))
            case "nsga2":
                return samplers.NSGAIISampler(seed=seed, population_size=population)
            case "nsga3":
                return samplers.NSGAIIISampler(seed=seed, population_size=population)
            case "random" | "grid":
                return samplers.RandomSampler(seed=seed)
            case "qmc":
                return samplers.QMCSampler(seed=seed, scramble=True)
    raise ValueError(f"no sampler is named {name!r}")


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


def known_points(
    space: Space, sampler: str, seed: int, start_with: list[Suggestion], n_trials: int
) -> list[Suggestion]:
    """Return the suggestions that come before the sampler's own: given points, then a grid without them."""
    grid = grid_points(space, seed) if sampler == "grid" else iter(())
    rest = (point for point in grid if point not in start_with)
    return list(itertools.islice(itertools.chain(start_with, rest), n_trials))
