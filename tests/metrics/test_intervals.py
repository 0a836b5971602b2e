from __future__ import annotations

import numpy as np
import pytest

from sqp.metrics import intervals

NAN, INF = float("nan"), float("inf")


def test_ends_belong_to_the_interval() -> None:
    assert intervals.coverage([0.2, 0.2, 0.2, 0.2], [0.4] * 4, [0.2, 0.4, 0.19, 0.41]) == 0.5


def test_width() -> None:
    assert intervals.mean_width([0.1, 0.5], [0.4, 0.6]) == pytest.approx(0.2)


def test_rows_with_nan_do_not_count() -> None:
    low, high, true = [0.1, NAN, 0.3, 0.2, 0.6], [0.5, 0.9, NAN, 0.9, 0.9], [0.2, 0.4, 0.4, NAN, 0.5]
    assert intervals.interval_summary(low, high, true) == pytest.approx({"n": 2, "coverage": 0.5, "mean_width": 0.35})
    assert intervals.mean_width(low, high) == pytest.approx((0.4 + 0.7 + 0.3) / 3)


def test_infinite_interval_covers() -> None:
    summary = intervals.interval_summary([-INF, 0.5], [INF, 0.6], [0.3, 0.3])
    assert summary == {"n": 2, "coverage": 0.5, "mean_width": INF}


def test_without_rows() -> None:
    summary = intervals.interval_summary([NAN], [NAN], [0.5])
    assert summary["n"] == 0 and np.isnan(summary["coverage"]) and np.isnan(summary["mean_width"])


def test_ends_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="low end above"):
        intervals.coverage([0.5], [0.4], [0.45])


def test_normal_intervals_cover_as_they_say() -> None:
    true = np.random.default_rng(0).normal(size=20_000)
    assert intervals.coverage(np.full(20_000, -1.6449), np.full(20_000, 1.6449), true) == pytest.approx(0.9, abs=0.01)


def test_covered_is_told_row_by_row() -> None:
    got = intervals.covered([0.1, NAN, 0.3, -INF], [0.5, 0.9, 0.4, INF], [0.2, 0.4, 0.5, 0.5])
    np.testing.assert_array_equal(got, [1, NAN, 0, 1])
