"""What is set for a device, for memory and for torchvision before something is computed."""

import ctypes
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import torch


def prepared(device: torch.device | str) -> torch.device:
    """Return the device, on which float32 is float32 and the same computation gives the same numbers.

    For a GPU this changes two defaults of cuDNN for the whole process: it may choose algorithms that add in
    any order, and on GPUs since 2020 it rounds the factors of a convolution to ten bits (TF32).
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
    return device


_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -3, -1, -2, -8
"""glibc's names for its settings, see `man mallopt`."""


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, up to 2 GiB, for its next tensors; return whether it does.

    For processes that train or evaluate and then end; the peak of memory stays what it was. Only glibc has
    these settings: elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Older versions of glibc refuse more than 32 MiB. One arena, as threads' own are handed back whole.
    kept = mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
    return bool(
        kept and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_TOP_PAD, 2**26) and mallopt(_ARENA_MAX, 1)
    )


def free_memory(device: str) -> int | None:
    """Return the bytes that a new process could have on the device; None if the system does not tell."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")))
    free = [int(found[1]) * 1024] if found else []
    limit, used = (_text(Path("/sys/fs/cgroup") / f"memory.{name}").strip() for name in ("max", "current"))
    if limit.isdecimal() and used.isdecimal():
        free.append(int(limit) - int(used))
    return min(free, default=None)


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.is_file() else ""


_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def torchvision(part: str) -> ModuleType:
    """Return a module of torchvision, such as `utils`, declaring what its import needs beside a CPU torch."""
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
