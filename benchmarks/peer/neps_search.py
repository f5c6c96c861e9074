"""NePS's two optimizers of several objectives with fidelities, MO-ASHA and PriMO, on recorded curves.

Prints one line of JSON, the epochs by seed and share; benchmarks/search.py runs it in its own environment.
Both are used by ask and tell with their defaults: eta 3, from the first epoch on; PriMO without priors, as
nothing is known beforehand. A promoted trial goes on where it ended. PriMO adds the objectives with random
weights, so they are given as shares of the table's ranges. Both draw from the global generators.
"""

import json
import random
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import neps
from neps.optimizers import algorithms
from neps.space import SearchSpace
from neps.space.parameters import HPOCategorical, HPOInteger
from neps.state.trial import Trial
from replay import CORNER, Curves, Point, Vector, read_curves, replay


class Neps:
    """An optimizer of NePS's as a search."""

    def __init__(self, curves: Curves, name: str, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what it draws from
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        axes = {axis: HPOCategorical(choices=values) for axis, values in curves.axes.items()}
        space = SearchSpace({**axes, "epoch": HPOInteger(1, curves.budget, is_fidelity=True)})
        given = {"prior_centers": {}} if name == "primo" else {}
        self._search = neps.AskAndTell(getattr(algorithms, name)(space, **given))
        best = np.max([curve[-1] for curve in curves.vectors.values()], axis=0)
        self._axes, self._range = curves.axes, best - CORNER
        self._open: dict[str, Trial] = {}

    def suggest(self, name: str) -> Point | None:
        before = dict(self._search.trials)
        try:
            trial = self._search.ask()
        except ValueError:
            # Its ranking of a rung fails where all of it are still running: the worker waits.
            return None
        if trial.id in before:
            # PriMO counts the completed trials alone, so that with several workers a number is given twice.
            self._search.trials[trial.id] = before[trial.id]
            trial.metadata.id = str(10_000 + len(before))
            self._search.trials[trial.id] = trial
        self._open[name] = trial
        earlier = before.get(trial.metadata.previous_trial_id or "")
        had = earlier.config["epoch"] if earlier else 0
        return {axis: trial.config[axis] for axis in self._axes} | {"epoch": had}

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:  # noqa: ARG002 - a Search
        return epoch < self._open[name].config["epoch"]

    def ended(self, name: str, epoch: int, vector: Vector) -> None:  # noqa: ARG002 - a Search
        losses = -(np.array(vector) - CORNER) / self._range
        self._search.tell(self._open.pop(name).id, {"objective_to_minimize": losses.tolist()})


def one(table: str, name: str, shares: list[float], seed: int) -> list[float]:
    """Return the epochs of one seed, by share."""
    curves = read_curves(Path(table))
    return replay(Neps(curves, name, seed), curves, shares)


def main(table: str, name: str, seeds: str, shares: str) -> None:
    """Print the line."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(one, table, name, json.loads(shares)), range(int(seeds)))
        print(json.dumps(list(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
