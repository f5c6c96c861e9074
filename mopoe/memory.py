"""How much memory is free, and how this process treats what it has freed.

The tensors of a step are freed and asked for again in every step. By default glibc hands large ones back to
the kernel, which then clears each page anew: up to a tenth of a step's time on a CPU.
"""

import ctypes
import re
import sys
from pathlib import Path

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
