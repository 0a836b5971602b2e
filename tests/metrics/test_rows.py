from __future__ import annotations

import numpy as np
import pytest
import torch

from sqp.metrics.rows import columns, finite_rows, group_codes


def test_rows_with_a_gap_go_from_every_column() -> None:
    a, b = finite_rows([1, np.nan, 3, -np.inf], torch.tensor([4.0, 5.0, float("nan"), 7.0]))
    assert a.tolist() == [1] and b.tolist() == [4]
    assert a.dtype == b.dtype == np.float64


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        columns([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="2 groups for 3 rows"):
        group_codes(["a", "b"], 3)


def test_codes_follow_sorted_names() -> None:
    codes, n = group_codes(np.array(["b", "a", "c", "a"]), 4)
    assert codes.tolist() == [1, 0, 2, 0] and n == 3
