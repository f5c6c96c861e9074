"""Numerical precision, devices, memory and torchvision: what the process needs to have set up."""

import ctypes
import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mopoe.errors import ConfigError


def prepared(device: torch.device | str, precision: str = "float32") -> torch.device:
    """Return the device, set up so that float32 is float32 and computations are deterministic.

    For a GPU this changes two defaults of cuDNN for the whole process: it may otherwise choose algorithms
    that add in any order, and on GPUs since 2020 it rounds the factors of a convolution to ten bits (TF32).

    Raises:
        ConfigError: the device is slow in this precision.
    """
    device = torch.device(device)
    check_precision(precision, device.type)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
    return device


_BFLOAT16 = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)
"""The line of a CPU with instructions for bfloat16 in Linux's list, on x86 or ARM."""


def check_precision(precision: str, device: str) -> None:
    """Refuse bfloat16 on a CPU without instructions for it, where it is several times slower than float32.

    Without Linux's list of CPUs nothing is known, and nothing refused.

    Raises:
        ConfigError: names the way to insist.
    """
    known = _text(Path("/proc/cpuinfo"))
    insists = os.environ.get("MOPOE_BFLOAT16") == "1"
    if precision == "bfloat16" and device == "cpu" and known and not (_BFLOAT16.search(known) or insists):
        raise ConfigError(
            "precision is 'bfloat16', for which this machine's CPU has no instructions: it would be several "
            "times slower than float32; choose float32, or set MOPOE_BFLOAT16=1 in the environment to insist"
        )


def full_precision(near: Tensor) -> AbstractContextManager[object]:
    """Return a context that disables autocast on the tensor's device, where half precision is too coarse."""
    # There is no autocast for tensors on the meta device.
    return nullcontext() if near.is_meta else torch.autocast(near.device.type, enabled=False)


def at_least_float32(t: Tensor) -> Tensor:
    """Return a half-precision tensor as float32, any other tensor unchanged."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -3, -1, -2, -8
"""glibc's names for its settings, see `man mallopt`."""


def keep_freed_memory() -> bool:
    """Make the process keep up to 2 GiB of freed memory for its next tensors; return whether it does.

    This is meant for processes that train or evaluate and then end; it does not raise the peak of memory.
    Only glibc has these settings: with any other C library nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Older versions of glibc refuse more than 32 MiB. One arena: those of threads are returned whole.
    kept = mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
    return bool(
        kept and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_TOP_PAD, 2**26) and mallopt(_ARENA_MAX, 1)
    )


def return_freed_memory() -> None:
    """Return the process's freed memory to the system, for when a trial has ended and another may follow.

    Each trial of a worker runs in a thread of its own. Where threads were started before
    `keep_freed_memory` was called, it may be given another arena than the trial before, and each arena would
    keep what its largest trial had. Only glibc has arenas: with any other C library nothing happens.
    """
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def free_memory(device: str) -> int | None:
    """Return the bytes that a new process could allocate on the device; None if the system does not say."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    available = re.search(r"MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")))
    free = [int(available[1]) * 1024] if available else []
    limit, used = (_text(Path("/sys/fs/cgroup") / f"memory.{name}").strip() for name in ("max", "current"))
    if limit.isdecimal() and used.isdecimal():
        free.append(int(limit) - int(used))
    return min(free, default=None)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def torchvision(part: str) -> ModuleType:
    """Return a module of torchvision, such as `utils`; declares operators that a CPU build of torch lacks."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)  # the declarations live as long as this object
    return importlib.import_module(f"torchvision.{part}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: in small steps several mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
