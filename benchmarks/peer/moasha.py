"""Syne Tune's multi-objective ASHA on recorded curves: one line of JSON, the epochs by seed and share.

Run by benchmarks/search.py in an environment of its own. The scheduler is used as its documentation has it:
random suggestions, non-dominated sorting, reduction factor 3. It draws from the global generators of Python
and NumPy, which are therefore seeded.
"""

import json
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from replay import OBJECTIVES, Curves, Vector, read_curves, replay
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA


class Moasha:
    """Syne Tune's scheduler as a search."""

    def __init__(self, curves: Curves, grace: int, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what it draws from
        self._scheduler = MOASHA(
            {name: choice(values) for name, values in curves.axes.items()},
            metrics=list(OBJECTIVES),
            do_minimize=False,
            time_attr="epoch",
            max_t=curves.budget,
            grace_period=grace,
            reduction_factor=3,
            random_seed=seed,
        )
        self._budget = curves.budget
        self._trials: dict[str, Trial] = {}

    def suggest(self, name: str) -> dict[str, float]:
        config = self._scheduler.suggest().config
        self._trials[name] = Trial(int(name[1:]), config, datetime.now(UTC))
        self._scheduler.on_trial_add(self._trials[name])
        return config

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:
        if epoch == self._budget:
            return True
        result = dict(zip(OBJECTIVES, vector, strict=True)) | {"epoch": epoch}
        return self._scheduler.on_trial_result(self._trials[name], result) == SchedulerDecision.CONTINUE

    def ended(self, name: str, epoch: int, vector: Vector) -> None:
        trial = self._trials.pop(name)
        if epoch == self._budget:
            result = dict(zip(OBJECTIVES, vector, strict=True)) | {"epoch": epoch}
            self._scheduler.on_trial_complete(trial, result)
        else:
            self._scheduler.on_trial_remove(trial)


def one(table: str, grace: int, shares: list[float], seed: int) -> list[float]:
    """Return the epochs of one seed, by share."""
    curves = read_curves(Path(table))
    return replay(Moasha(curves, grace, seed), curves, shares)


def main(table: str, grace: str, seeds: str, shares: str) -> None:
    """Print the line."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(one, table, int(grace), json.loads(shares)), range(int(seeds)))
        print(json.dumps(list(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
