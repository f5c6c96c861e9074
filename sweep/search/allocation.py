"""Which config is worth a further seed, by the hypervolume that the front is expected to gain by it. Pure.

The front of the observed means is taken for the true one. One more seed moves its config's mean by a random
step; a step that is expected to raise the hypervolume of that front is worth a trial, and the config with the
largest expectation comes next: the knowledge gradient (Frazier, Powell and Dayanik 2008) of the hypervolume.
So seeds go to configs whose means are uncertain and on which the front depends, the idea of optimal computing
budget allocation (Chen et al. 2000; for several objectives Lee et al. 2010).
Axes: C config, D draw, O objective, S seed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from sweep.analysis.posterior import Array
from sweep.config.objectives import gains
from sweep.config.sweep_spec import SweepSpec
from sweep.store.records import TrialRecord

FEWEST = 3
"""With fewer completed configs their spread is unknown, and no further seed is begun."""
WORTH = 1e-4
"""A further seed is worth a trial if it is expected to raise the hypervolume by this share of it."""
MOST = 40
"""Most configs that are considered, those on the fronts of the lowest ranks."""

_DRAWS = 16
_PRIOR_SEEDS, _PRIOR_SHARE = 2, 0.25
"""Until seeds have shown their variance it counts as this share of that between configs, seen this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A config that is worth a further seed."""

    config: str
    """Its name."""
    gain: float
    """Hypervolume that the front is expected to gain by the seed."""
    gain_of_new: float
    """Hypervolume that it is expected to gain by another config; 0 if none is left."""
    volume: float
    """Its hypervolume now."""

    @property
    def reason(self) -> str:
        """Return why, as a sentence."""
        other = f", a new config by {self.gain_of_new:.3g}" if self.gain_of_new else ""
        return f"it is expected to raise the hypervolume of {self.volume:.5g} by {self.gain:.3g}{other}"


def next_repeat(
    ended: Mapping[str, Sequence[TrialRecord]],
    begun: Mapping[str, Collection[str]],
    spec: SweepSpec,
    *,
    new: bool,
) -> Repeat | None:
    """Return the config that is worth a further seed most; None if none is, or a new config is worth more.

    Args:
        ended: the seeds of each completed config that have ended.
        begun: its seeds that have begun.
        spec: the sweep: its objectives, its reference point, and the most seeds of a config.
        new: whether the sweep is to have further configs.
    """
    if len(ended) < FEWEST:
        return None
    names, objectives = list(ended), spec.objectives
    seeds_SO = [
        gains([[seed.objectives[o.name] for o in objectives] for seed in ended[name]], objectives)
        for name in names
    ]
    corner_O = gains([spec.reference_point[o.name] for o in objectives], objectives)
    mean_CO = np.array([values_SO.mean(0) for values_SO in seeds_SO])
    root_OO = _root(_between_seeds(seeds_SO, mean_CO))
    volume = _volume(mean_CO, corner_O)
    gain_C = np.zeros(len(names))
    for c in np.argsort(moocore.pareto_rank(mean_CO, maximise=True), kind="stable")[:MOST]:
        # A further seed moves the mean of k by a normal step of covariance V / k (k + 1).
        if (k := len(begun[names[c]])) < spec.replicates.count:
            step_DO = _normal(mean_CO.shape[1]) @ root_OO.T / np.sqrt(k * (k + 1))
            gain_C[c] = _gain(mean_CO[c], step_DO, np.delete(mean_CO, c, 0), corner_O)
    best = int(gain_C.argmax())
    gain_of_new = _alone(mean_CO, volume, corner_O) if new else 0.0
    if gain_C[best] <= max(WORTH * volume, gain_of_new):
        return None
    return Repeat(config=names[best], gain=float(gain_C[best]), gain_of_new=gain_of_new, volume=volume)


def _between_seeds(seeds_SO: Sequence[Array], mean_CO: Array) -> Array:
    """Return the covariance [O, O] between seeds of a config, pooled over configs."""
    prior_OO = _PRIOR_SHARE * np.diag(mean_CO.var(0, ddof=1))
    scatter_OO, freedom = _PRIOR_SEEDS * prior_OO, _PRIOR_SEEDS
    for values_SO, mean_O in zip(seeds_SO, mean_CO, strict=True):
        apart_SO = values_SO - mean_O
        scatter_OO, freedom = scatter_OO + apart_SO.T @ apart_SO, freedom + len(values_SO) - 1
    return np.asarray(scatter_OO / freedom)


def _gain(mean_O: Array, step_DO: Array, others_CO: Array, corner_O: Array) -> float:
    """Return by how much a config's random step is expected to raise the hypervolume."""
    front_CO = others_CO[moocore.is_nondominated(others_CO, maximise=True)]
    base = _volume(front_CO, corner_O)

    def alone(point_O: Array) -> float:
        if (front_CO >= point_O).all(1).any():
            return 0.0
        return _volume(np.vstack([front_CO, point_O]), corner_O) - base

    return float(np.mean([alone(mean_O + step_O) for step_O in step_DO]) - alone(mean_O))


def _alone(mean_CO: Array, volume: float, corner_O: Array) -> float:
    """Return what a config adds to the hypervolume of all others, the mean over all.

    If configs came in random order, this is also what the last of them added; the next is taken for like it.
    """
    on = moocore.is_nondominated(mean_CO, maximise=True)
    added = (volume - _volume(np.delete(mean_CO, c, 0), corner_O) for c in np.flatnonzero(on))
    return float(sum(added) / len(mean_CO))


def _volume(points_CO: Array, corner_O: Array) -> float:
    return float(moocore.hypervolume(points_CO, ref=corner_O, maximise=True)) if len(points_CO) else 0.0


def _normal(n_objectives: int) -> Array:
    """Return normal numbers [D, O], always the same, whose mean is zero."""
    draws_DO = np.random.default_rng(0).standard_normal((_DRAWS, n_objectives))
    return np.concatenate([draws_DO, -draws_DO])


def _root(covariance_OO: Array) -> Array:
    """Return a root A of a covariance A A', which may be singular."""
    size_O, vectors_OO = np.linalg.eigh(covariance_OO)
    return np.asarray(vectors_OO * np.sqrt(np.maximum(size_O, 0)))
