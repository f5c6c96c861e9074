"""How long the command line takes to begin: `sweep --help`, and `sweep trial` until its first step.

Run: python benchmarks/startup.py       (half a minute; wall time, median of some runs)

The demo's data set and classifiers are in their cache, as from the second trial on, and the programs in the
system's.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import header

RUNS = 5
FIRST_STEP = """
import os, sys
import torch
torch.optim.Adam.step = lambda *args, **kwargs: os._exit(0)
from sweep.cli import main
sys.argv = ["sweep", "trial", "digits", "--out", sys.argv[1]]
main()
sys.exit("the trial ended without a step")
"""
"""`sweep trial`, which ends where Adam would take its first step; torch is imported earlier than else."""


def seconds(command: list[str]) -> float:
    """Return the wall seconds of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print a row per command."""
    print(header())
    sweep = str(Path(sys.executable).with_name("sweep"))
    with tempfile.TemporaryDirectory() as folder:
        seconds([sys.executable, "-c", FIRST_STEP, folder])  # builds what is cached
        for name, command in {
            "sweep --help": [sweep, "--help"],
            "sweep trial digits, to the end of its first step": [sys.executable, "-c", FIRST_STEP, folder],
        }.items():
            took = [seconds(command) for _ in range(RUNS)]
            print(f"{name:<52}{statistics.median(took):>6.2f} s ({min(took):.2f} to {max(took):.2f})")


if __name__ == "__main__":
    main()
