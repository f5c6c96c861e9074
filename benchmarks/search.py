"""Epochs until a search has found the front: ours beside random search, Optuna, Syne Tune and NePS.

Run: python benchmarks/search.py [--full] [--synetune PYTHON] [--neps PYTHON]
(a minute; --full: 20 seeds and more rows; --neps: an hour)

The trials are recorded ones: a grid on the real digits (curves/digits_grid.yaml), replayed. Counted are the
epochs until the front of the completed trials has 90 % and 95 % of the hypervolume of all; a search that has
not come there after as many epochs as the whole grid has counts as endless. Medians over seeds stand with the
95 % interval of a bootstrap over seeds, as do the ratios of two searches, seed by seed. PYTHON is that of an
environment with Syne Tune 0.16 or NePS 0.17; `make compare-search` makes both. PriMO has four seeds, since a
Gaussian process thinks for seconds at every suggestion.
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import moocore
import numpy as np
import optuna
from common import header
from numpy.typing import NDArray
from replay import OBJECTIVES, TABLE, WORKERS, Curves, Point, Vector, read_curves, replay

from sweep.config.sweep_spec import load_spec
from sweep.search.scheduler import HalvingScheduler
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, TrialReport, begin_record, end_record

SHARES = (0.9, 0.95)


class Ours:
    """The project's searcher and scheduler."""

    def __init__(self, *overrides: str) -> None:
        spec = load_spec(TABLE.with_suffix(".yaml"), ["trials=2000", *overrides])
        self._spec, self._state = spec, SweepState(spec)
        self._searcher = SweepSearcher(spec, self._state)
        self._scheduler = HalvingScheduler(spec, lambda _: None)
        self._asked: dict[str, SuggestedTrial] = {}

    def suggest(self, name: str) -> Point | None:
        asked = self._searcher.suggest(name)
        if not isinstance(asked, dict):
            return None
        self._asked[name] = trial = SuggestedTrial.from_ray(asked)
        return self._spec.space.settings(trial.suggestion)

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:
        return self._scheduler.on_report(self._asked[name], _result(epoch, vector)) == "continue"

    def ended(self, name: str, epoch: int, vector: Vector) -> None:
        trial, now = self._asked[name], datetime.now(UTC)
        last = TrialReport(stopped="at a rung").followed_by(_result(epoch, vector))
        begun = begin_record(self._spec, trial.config(self._spec), trial, now)
        config = self._state.end(end_record(begun, last, self._spec.objectives, now))
        if config is not None:
            self._searcher.tell(config)


class Optuna:
    """A sampler of Optuna's as its documentation has it: ask, and tell at the end.

    Optuna's own pruners refuse several objectives. With a pruner trials are stopped as OptunaHub's
    multi_metric_pruner does it: at every epoch the pruner sees the ranks of the trials' fronts there.
    """

    def __init__(
        self,
        sampler: optuna.samplers.BaseSampler,
        curves: Curves,
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(OBJECTIVES))
        self._axes, self._budget, self._pruner = curves.axes, curves.budget, pruner
        self._open: dict[str, optuna.Trial] = {}
        self._reports: dict[str, list[Vector]] = {}

    def suggest(self, name: str) -> Point | None:
        self._open[name] = trial = self._study.ask()
        return {axis: trial.suggest_categorical(axis, values) for axis, values in self._axes.items()}

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:
        self._reports.setdefault(name, []).append(vector)
        if self._pruner is None:
            return True
        ranks: dict[str, dict[int, float]] = {other: {} for other in self._reports}
        for e in range(epoch):
            there = {other: each[e] for other, each in self._reports.items() if len(each) > e}
            found = moocore.pareto_rank(np.array([*there.values()]), maximise=True)
            for other, rank in zip(there, found, strict=True):
                ranks[other][e] = float(rank)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="minimize")
        for other, known in ranks.items():
            if other not in self._open:
                study.add_trial(optuna.create_trial(value=[*known.values()][-1], intermediate_values=known))
        running = optuna.trial.TrialState.RUNNING
        mine = optuna.create_trial(state=running, intermediate_values=ranks[name])
        return not self._pruner.prune(study, mine)

    def ended(self, name: str, epoch: int, vector: Vector) -> None:
        if epoch == self._budget:
            self._study.tell(self._open.pop(name), vector)
        else:
            self._study.tell(self._open.pop(name), state=optuna.trial.TrialState.PRUNED)


def _result(epoch: int, vector: Vector) -> TrialReport:
    return TrialReport(epoch=epoch, objectives=dict(zip(OBJECTIVES, vector, strict=True)))


OURS = {
    "ours: random": ("sampler=random",),
    "ours: TPE": ("sampler=tpe",),
    "ours: random, halving": ("sampler=random", "scheduler.type=halving"),
    "ours: TPE, halving": ("sampler=tpe", "scheduler.type=halving"),
    "ours: random, halving, eta 3": ("sampler=random", "scheduler.type=halving", "scheduler.eta=3"),
    "ours: TPE, halving, eta 3": ("sampler=tpe", "scheduler.type=halving", "scheduler.eta=3"),
}
RANDOM, STOCK = "random search", "Optuna TPE"
OPTUNA: dict[str, tuple[Callable[[int], optuna.samplers.BaseSampler], optuna.pruners.BasePruner | None]] = {
    RANDOM: (lambda seed: optuna.samplers.RandomSampler(seed=seed), None),
    STOCK: (lambda seed: optuna.samplers.TPESampler(seed=seed), None),
    "Optuna TPE, together": (lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True), None),
    "Optuna TPE, ranks' median": (
        lambda seed: optuna.samplers.TPESampler(seed=seed),
        optuna.pruners.MedianPruner(),
    ),
}
PEERS = {
    "Syne Tune MO-ASHA, grace 1": ("synetune", "moasha.py", "1"),
    "Syne Tune MO-ASHA, grace 2": ("synetune", "moasha.py", "2"),
    "NePS MO-ASHA": ("neps", "neps_search.py", "moasha"),
    "NePS PriMO": ("neps", "neps_search.py", "primo"),
}


def one(name: str, seed: int) -> list[float]:
    """Return the epochs of one search with one seed, by share."""
    curves = read_curves()
    if name in OURS:
        return replay(Ours(f"seed={seed}", *OURS[name]), curves, SHARES)
    sampler, pruner = OPTUNA[name]
    return replay(Optuna(sampler(seed), curves, pruner), curves, SHARES)


def median(values: NDArray[np.float64]) -> str:
    """Return a median and the 95 % interval of a bootstrap over seeds; values may be infinite."""
    drawn = np.random.default_rng(0).choice(values, (4000, len(values)))
    medians = np.quantile(drawn, 0.5, axis=1, method="higher")
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    middle = np.quantile(values, 0.5, method="higher")
    digits = 0 if middle > 10 else 2
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratio(mine: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """Return the median of the ratios seed by seed; where neither came there, it is to our disadvantage."""
    both = np.isinf(mine)
    return median(np.where(both, np.inf, np.where(both, 1.0, mine) / other))


def main(*, full: bool, peers: Mapping[str, str | None]) -> None:
    """Print the tables."""
    curves, seeds = read_curves(), 20 if full else 4
    print(header("optuna", "moocore"))
    names = [*OPTUNA, *OURS] if full else [RANDOM, STOCK, *OURS][:6]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        futures = {name: [pool.submit(one, name, seed) for seed in range(seeds)] for name in names}
        found = {name: np.array([f.result() for f in each]) for name, each in futures.items()}
    for name, (environment, script, argument) in PEERS.items():
        if python := peers[environment]:
            # A suggestion of PriMO takes seconds.
            several = 4 if argument == "primo" else seeds
            arguments = [TABLE, argument, str(several), json.dumps(SHARES)]
            command = [python, Path(__file__).parent / "peer" / script, *arguments]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found[name] = np.array(json.loads(printed.splitlines()[-1]))
    n = len(curves.vectors)
    print(
        f"grid of {n} trials of {curves.budget} epochs, {curves.recorded} of them recorded; hypervolume "
        f"{curves.volume:.1f}; {WORKERS} workers; {seeds} seeds; halving: grace 2, eta 2 unless said"
    )
    for i, share in enumerate(SHARES):
        print(f"\n{share:.0%} of the hypervolume; ratios of epochs, seed by seed: this one's to the column's")
        print(f"{'':<30}{'reached':>8}{'epochs: median (95 %)':>26}{RANDOM:>24}{STOCK:>24}")
        for name, epochs in found.items():
            mine = epochs[:, i]
            against = "".join(f"{ratio(mine, found[other][: len(mine), i]):>24}" for other in (RANDOM, STOCK))
            print(f"{name:<30}{np.isfinite(mine).mean():>8.0%}{median(mine):>26}{against}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    for each in ("synetune", "neps"):
        parser.add_argument(f"--{each}", metavar="PYTHON")
    options = parser.parse_args()
    main(full=options.full, peers={"synetune": options.synetune, "neps": options.neps})
