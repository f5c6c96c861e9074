"""Devices are set up for repeatable float32, and freed memory is kept by the process."""

import subprocess
import sys

import pytest
import torch

from mopoe.runtime import prepared


def test_a_gpu_repeats_its_numbers_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may neither add in any order nor round to TF32; for a CPU nothing is changed."""
    for name, value in (("deterministic", False), ("allow_tf32", True)):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    assert prepared("cpu") == torch.device("cpu")
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (False, True)
    assert prepared("cuda").type == "cuda"
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (True, False)


FAULTS = """
import resource, threading, torch
from mopoe.runtime import keep_freed_memory
torch.set_num_threads(1)
kept = {kept} and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        tensors = [torch.zeros(n * 2**18) for n in (3, 10, 40)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
found = []
thread = threading.Thread(target=lambda: found.extend(faults() for _ in range(4)))
thread.start()
thread.join()
print(int(kept), min(found))
"""


def pages_cleared(*, kept: bool) -> tuple[int, int]:
    """Return whether memory was kept, and the page faults of tensors that were asked for before."""
    command = [sys.executable, "-c", FAULTS.format(kept=kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    was_kept, faults = done.stdout.split()
    return int(was_kept), int(faults)


def test_tensors_of_freed_memory_cost_no_page_faults() -> None:
    """265 MiB, five times over, are 68,000 pages of 4 KiB at first, and none once memory is kept."""
    kept, faults = pages_cleared(kept=True)
    if not kept:
        pytest.skip("no mallopt here: not glibc")
    assert faults < 100
    assert pages_cleared(kept=False)[1] > 10_000
