"""What two trials on two cores get done, against one on one core, by the wall clock of a quiet machine.

Run: python benchmarks/side_by_side.py      (two minutes on two cores; prints each round's load average)

Each process trains the paper's model (M=5, Z=512, batch 256) with one thread, as a sweep's workers do. A
round is some steps of one process alone, then of two at a time. Waiting threads sleep
(`OMP_WAIT_POLICY=passive`).
"""

import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from common import header, random_data

ROUNDS, STEPS = 4, 6


def train() -> float:
    """Return the seconds of some steps, by the wall's clock."""
    import torch

    import mopoe
    from mopoe.runtime import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    data = random_data(256 * STEPS)
    model = mopoe.build_model(config := mopoe.TrialConfig(epochs=1), data.modalities)
    began = time.perf_counter()
    mopoe.train(config, data, bool, model=model)
    return time.perf_counter() - began


def main() -> None:
    """Print each round, and the medians."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # before the processes import torch
    print(header())
    ratios = []
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(_train_once, range(2)))
        print(f"{'one alone, s':>13}{'two at once, s':>16}{'throughput':>12}{'load':>7}")
        for _ in range(ROUNDS):
            alone = pool.submit(train).result()
            both = max(pool.map(_train_once, range(2)))
            ratios.append(2 * alone / both)
            load = os.getloadavg()[0]
            print(f"{alone:>13.2f}{both:>16.2f}{ratios[-1]:>12.2f}{load:>7.1f}", flush=True)
    print(f"throughput of two, one being 1: median {statistics.median(ratios):.2f}, most {max(ratios):.2f}")


def _train_once(_: int) -> float:
    return train()


if __name__ == "__main__":
    main()
