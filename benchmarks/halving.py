"""What stopping early would have gained or cost on a sweep that was run in full.

Run: sweep run FILE --out DIR -o sampler=random -o evaluation.every=1      (with scheduler none)
     python benchmarks/halving.py DIR                                      (minutes)

A replay draws the recorded trials at random, again and again, decides at the rungs, counts the epochs spent,
and ends when the hypervolume of the completed trials' front reaches a share of that of all trials in full.
Stopping by chance lets a trial pass each rung with probability 1/eta: what halving gains over chance is due
to its choices. A replay that has not come there after ten times the sweep's epochs counts as endless.
"""

import sys

import moocore
import numpy as np
import polars as pl

from sweep.search.halving import Vector, decide
from sweep.search.scheduler import recorded_vectors
from sweep.spec.parts import SchedulerSpec
from sweep.store.read import open_store

ETAS, SHARES, SEEDS = (2, 3), (0.9, 0.95), 30

Curve = dict[int, Vector]
"""The objectives of one trial by epoch, the full budget last."""


def replay(
    curves: dict[str, Curve], rule: str, eta: int, goal: float, corner: list[float], seed: int
) -> float:
    """Return the epochs spent until the front's hypervolume reaches the goal; infinity if it never does."""
    random = np.random.default_rng(seed)
    seen: dict[int, dict[str, Vector]] = {}
    done: list[Vector] = []
    spent = 0
    names, limit = sorted(curves), 10 * sum(max(curve) for curve in curves.values())
    while spent < limit:
        drawn = names[random.integers(len(names))]
        curve, trial = curves[drawn], f"{drawn} at {spent}"
        budget = max(curve)
        reached = budget
        for epoch in SchedulerSpec(type="halving", grace=1, eta=eta).rungs(budget) if rule != "none" else ():
            recorded = seen.setdefault(epoch, {})
            recorded[trial] = curve[epoch]
            if rule == "chance":
                stop = random.random() >= 1 / eta
            else:
                stop = decide(trial, recorded, [True] * len(corner), eta).decision == "stop"
            if stop:
                reached = epoch
                break
        spent += reached
        if reached == budget:
            done.append(curve[budget])
            if moocore.hypervolume(np.array(done), ref=corner, maximise=True) >= goal:
                return spent
    return np.inf


def main(folder: str) -> None:
    """Print the table."""
    store = open_store(folder)
    names = [o.name for o in store.manifest.objectives]
    corner = [store.manifest.reference_point[name] for name in names]
    full = store.latest_trials().filter(pl.col("status") == "completed").collect()["trial_id"].to_list()
    recorded = recorded_vectors(store, names)
    curves = {trial: recorded[trial] for trial in full}
    volume = moocore.hypervolume(np.array([c[max(c)] for c in curves.values()]), ref=corner, maximise=True)
    epochs = sum(max(c) for c in curves.values())
    print(f"{len(curves)} trials, {epochs} epochs; hypervolume {volume:.4g}; {SEEDS} replays")
    print(f"{'goal':<7}{'rule':<9}{'eta':>4}{'reached':>9}{'epochs: median (quartiles)':>30}")
    for share in SHARES:
        for rule, eta in [("none", 2), *((rule, eta) for eta in ETAS for rule in ("halving", "chance"))]:
            goal = share * volume
            spent = [replay(curves, rule, eta, goal, corner, seed) for seed in range(SEEDS)]
            low, median, high = np.quantile(spent, [0.25, 0.5, 0.75], method="higher")
            reached = f"{np.isfinite(spent).mean():.0%}"
            figures = f"{median:.0f} ({low:.0f} to {high:.0f})"
            print(f"{share:<7.0%}{rule:<9}{eta if rule != 'none' else '':>4}{reached:>9}{figures:>30}")


if __name__ == "__main__":
    main(sys.argv[1])
