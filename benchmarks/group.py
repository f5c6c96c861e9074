"""What it buys to train several trials as one stacked model, and to compile the step: trial-steps by time.

Run: python benchmarks/group.py [toy] [small] [paper] [--full]   (two minutes on one core; --full on a GPU)

All variants of a size take turns in one process, on random images in the shapes of PolyMNIST, five of
3 x 28 x 28. A round is a few whole optimiser steps, noise and batches included; ratios to a single trial,
uncompiled and in float32, are taken round by round. On a CPU one thread's CPU time is counted, on a GPU wall
time.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from common import header, random_data, spread
from torch.profiler import ProfilerActivity, profile

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.group import Group
from mopoe.member import start
from mopoe.memory import keep_freed_memory

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
SIZES = {
    "toy": TrialConfig(batch_size=32, latent_dim=16, channels=(4, 8, 16)),
    "small": TrialConfig(batch_size=64, latent_dim=64),
    "paper": TrialConfig(batch_size=256, latent_dim=512),
}
ROUNDS = {"toy": (7, 8), "small": (5, 2), "paper": (3, 1)}
"""Rounds, and steps in each on a CPU; on a GPU twenty steps."""


@dataclass
class Variant:
    """A group to be timed."""

    n: int
    config: TrialConfig
    group: Group
    memory: float = 0.0
    kernels: int = 0

    def seconds(self) -> float:
        """Return the time of an epoch: CPU time, or wall time on a GPU."""
        clock = time.perf_counter if CUDA else time.process_time
        began = clock()
        self.group.epoch()  # ends with a look at the sums, so that the device has finished
        return clock() - began


def variants(config: TrialConfig, *, full: bool) -> Iterator[tuple[int, TrialConfig]]:
    """Return how many members and with which settings; a single plain one first."""
    compiled = ("no", "step", "graph") if CUDA else ("no", "step")
    for precision in ("float32", "bfloat16") if full else ("float32",):
        for how in compiled if full else ("no",):
            for n in (1, 4, 8, 16, 32) if CUDA else (1, 4, 8):
                yield n, replace(config, precision=precision, compile=how)
    if not full and config == SIZES["toy"]:
        yield 1, replace(config, compile="step")


def ready(n: int, config: TrialConfig, data: MultimodalData, steps: int) -> Variant:
    """Return a group after two epochs, compiled and warm, with its memory and its kernels in a step."""
    before = torch.cuda.memory_allocated() if CUDA else 0
    members = [start(replace(config, seed=i), data, device=DEVICE) for i in range(n)]
    found = Variant(n, config, Group(members, n))
    found.seconds()
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
        found.seconds()
        found.memory = (torch.cuda.max_memory_allocated() - before) / 2**20
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            found.seconds()
        found.kernels = sum(event.count for event in seen.key_averages()) // steps
    return found


def measure(size: str, *, full: bool) -> None:
    """Print the table of a size."""
    config, (rounds, steps) = SIZES[size], ROUNDS[size]
    steps = 20 if CUDA else steps
    data, found = random_data(steps * config.batch_size), list[Variant]()
    data = replace(data, train=data.train.to(DEVICE))
    for n, settings in variants(config, full=full):
        try:
            found.append(ready(n, settings, data, steps))
        except torch.OutOfMemoryError:
            print(f"{n} members, {settings.precision}, compile {settings.compile}: out of memory")
    times = [[variant.seconds() for variant in found] for _ in range(rounds)]
    print(f"\n{size}: batch {config.batch_size}, latent {config.latent_dim}, channels {config.channels}")
    gpu = f"{'kernels/step':>14}{'peak MiB':>10}" if CUDA else ""
    print(
        f"{'members':>7}{'precision':>10}{'compile':>9}{'ms/trial-step':>15}{'samples/s':>11}"
        f"{'speed / single: median (min to max)':>40}{gpu}"
    )
    for variant, own in zip(found, zip(*times, strict=True), strict=True):
        each = [seconds / steps / variant.n for seconds in own]
        ratios = [row[0] / steps / found[0].n / mine for row, mine in zip(times, each, strict=True)]
        median, c = statistics.median(each), variant.config
        gpu = f"{variant.kernels:>14}{variant.memory:>10.0f}" if CUDA else ""
        print(
            f"{variant.n:>7}{c.precision:>10}{c.compile:>9}{1e3 * median:>15.2f}"
            f"{c.batch_size / median:>11.0f}{spread(ratios):>40}{gpu}",
            flush=True,
        )


def main() -> None:
    """Print a table per size."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print(header())
    print(torch.cuda.get_device_name() if CUDA else "no GPU; 1 thread")
    asked = sys.argv[1:]
    for size in [size for size in SIZES if size in asked] or SIZES:
        measure(size, full="--full" in asked)


if __name__ == "__main__":
    main()
