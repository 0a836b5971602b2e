"""What is freed goes back to the system when it is asked for, though the allocator keeps it; and what there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sqp.core.memory import available_memory

PROBE = """
import numpy as np
from sqp.core.memory import give_back_memory, keep_freed_memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1e3

kept = keep_freed_memory()
blocks = [np.ones(500_000) for _ in range(100)]  # 4 MB each
last = np.ones(500_000)  # above them, so that the heap cannot shrink by itself
full = resident()
del blocks
freed = resident()
told = give_back_memory()
print(kept, told, full, freed, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_goes_back_when_it_is_asked_for():
    answer = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout.split()
    kept, told, (full, freed, left) = answer[0], answer[1], map(float, answer[2:])
    if kept != "True":
        pytest.skip("not glibc's allocator")
    assert told == "True" and freed > full - 50 and left < full - 300  # MB


def test_what_is_left_for_further_processes(tmp_path):
    assert available_memory(tmp_path) is None

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("proc/meminfo", "MemTotal:  16 kB\nMemAvailable:  9 kB\nHugePages_Total: x\n")
    assert available_memory(tmp_path) == 9 * 1024
    write("sys/fs/cgroup/memory.stat", "anon 1000\nfile 999999\n")  # what is cached of files can be given back
    assert available_memory(tmp_path) == 9 * 1024  # no limit is told
    write("sys/fs/cgroup/memory.max", "max\n")
    assert available_memory(tmp_path) == 9 * 1024
    write("sys/fs/cgroup/memory.max", "3000\n")
    assert available_memory(tmp_path) == 2000
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1500\n")
    write("sys/fs/cgroup/memory/memory.stat", "total_cache 7\ntotal_rss 1600\n")
    assert available_memory(tmp_path) == 0
