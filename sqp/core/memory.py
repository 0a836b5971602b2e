"""How much memory there is, and large tensors without page faults: glibc is told to keep freed memory.

By default every intermediate of some megabytes is mapped anew; zeroing its pages took a quarter of the CPU time of
LiteMedSAM's encoding where it was measured (scripts/bench_generate.py).
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of <malloc.h>
KEEP = 2**31 - 1
TOP_PAD = 64 * 2**20
CONTAINERS = (("", "memory.max", "anon"), ("memory", "memory.limit_in_bytes", "total_rss"))
"""Folder, limit and what is held, of Linux's control groups, new and old."""


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


def available_memory(root: str | Path = "/") -> int | None:
    """Bytes that further processes can take, in a container what its limit leaves; None where nobody tells.

    Linux does; `root` is where the system's files lie.
    """
    found = [1024 * held for name, held in _numbers(Path(root, "proc/meminfo")) if name == "MemAvailable:"]
    for folder, limit, key in CONTAINERS:
        group = Path(root, "sys/fs/cgroup", folder)
        limits = [int(word) for word in _words(group / limit) if word.isdigit()]
        found += [max(0, limits[0] - held) for name, held in _numbers(group / "memory.stat") if name == key and limits]
    return min(found, default=None)


def _numbers(path: Path) -> list[tuple[str, int]]:
    """The lines `name number …` of a file; none where it is not there."""
    words = [line.split() for line in _lines(path)]
    return [(line[0], int(line[1])) for line in words if len(line) > 1 and line[1].isdigit()]


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
