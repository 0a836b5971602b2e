"""What `explain` works on lies on disk: memory does not grow with the records."""

from __future__ import annotations

import errno
import tracemalloc

import numpy as np
import pytest
import torch

from sqp.core.errors import SqpError
from sqp.explain.data import OnDisk

MEGABYTE = 2**20


def test_arrays_come_back_and_do_not_stay_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 100, (MEGABYTE // 2,)).astype(np.float16) for _ in range(2)]  # one megabyte each
    tracemalloc.start()
    try:
        kept = OnDisk(np.float16, tmp_path)
        for number in range(60):
            kept.add(parts[number % 2] + 0)
        array = kept.array()
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()
    assert array.shape == (60, MEGABYTE // 2) and isinstance(array, np.memmap)
    planes = torch.from_numpy(array)
    assert torch.equal(planes[[59, 0]], torch.from_numpy(np.stack(parts[::-1])))
    assert not list(tmp_path.iterdir())  # without a name: nothing is left, whatever happens


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    kept = OnDisk(bool, tmp_path)

    class Full:
        def write(self, data: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept, "file", Full())
    with pytest.raises(SqpError, match=r"the disk is full in "):
        kept.add(np.zeros((4, 4), bool))
