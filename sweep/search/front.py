"""The front of a running sweep, kept as trials end."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import Points
from sweep.config.objectives import Objective
from sweep.search.halving import Vector
from sweep.store.records import TrialRecord


class Front:
    """The configs on the front by the means over their completed seeds."""

    def __init__(self, objectives: Sequence[Objective], reference: Mapping[str, float]) -> None:
        self._objectives = tuple(objectives)
        self._reference = dict(reference)
        self._seeds: dict[str, list[Vector]] = defaultdict(list)
        self._means: dict[str, Vector] = {}
        self.configs = frozenset[str]()
        """The configs on the front; exact ties are all on it."""
        self.volume = 0.0
        """The hypervolume between front and reference point."""

    def add(self, config: str, trial: TrialRecord) -> None:
        """Take a trial that completed."""
        self._seeds[config].append(tuple(trial.objectives[o.name] for o in self._objectives))
        self._means[config] = tuple(map(fmean, zip(*self._seeds[config], strict=True)))
        # Only a config of the front that moves can uncover what it dominated: then all are compared.
        among = tuple(self._means) if config in self.configs else (*self.configs, config)
        values = np.array([self._means[name] for name in among], dtype=np.float64)
        points = Points(trial_ids=among, values=values, objectives=self._objectives)
        self.configs = frozenset(name for name, on in zip(among, front_mask(points), strict=True) if on)
        self.volume = hypervolume(points, self._reference)
