"""Devices are set up for repeatable float32, and freed memory is kept by the process."""

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from mopoe.errors import ConfigError
from mopoe.runtime import check_precision, prepared


def test_a_gpu_repeats_its_numbers_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may neither add in any order nor round to TF32; for a CPU nothing is changed."""
    for name, value in (("deterministic", False), ("allow_tf32", True)):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    assert prepared("cpu") == torch.device("cpu")
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (False, True)
    assert prepared("cuda").type == "cuda"
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (True, False)


AVX2 = "processor\t: 0\nflags\t\t: fpu sse avx avx2 fma\n"


@pytest.mark.parametrize(
    ("cpu", "device", "insists", "refused"),
    [
        (AVX2, "cpu", "", True),
        (AVX2, "cpu", "1", False),
        (AVX2, "cuda", "", False),
        (AVX2.replace("fma", "avx512_bf16 fma"), "cpu", "", False),
        (AVX2.replace("fma", "amx_bf16"), "cpu", "", False),
        ("Features\t: fp asimd bf16\n", "cpu", "", False),
        ("Features\t: fp asimd\n", "cpu", "", True),
        ("", "cpu", "", False),
    ],
)
def test_bfloat16_is_refused_where_it_is_slow(
    monkeypatch: pytest.MonkeyPatch, cpu: str, device: str, insists: str, *, refused: bool
) -> None:
    """On a CPU whose list of instructions lacks it, unless one insists; elsewhere and unknown ones may."""
    monkeypatch.setattr("mopoe.runtime._text", lambda path: cpu if path.name == "cpuinfo" else "")
    monkeypatch.setenv("MOPOE_BFLOAT16", insists)
    check_precision("float32", device)
    with pytest.raises(ConfigError, match="slower than float32") if refused else nullcontext():
        check_precision("bfloat16", device)
    with pytest.raises(ConfigError, match="MOPOE_BFLOAT16=1") if refused else nullcontext():
        prepared(device, "bfloat16")


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


ARENAS = """
import threading, torch
from mopoe.runtime import keep_freed_memory, return_freed_memory
def mebibytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
torch.set_num_threads(1)
over = threading.Event()
def idle():
    kept = [torch.ones(1000) for _ in range(100)]
    over.wait()
others = [threading.Thread(target=idle) for _ in range(8)]
for other in others:
    other.start()
keep_freed_memory()
def trial():
    tensors = [torch.ones(2**17) for _ in range(100)]
    if {returned}:
        del tensors
        return_freed_memory()
before = mebibytes()
for _ in range(8):
    thread = threading.Thread(target=trial)
    thread.start()
    thread.join()
print(mebibytes() - before)
over.set()
for other in others:
    other.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has arenas")
def test_trials_in_threads_of_their_own_do_not_each_keep_their_memory() -> None:
    """Of eight threads with 50 MiB each, beside eight that have arenas, less than two of them remain."""
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)
        for text in (ARENAS.format(returned=value) for value in (False, True))
    )
    assert returned < 100
    assert kept > 150
