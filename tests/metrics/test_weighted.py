"""A weight must count like so many copies of the row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata

from sqp.metrics import AGREEMENT, agreement, stats, weighted
from sqp.metrics.agreement import within_group_spearman
from sqp.metrics.calibration import expected_calibration_error

KERNELS = {name: stats.form_of(f) for name, f in AGREEMENT.items()}
LEVELS = st.integers(0, 4)  # few levels, so that ties and constant columns occur
ROWS = st.lists(st.tuples(st.integers(0, 3), LEVELS, LEVELS), min_size=1, max_size=12)


@pytest.mark.parametrize("name", KERNELS)
@settings(deadline=None, max_examples=25)
@given(ROWS)
def test_weight_is_a_number_of_copies(name: str, rows: list[tuple[int, int, int]]) -> None:
    w, x, y = (np.array(column) for column in zip(*rows, strict=True))
    x, y = x / 7, y / 3
    copies = np.repeat(np.arange(len(w)), w)
    got = KERNELS[name](np.stack([w, np.ones_like(w)]).astype(float), x, y)
    expected = [AGREEMENT[name](x[copies], y[copies]), AGREEMENT[name](x, y)]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 3), LEVELS), min_size=1, max_size=12))
def test_mid_ranks_equal_scipy_on_copies(rows: list[tuple[int, int]]) -> None:
    w, x = (np.array(column) for column in zip(*rows, strict=True))
    copies = np.repeat(np.arange(len(w)), w)
    ranks = weighted.mid_ranks(w[None].astype(float), x.astype(float))[0]
    np.testing.assert_allclose(ranks[copies], rankdata(x[copies]), atol=1e-12)


def test_rounding_takes_no_correlation_beyond_one() -> None:
    for row in np.random.default_rng(0).random((300, 7)):  # without a limit every fourth is 1 + 2e-16, or its negative
        for sign in (1, -1):
            assert abs(agreement.pearson.over(np.ones((1, 7)), row, sign * row / 3)[0]) <= 1


def test_no_weight_is_nan() -> None:
    x, y = np.arange(4.0), np.array([1.0, 3, 2, 5])
    for name, kernel in KERNELS.items():
        value = kernel(np.zeros((1, 4)), x, y)[0]
        assert value == 0 if name == "n" else np.isnan(value), name


def test_constant_on_one_resample_only() -> None:
    x, y = np.array([0.1, 0.1, 0.1, 0.7]), np.array([0.3, 0.5, 0.9, 0.2])
    w = np.array([[2.0, 1, 4, 0], [1, 1, 1, 1]])
    for name in ("pearson", "spearman"):
        value = KERNELS[name](w, x, y)
        assert np.isnan(value[0]) and np.isfinite(value[1]), name


def test_within_groups_counts_a_group_by_its_weight() -> None:
    x = np.array([1.0, 2, 3, 1, 2, 3, 5])
    y = np.array([1.0, 2, 3, 3, 2, 1, 5])  # rho 1 in group 0, -1 in group 1, undefined in group 2
    codes = np.array([0, 0, 0, 1, 1, 1, 2])
    w = np.array([[3.0, 1, 9], [0, 2, 1], [0, 0, 4], [1, 1, 1]])[:, codes]
    got = weighted.within_group_spearman(w, x, y, codes)
    np.testing.assert_allclose(got, [0.5, -1, np.nan, within_group_spearman(x, y, codes)])


def test_within_groups_refuses_a_cut_group() -> None:
    with pytest.raises(ValueError, match="cut"):
        weighted.within_group_spearman(np.array([[1.0, 2, 1]]), np.arange(3.0), np.arange(3.0), np.zeros(3, int))


@settings(deadline=None, max_examples=25)
@given(ROWS)
def test_calibration_error_of_copies(rows: list[tuple[int, int, int]]) -> None:
    w, x, y = (np.array(column) for column in zip(*rows, strict=True))
    copies = np.repeat(np.arange(len(w)), w)
    got = weighted.calibration_error(w[None].astype(float), x / 4, y / 4)[0]
    np.testing.assert_allclose(got, expected_calibration_error(x[copies] / 4, y[copies] / 4), atol=1e-12)


def test_kendall_in_blocks_equals_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighted, "_BLOCK", 100)  # 3 rows at a time
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 30).astype(float), rng.integers(0, 9, 30).astype(float)
    w = rng.integers(0, 4, (5, 30))
    expected = [kendalltau(np.repeat(x, row), np.repeat(y, row)).statistic for row in w]
    np.testing.assert_allclose(weighted.kendall(w.astype(float), x, y), expected, atol=1e-12)
