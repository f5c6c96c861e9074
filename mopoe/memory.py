"""How this process treats memory that was freed.

The tensors of a step are freed and asked for again in every step. By default glibc hands large ones back to
the kernel, which then clears each page anew: up to a tenth of a step's time on a CPU.
"""

import ctypes
import sys

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
