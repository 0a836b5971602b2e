"""Matched draws against the shares that they must have; where the error lies against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.comparisons import match_distributions, worst_share

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(VALUES, VALUES)
def test_the_shares_of_all_bins_agree_up_to_one_row_a_bin(first: list[float], second: list[float]) -> None:
    def binned(values: list[float]) -> np.ndarray:
        return np.bincount(np.minimum((np.array(values) * 4).astype(int), 3), minlength=4)

    if not (binned(first) * binned(second)).any():
        with pytest.raises(ValueError, match="no bin in common"):
            match_distributions(first, second, bins=4)
        return
    rows = match_distributions(first, second, bins=4)
    for values, kept in zip((first, second), rows, strict=True):
        assert len(set(kept)) == len(kept) and (np.diff(kept) > 0).all() and kept.max(initial=0) < len(values)
    a, b = (binned([values[i] for i in kept]) for values, kept in zip((first, second), rows, strict=True))
    common = (binned(first) > 0) & (binned(second) > 0)
    assert (a[~common] == 0).all() and (b[~common] == 0).all()
    share = np.minimum(binned(first) / len(first), binned(second) / len(second))
    for kept, values in ((a, first), (b, second)):  # the most that the scarcest bin allows, less than a row of each bin
        most = min(n / part for n, part in zip(binned(values), share / share.sum(), strict=True) if part)
        asked = most * share / share.sum()
        assert (kept <= asked + 1e-6).all() and (kept > asked - 1 - 1e-6).all()


def test_a_sample_matched_with_itself_keeps_all_and_seeds_draw_other_rows() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 200)
    assert all(np.array_equal(rows, np.arange(200)) for rows in match_distributions(values, values))
    flat = np.full(10, 0.5)
    mixed = np.r_[np.full(100, 0.5), np.full(100, 0.9)]
    first, second = match_distributions(mixed, np.r_[flat, np.full(90, 0.9)])
    assert ((mixed[first] == 0.5).sum(), len(first)) == (20, 120) and ((second < 10).sum(), len(second)) == (10, 60)
    other = match_distributions(mixed, np.r_[flat, np.full(90, 0.9)], seed=1)[0]
    assert len(other) == len(first) and not np.array_equal(other, first)


def test_the_worst_images_share() -> None:
    assert worst_share([1, 1, 2, 0], list("abcd"), 0.25) == pytest.approx(4 / 6)
    assert worst_share([1, 1, 2, 0], list("aabb"), 0.01) == pytest.approx(4 / 6)  # one image at least
    assert worst_share([1, -1], list("ab"), 1.0) == 1
    assert np.isnan(worst_share([0, 0], list("ab")))
