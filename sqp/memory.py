"""Large tensors without page faults: glibc is told to keep freed memory instead of returning it to the kernel.

By default every intermediate of some megabytes is mapped anew; zeroing its pages took a quarter of the CPU time of
LiteMedSAM's encoding where it was measured (scripts/bench_generate.py).
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of <malloc.h>
KEEP = 2**31 - 1
TOP_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Ask this process's allocator to keep what is freed; True where it agreed (glibc only, else nothing happens)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, TOP_PAD))
    return all([mallopt(key, value) == 1 for key, value in settings])


def give_back_memory() -> bool:
    """Return what is freed by now to the system, as after a large volume; True where something was (glibc only)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except AttributeError:
        return False
