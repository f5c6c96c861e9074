"""Epochs until a search has found the front: ours beside random search, Optuna and Syne Tune.

Run: python benchmarks/search.py [--full] [--peer PYTHON]

The trials are recorded ones: a full grid on the real digits (curves/digits_grid.yaml), replayed. Counted are the
epochs until the front of the completed trials has 90 % and 95 % of the hypervolume of all; a search that has
not come there after twice the epochs of the whole grid counts as endless. Medians over seeds stand with the 95 %
interval of a bootstrap over seeds, as do the ratios of two searches, seed by seed. PYTHON is that of an environment with
Syne Tune 0.16; `make compare-search` makes one.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import optuna
from replay import OBJECTIVES, TABLE, Curves, Point, Search, Vector, read_curves, replay

from sweep.search.replicating import Past, ReplicatingSearcher
from sweep.search.scheduler import HalvingScheduler
from sweep.spec.sweep_spec import load_spec

SHARES = (0.9, 0.95)


class Ours:
    """The project's searcher and scheduler."""

    def __init__(self, *overrides: str) -> None:
        spec = load_spec(TABLE.with_suffix(".yaml"), ["trials=2000", *overrides])
        self._space = spec.space
        self._searcher = ReplicatingSearcher(spec, Past())
        self._scheduler = HalvingScheduler(
            spec.scheduler,
            spec.objectives,
            seed=spec.seed,
            epochs_max=lambda suggested: spec.budget(suggested["suggestion"]),
            on_decision=lambda _: None,
        )
        self._asked: dict[str, dict[str, object]] = {}

    def suggest(self, name: str) -> Point | None:
        asked = self._searcher.suggest(name)
        if not isinstance(asked, dict):
            return None
        self._asked[name] = asked
        return self._space.settings(asked["suggestion"])

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:
        return self._scheduler.on_report(self._asked[name], _result(epoch, vector)) == "continue"

    def ended(self, name: str, epoch: int, vector: Vector) -> None:
        self._searcher.on_trial_complete(name, _result(epoch, vector))


class Optuna:
    """A sampler of Optuna's as its documentation has it: ask, and tell at the end."""

    def __init__(self, sampler: optuna.samplers.BaseSampler, curves: Curves) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(OBJECTIVES))
        self._axes = curves.axes
        self._open: dict[str, optuna.Trial] = {}

    def suggest(self, name: str) -> Point | None:
        self._open[name] = trial = self._study.ask()
        return {axis: trial.suggest_categorical(axis, values) for axis, values in self._axes.items()}

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:
        return True

    def ended(self, name: str, epoch: int, vector: Vector) -> None:
        self._study.tell(self._open.pop(name), vector)


def _result(epoch: int, vector: Vector) -> dict[str, float]:
    """Return a report as Ray hands it on."""
    return {"epoch": epoch} | {f"objectives/{n}": v for n, v in zip(OBJECTIVES, vector, strict=True)}
