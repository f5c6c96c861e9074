"""The front of a running sweep, kept as trials end."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from sweep.analysis.fronts import dominates, front_mask, hypervolume
from sweep.analysis.points import Points
from sweep.config.objectives import Objective, gains
from sweep.store.records import TrialRecord

Vector = tuple[float, ...]


class Front:
    """The configs on the front by the means over their completed seeds.

    What did not change is not computed again: all configs are looked at only if one on the front has a new
    mean.
    """

    def __init__(self, objectives: Sequence[Objective], reference: Mapping[str, float]) -> None:
        self._objectives = tuple(objectives)
        self._reference = dict(reference)
        self._seeds: dict[str, list[Vector]] = defaultdict(list)
        self._front: dict[str, Vector] = {}
        self.volume = 0.0
        """The hypervolume between front and reference point."""

    @property
    def configs(self) -> frozenset[str]:
        """Return the configs on the front; exact ties are all on it."""
        return frozenset(self._front)

    def add(self, config: str, trial: TrialRecord) -> None:
        """Take a trial that completed."""
        self._seeds[config].append(tuple(trial.objectives[o.name] for o in self._objectives))
        mean = self._mean(config)
        if config in self._front:
            means = {name: self._mean(name) for name in self._seeds}
            mask = front_mask(self._points(means))
            self._front = {name: means[name] for name, on in zip(means, mask, strict=True) if on}
        elif any(self._dominates(other, mean) for other in self._front.values()):
            return
        else:
            kept = {name: other for name, other in self._front.items() if not self._dominates(mean, other)}
            self._front = kept | {config: mean}
        self.volume = hypervolume(self._points(self._front), self._reference)

    def _mean(self, config: str) -> Vector:
        return tuple(map(fmean, zip(*self._seeds[config], strict=True)))

    def _dominates(self, a: Vector, b: Vector) -> bool:
        return bool(dominates(gains(a, self._objectives), gains(b, self._objectives)))

    def _points(self, vectors: Mapping[str, Vector]) -> Points:
        return Points(
            trial_ids=tuple(vectors),
            values=np.array(list(vectors.values()), dtype=np.float64).reshape(-1, len(self._objectives)),
            objectives=self._objectives,
        )
