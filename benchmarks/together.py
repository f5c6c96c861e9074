"""TPE that models the parameters one by one against TPE that models them together, for two objectives.

Run: python benchmarks/together.py [SEEDS] [TRIALS]      (20 and 100: some minutes)

Two problems in six dimensions: `apart`, which is ZDT1 (Zitzler, Deb and Thiele 2000), whose parameters act
independently, and `rotated`, the distances to two points by a metric of which no axis is a parameter's.
Printed is the hypervolume after the trials as a share of that of the true front: mean and standard error over
seeds, and the mean of the differences seed by seed with the 95 % interval of a bootstrap.
"""

import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import moocore
import numpy as np
import optuna
from common import header
from numpy.typing import NDArray

DIMENSIONS = 6
Array = NDArray[np.float64]


def apart(x: Array) -> Array:
    """Return both values of ZDT1, to be minimised."""
    g = 1 + 9 * x[..., 1:].mean(-1)
    return np.stack([x[..., 0], g * (1 - np.sqrt(x[..., 0] / g))], -1)


def rotated(x: Array) -> Array:
    """Return the distances of x to two points, to be minimised."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    scales = np.geomspace(1, 10, DIMENSIONS)
    return np.stack([np.linalg.norm((x - c) @ turn * scales, axis=-1) for c in CENTRES], -1)


# From one point to the other on the line between them is the front, and lies within the cube.
CENTRES = (np.full(DIMENSIONS, 0.3), np.full(DIMENSIONS, 0.7))
LINE = np.linspace(0, 1, 2001)[:, None]
PROBLEMS: dict[str, tuple[Callable[[Array], Array], tuple[float, float], Array]] = {
    "apart": (apart, (1.0, 5.0), np.hstack([LINE, np.zeros((2001, DIMENSIONS - 1))])),
    "rotated": (rotated, (8.0, 8.0), CENTRES[0] + LINE * (CENTRES[1] - CENTRES[0])),
}
SAMPLERS = {"random": None, "one by one": False, "together": True}


def one(problem: str, sampler: str, seed: int, trials: int) -> float:
    """Return the share of the hypervolume after these trials."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    values, corner, front = PROBLEMS[problem]
    way = SAMPLERS[sampler]
    drawn = (
        optuna.samplers.RandomSampler(seed=seed)
        if way is None
        else optuna.samplers.TPESampler(seed=seed, multivariate=way)
    )
    study = optuna.create_study(sampler=drawn, directions=["minimize"] * 2)
    found = []
    for _ in range(trials):
        trial = study.ask()
        x = np.array([trial.suggest_float(f"x{k}", 0, 1) for k in range(DIMENSIONS)])
        found.append(values(x))
        study.tell(trial, list(found[-1]))
    return float(
        moocore.hypervolume(np.array(found), ref=corner) / moocore.hypervolume(values(front), ref=corner)
    )


def main(seeds: int, trials: int) -> None:
    """Print a table."""
    print(header("optuna", "moocore"))
    with ProcessPoolExecutor(mp_context=get_context("spawn"), max_workers=2) as pool:
        futures = {
            (p, s): [pool.submit(one, p, s, seed, trials) for seed in range(seeds)]
            for p in PROBLEMS
            for s in SAMPLERS
        }
        shares = {key: np.array([f.result() for f in each]) for key, each in futures.items()}
    print(f"share of the hypervolume after {trials} trials, {seeds} seeds; together less one by one, by seed")
    for p in PROBLEMS:
        columns = [
            f"{s} {shares[p, s].mean():.3f} ± {shares[p, s].std(ddof=1) / seeds**0.5:.3f}" for s in SAMPLERS
        ]
        more = shares[p, "together"] - shares[p, "one by one"]
        means = np.random.default_rng(0).choice(more, (4000, seeds)).mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        print(f"{p:<9}{'   '.join(columns)}   difference {more.mean():+.3f} ({low:+.3f} to {high:+.3f})")


if __name__ == "__main__":
    main(*(int(a) for a in (sys.argv[1:] + ["20", "100"][len(sys.argv) - 1 :])))
