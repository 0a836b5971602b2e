from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sqp.metrics.paired import holm, paired_tests, signed_rank

NAN = float("nan")
P = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def dice(seed: int = 0, n: int = 80) -> dict[str, np.ndarray]:
    """Three methods on the same images: b a little better than a, c alike."""
    rng = np.random.default_rng(seed)
    a = rng.beta(6, 2, n)
    return {"a": a, "b": np.clip(a + rng.normal(0.03, 0.05, n), 0, 1), "c": np.clip(a + rng.normal(0, 0.05, n), 0, 1)}


def exact_p(difference: np.ndarray) -> float:
    """Two-sided p by all 2^n signs."""
    ranks = stats.rankdata(np.abs(difference))
    sums = np.array([ranks[np.array(signs)].sum() for signs in product([False, True], repeat=len(ranks))])
    observed, centre = ranks[difference > 0].sum(), ranks.sum() / 2
    return float(np.mean(np.abs(sums - centre) >= abs(observed - centre) - 1e-9))


@pytest.mark.parametrize("seed", range(3))
def test_small_samples_are_exact(seed: int) -> None:
    difference = np.random.default_rng(seed).normal(0.3, 1, 9)
    assert signed_rank(difference, np.zeros(9)).p == pytest.approx(exact_p(difference), abs=1e-9)


def test_large_samples_by_the_normal_approximation() -> None:
    methods = dice()
    d = methods["b"] - methods["a"]
    ranks = stats.rankdata(np.abs(d))
    n, positive = len(d), ranks[d > 0].sum()
    z = (positive - n * (n + 1) / 4) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    test = signed_rank(methods["b"], methods["a"])
    assert np.log(test.p) == pytest.approx(np.log(2 * stats.norm.sf(abs(z))), rel=0.02) and test.p < 1e-3
    assert test.mean_difference == pytest.approx(d.mean()) and test.median_difference == pytest.approx(np.median(d))
    assert (test.n, test.n_differ, test.note) == (80, 80, "")


def test_rows_without_difference_leave_the_ranks() -> None:
    x, y = np.array([0.9, 0.8, 0.7, 0.95, 0.5, 0.5]), np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    test = signed_rank(x, y)
    assert (test.n, test.n_differ) == (6, 4) and test.p == pytest.approx(2 / 16)


def test_rounding_is_no_difference() -> None:
    test = signed_rank([0.1 + 0.2, 0.3, 0.7, 0.8], [0.3, 0.1 + 0.2, 0.5, 0.5])
    assert test.n_differ == 2
    # 0.3 - 0.1 and 0.2 tie, though not in floating point
    assert signed_rank([0.3, 0.2, 0.5], [0.1, 0.4, 0.5]).p == 1


def test_signs_swap_with_the_methods() -> None:
    methods = dice(1)
    there, back = signed_rank(methods["a"], methods["b"]), signed_rank(methods["b"], methods["a"])
    assert there.p == pytest.approx(back.p, rel=1e-12) and there.mean_difference == -back.mean_difference


@pytest.mark.parametrize(
    ("x", "y", "note"),
    [
        ([], [], "no rows"),
        ([NAN, 0.4], [0.5, NAN], "undefined for every row"),
        ([0.5], [0.4], "one row differs: no test"),
        ([0.5, 0.5], [0.5, 0.5], "no row differs: no test"),
        ([0.5, 0.5, NAN], [0.5, 0.4, 0.1], "1 of 3 rows undefined; one row differs: no test"),
    ],
)
def test_degenerate_is_nan_with_a_reason(x: list, y: list, note: str) -> None:
    test = signed_rank(x, y)
    assert np.isnan(test.p) and np.isnan(test.p_holm) and test.note == note
    assert np.isnan(test.mean_difference) == (test.n == 0)


def test_holm_equals_statsmodels() -> None:
    # statsmodels 0.15.0: multipletests([0.012, 0.03, 0.001, 0.04, 0.03, 0.6], method="holm")[1].tolist()
    expected = [0.06, 0.12, 0.006, 0.12, 0.12, 0.6]
    np.testing.assert_allclose(holm([0.012, 0.03, 0.001, 0.04, 0.03, 0.6]), expected, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(P)
def test_holm_equals_its_definition(p: list[float]) -> None:
    """The i-th smallest of m is rejected at level q iff p_j <= q / (m - j + 1) for every j up to i."""
    order = np.argsort(p, kind="stable")
    steps = [(len(p) - j) * p[row] for j, row in enumerate(order)]
    expected = np.empty(len(p))
    for i, row in enumerate(order):
        expected[row] = min(1, max(steps[: i + 1]))
    np.testing.assert_allclose(holm(p), expected, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(P)
def test_holm_lies_between_p_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()


def test_holm_leaves_out_what_was_not_tested() -> None:
    np.testing.assert_allclose(holm([0.01, NAN, 0.04]), [0.02, NAN, 0.04])
    assert np.isnan(holm([NAN])).all() and holm([]).shape == (0,)


def test_pairs_are_corrected_together() -> None:
    tests = paired_tests(dice())
    assert [(t.a, t.b) for t in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    smallest, middle, largest = sorted(tests, key=lambda t: t.p)
    assert smallest.p_holm == pytest.approx(3 * smallest.p)
    assert middle.p_holm == pytest.approx(max(2 * middle.p, smallest.p_holm))
    assert largest.p_holm == pytest.approx(max(largest.p, middle.p_holm))


def test_against_one_method() -> None:
    tests = paired_tests(dice(), against="c")
    assert [(t.a, t.b) for t in tests] == [("c", "a"), ("c", "b")]
    assert min(t.p_holm for t in tests) == pytest.approx(2 * min(t.p for t in tests))


def test_a_method_that_equals_another_is_told() -> None:
    methods = dice()
    first, *_ = paired_tests({"a": methods["a"], "same": methods["a"].copy(), "b": methods["b"]})
    assert np.isnan(first.p_holm) and first.note == "no row differs: no test"


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="no method 'd'; known: a, b, c"):
        paired_tests(dice(), against="d")
    with pytest.raises(ValueError, match="differ in length"):
        paired_tests({"a": [0.1], "b": [0.1, 0.2]})


def test_only_rows_that_both_have_are_compared() -> None:
    a, b = np.array([0.1, 0.2, 0.9, 0.4, 0.3, 0.8]), np.array([0.2, 0.1, NAN, 0.3, 0.5, NAN])
    group = np.array(list("xxxyzz"))
    (test,) = paired_tests({"a": a, "b": b}, group=group)
    keep = np.isfinite(b)
    (alone,) = paired_tests({"a": a[keep], "b": b[keep]}, group=group[keep])
    assert (test.n, test.n_groups, test.p, test.mean_difference) == (4, 3, alone.p, alone.mean_difference)


def test_a_group_is_one_observation() -> None:
    group = np.repeat(np.arange(12), 5)
    rng = np.random.default_rng(3)
    x = rng.normal(0.6, 1, 12)[group] + rng.normal(0, 0.1, 60)
    means = [x[group == one].mean() for one in range(12)]
    assert signed_rank(x, np.zeros(60), group=group).p == pytest.approx(stats.wilcoxon(means).pvalue)
    assert signed_rank(x, np.zeros(60)).p < signed_rank(x, np.zeros(60), group=group).p / 10
    one = signed_rank(x, np.zeros(60), group=np.zeros(60))
    assert np.isnan(one.p) and one.note == "one group differs: no test"


def test_false_alarms_are_nominal_with_many_masks_an_image() -> None:
    """60 images of 8 masks, two methods that are equally good: their errors differ by image, not by method."""
    rng, group = np.random.default_rng(0), np.repeat(np.arange(60), 8)
    differences = rng.normal(0, 1, (400, 60))[:, group] + rng.normal(0, 0.5, (400, 480))
    p = {
        name: np.array([signed_rank(d, np.zeros(480), group=codes).p for d in differences])
        for name, codes in (("by group", group), ("by row", None))
    }
    assert 0.02 <= np.mean(p["by group"] < 0.05) <= 0.08
    assert np.mean(p["by row"] < 0.05) > 0.4
