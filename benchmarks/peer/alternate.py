"""Two implementations side by side: each in a process of its own, which take turns.

Their allocators and peaks of memory are then their own, and what else the machine does falls on both alike:
ratios are taken round by round.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from mopoe.runtime import keep_freed_memory

_work: Callable[[], object] = lambda: None  # noqa: E731 - replaced in each process by what it does


def _begin(make: Callable[[str], Callable[[], object]], side: str) -> None:
    global _work  # noqa: PLW0603 - a process's one piece of work
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    if side.startswith("ours"):
        keep_freed_memory()  # as the workers of a sweep do
    _work = make(side)


def _seconds() -> float:
    began = time.process_time()
    _work()
    return time.process_time() - began


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def alternate(
    make: Callable[[str], Callable[[], object]], sides: Sequence[str], rounds: int
) -> tuple[list[Mapping[str, float]], Mapping[str, float]]:
    """Return the CPU seconds of each side in each round, and each side's peak memory in MiB.

    `make` returns the work of a side; it is called in that side's process. A first round is left out.
    """
    pools = {
        side: ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(make, side))
        for side in sides
    }
    try:
        found = [
            {side: pool.submit(_seconds).result() for side, pool in pools.items()} for _ in range(rounds + 1)
        ]
        return found[1:], {side: pool.submit(_peak_mib).result() for side, pool in pools.items()}
    finally:
        for pool in pools.values():
            pool.shutdown()
