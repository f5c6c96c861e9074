"""The front of a running sweep, kept as trials end."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import Points
from sweep.config.objectives import Objective
from sweep.search.halving import Vector


class Front:
    """The configs on the front by the means over their seeds."""

    def __init__(self, objectives: Sequence[Objective], reference: Mapping[str, float]) -> None:
        self._objectives = tuple(objectives)
        self._reference = dict(reference)
        self._means: dict[str, Vector] = {}
        self.configs = frozenset[str]()
        """The configs on the front; exact ties are all on it."""
        self.volume = 0.0
        """The hypervolume between front and reference point."""

    @property
    def placed(self) -> Collection[str]:
        """The configs that are compared."""
        return self._means.keys()

    def place(self, config: str, means: Vector | None) -> None:
        """Take the means of a config's objectives; None takes the config out."""
        # Only a config of the front that moves can uncover what it dominated: then all are compared.
        all_move = config in self.configs
        self._means.pop(config, None)
        if means is not None:
            self._means[config] = means
        elif not all_move:
            return
        among = tuple(self._means) if all_move else (*self.configs, config)
        values = np.array([self._means[name] for name in among], dtype=np.float64)
        points = Points(
            trial_ids=among, values=values.reshape(-1, len(self._objectives)), objectives=self._objectives
        )
        self.configs = frozenset(name for name, on in zip(among, front_mask(points), strict=True) if on)
        self.volume = hypervolume(points, self._reference)
