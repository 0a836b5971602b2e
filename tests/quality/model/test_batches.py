from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.quality.model.batches import BatchPlan, CachedRecords, loader
from sqp.quality.model.cache import build_cache
from sqp.records import read_record_sets

sizes = st.tuples(st.integers(2, 60), st.integers(2, 17), st.integers(0, 5))


@given(sizes)
@settings(deadline=None, max_examples=25)
def test_every_row_once_and_no_batch_of_one(size: tuple[int, int, int]) -> None:
    n, batch, epoch = size
    plan = BatchPlan(n, batch, seed=1)
    plan.set_epoch(epoch)
    batches = list(plan)
    assert sorted(row for rows in batches for row in rows) == list(range(n))
    assert min(map(len, batches)) >= 2 and len(batches) == len(plan)


@given(sizes, st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_ranks_share_all_rows_in_equal_numbers_of_batches(size: tuple[int, int, int], world: int) -> None:
    n, batch, epoch = size
    shares = []
    for rank in range(world):
        plan = BatchPlan(n, batch, 1, rank, world)
        plan.set_epoch(epoch)
        shares.append(list(plan))
        assert len(shares[-1]) == len(plan)
    assert len(set(map(len, shares))) == 1
    assert {row for share in shares for rows in share for row in rows} == set(range(n))


def test_the_order_changes_with_the_epoch_and_comes_back() -> None:
    plan = BatchPlan(50, 10, seed=3)
    first = list(plan)
    plan.set_epoch(1)
    second = list(plan)
    plan.set_epoch(0)
    assert list(plan) == first != second
    assert next(iter(BatchPlan(50, 10))) == list(range(10))


def test_a_batch_is_read_at_once(record_set: Path, tmp_path: Path) -> None:
    table = read_record_sets([record_set]).iloc[:7]
    cache = build_cache(table, ("mask",), 16, tmp_path, progress=False)
    dice = torch.arange(5.0)
    data = CachedRecords(cache, np.array([6, 5, 4, 1, 0]), dice, torch.ones(5), torch.ones(5, 2))
    first, second = loader(data, BatchPlan(5, 3))
    assert torch.equal(first["planes"], cache.planes([6, 5, 4]))
    assert second["dice"].tolist() == [3, 4] and second["scores"].shape == (2, 2)


def test_batches_of_one_that_are_asked_for_stay() -> None:
    assert list(BatchPlan(2, 1)) == [[0], [1]]
