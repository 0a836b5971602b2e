from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.metrics import selective
from sqp.metrics.selective import augrc, aurc, excess_aurc, risk_at_coverage, threshold_at_risk

UNIT = st.floats(0, 1, allow_subnormal=False)
TIED = st.lists(st.tuples(st.integers(0, 2), UNIT), min_size=1, max_size=12)


def plain_aurc(risks: list[float]) -> float:
    """Geifman & El-Yaniv for rows that are sorted already, best score first."""
    return float(np.mean([np.mean(risks[:i]) for i in range(1, len(risks) + 1)]))


# torch-uncertainty 0.13.0 (its file read alone, it needs only torchmetrics), in float32, on `tie_free()` and, for
# TIED, the mean over all 24 orders of the four tied rows:
#   pip download --no-deps torch-uncertainty; unzip -d tux torch_uncertainty-*.whl
#   m = AURC() or AUGRC()  # of tux/torch_uncertainty/metrics/classification/risk_coverage.py
#   m.update(torch.tensor(np.stack([1 - score, score], 1)), torch.tensor(1 - failed)); m.compute()
TORCH_UNCERTAINTY = {"aurc": 0.08188248064943082, "augrc": 0.06538461574692267}
TORCH_UNCERTAINTY_TIED = {"aurc": 0.3216666646301746, "augrc": 0.21666666681567828}
TIED_SCORE, TIED_FAILED = [0.9, 0.8, 0.8, 0.8, 0.8, 0.6], [0, 1, 0, 0, 1, 1]


def tie_free() -> tuple[np.ndarray, np.ndarray]:
    """40 rows without ties, 10 of them failed, the more often the lower their score."""
    rng = np.random.default_rng(20)
    score = 0.5 + rng.permutation(40) / 100
    failed = rng.random(40) < 0.9 - score
    return score + 1e-3, failed.astype(int)


def trapezoid(curve: np.ndarray) -> float:
    """The area between coverage 1/n and 1, by its width: the convention of torch-uncertainty."""
    n = len(curve)
    return float(np.trapezoid(curve, np.arange(1, n + 1) / n) / (1 - 1 / n))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(tie_free(), TORCH_UNCERTAINTY), ((TIED_SCORE, TIED_FAILED), TORCH_UNCERTAINTY_TIED)],
    ids=["tie-free", "tied"],
)
def test_equals_torch_uncertainty(rows: tuple, expected: dict[str, float]) -> None:
    coverage, risk = selective.risk_coverage(*rows)
    n = len(risk)
    assert trapezoid(risk) == pytest.approx(expected["aurc"], abs=1e-6)
    assert trapezoid(risk * coverage) == pytest.approx(expected["augrc"], abs=1e-6)
    # the mean over coverages from the trapezoid: half a step more at each end
    ends = (risk[0] + risk[-1]) / 2 / n, (risk[0] / n + risk[-1]) / 2 / n
    assert aurc(*rows) == pytest.approx(expected["aurc"] * (1 - 1 / n) + ends[0], abs=1e-6)
    assert augrc(*rows) == pytest.approx(expected["augrc"] * (1 - 1 / n) + ends[1], abs=1e-6)


def test_curve_by_hand() -> None:
    coverage, risk = selective.risk_coverage([0.2, 0.9, 0.5], [0.7, 0.1, 0.3])
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0.1, 0.2, 1.1 / 3])


def test_without_ties_it_is_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    score, risk = rng.permutation(50) / 50, rng.random(50)
    assert aurc(score, risk) == pytest.approx(plain_aurc(list(risk[np.argsort(-score)])))


def test_a_tie_is_the_mean_over_its_orders() -> None:
    tie = [0.1, 0.5, 0.9]
    expected = np.mean([plain_aurc([0.05, *order, 0.8]) for order in permutations(tie)])
    assert aurc([0.9, 0.4, 0.4, 0.4, 0.2], [0.05, *tie, 0.8]) == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(TIED, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows: list[tuple[int, float]], random: object) -> None:
    shuffled = random.sample(rows, len(rows))  # type: ignore[attr-defined]
    first, second = (aurc(*zip(*r, strict=True)) for r in (rows, shuffled))
    assert first == second  # to the last bit


@settings(deadline=None, max_examples=25)
@given(TIED)
def test_between_the_best_and_the_worst_order(rows: list[tuple[int, float]]) -> None:
    score, risk = (np.array(column, float) for column in zip(*rows, strict=True))
    assert aurc(-risk, risk) - 1e-12 <= aurc(score, risk) <= aurc(risk, risk) + 1e-12
    assert selective.risk_coverage(score, risk)[1][-1] == pytest.approx(risk.mean())


def test_constant_score_has_the_mean_risk() -> None:
    risk = np.array([0.0, 0.3, 0.9])
    assert aurc(np.ones(3), risk) == pytest.approx(0.4)


def test_higher_scores_are_kept_first() -> None:
    risk = np.array([0.0, 0.1, 1.0])
    assert aurc([3, 2, 1], risk) < aurc([1, 2, 3], risk)


def test_nan_rows_do_not_count() -> None:
    assert aurc([0.9, np.nan, 0.1, 0.5], [0.1, 0.5, 0.7, np.nan]) == aurc([0.9, 0.1], [0.1, 0.7])
    assert np.isnan(aurc([], [])) and np.isnan(aurc([np.nan], [0.1]))


@settings(deadline=None, max_examples=25)
@given(TIED)
def test_areas_are_means_of_the_curve(rows: list[tuple[int, float]]) -> None:
    score, risk = (np.array(column, float) for column in zip(*rows, strict=True))
    coverage, curve = selective.risk_coverage(score, risk)
    assert aurc(score, risk) == pytest.approx(curve.mean(), abs=1e-12)
    assert augrc(score, risk) == pytest.approx((curve * coverage).mean(), abs=1e-12)
    for share in (0.3, 0.8, 1.0):
        kept = int(np.flatnonzero(coverage >= share - 1e-9)[0])
        assert risk_at_coverage(score, risk, share) == pytest.approx(curve[kept], abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(TIED, st.randoms(use_true_random=False))
def test_no_area_depends_on_the_order_of_rows(rows: list[tuple[int, float]], random: object) -> None:
    shuffled = random.sample(rows, len(rows))  # type: ignore[attr-defined]
    for area in (aurc, augrc, excess_aurc, risk_at_coverage):
        assert area(*zip(*rows, strict=True)) == area(*zip(*shuffled, strict=True))


@settings(deadline=None, max_examples=25)
@given(TIED)
def test_excess_is_nothing_for_the_oracle(rows: list[tuple[int, float]]) -> None:
    score, risk = (np.array(column, float) for column in zip(*rows, strict=True))
    assert excess_aurc(-risk, risk) == 0
    assert excess_aurc(score, risk) >= -1e-12
    assert excess_aurc(score, risk) == pytest.approx(aurc(score, risk) - plain_aurc(sorted(risk)), abs=1e-12)


def test_excess_of_binary_risk_by_hand() -> None:
    # oracle keeps the failure for last: (0 + 0 + 1/3) / 3; here it stands first: (1 + 1/2 + 1/3) / 3
    assert excess_aurc([0.9, 0.5, 0.1], [1, 0, 0]) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3 - 1 / 9)


def test_augrc_by_hand() -> None:
    # let through at 1/3, 2/3, 1: 0, 1/3, 1/3 of all rows
    assert augrc([0.9, 0.5, 0.1], [0, 1, 0]) == pytest.approx(2 / 9)
    assert augrc(np.ones(4), [0, 0, 1, 1]) == pytest.approx(0.5 * (4 + 1) / (2 * 4))


def test_risk_at_coverage_keeps_whole_rows() -> None:
    score, risk = [5, 4, 3, 2, 1], [0.0, 0.1, 0.2, 0.3, 1.0]
    assert risk_at_coverage(score, risk, 0.8) == pytest.approx(0.15)
    assert risk_at_coverage(score, risk, 0.61) == pytest.approx(0.15)  # four rows: three are only 60 %
    assert risk_at_coverage(score, risk, 1e-9) == 0
    assert risk_at_coverage(score, risk, 1) == pytest.approx(0.32)
    assert risk_at_coverage(np.arange(20), np.r_[1, np.zeros(19)], 0.95) == 0  # 0.95 · 20 is 19 rows


def test_risk_at_coverage_inside_a_tie() -> None:
    # of the tie of two (mean 0.5) one is kept
    assert risk_at_coverage([2, 1, 1], [0.0, 0.2, 0.8], 2 / 3) == pytest.approx(0.25)


@settings(deadline=None, max_examples=25)
@given(TIED, UNIT)
def test_threshold_at_risk_keeps_the_most_rows(rows: list[tuple[int, float]], limit: float) -> None:
    score, risk = (np.array(column, float) for column in zip(*rows, strict=True))
    fitting = [t for t in np.unique(score) if risk[score >= t].mean() <= limit + 1e-12]
    got = threshold_at_risk(score, risk, limit)
    assert got == min(fitting) if fitting else np.isnan(got)


def test_threshold_at_risk_of_a_curve_with_a_bump() -> None:
    assert threshold_at_risk([4, 3, 2, 1], [0.0, 0.5, 0.0, 0.0], limit=0.2) == 1
    assert np.isnan(threshold_at_risk([], [], 0.1)) and np.isnan(threshold_at_risk([1], [0.5], 0.1))
    assert threshold_at_risk([np.nan, 0.3], [0.0, 0.1], 0.1) == 0.3


@pytest.mark.parametrize("area", [aurc, augrc, excess_aurc, risk_at_coverage])
def test_no_rows_no_number(area: object) -> None:
    assert np.isnan(area([], [])) and np.isnan(area([np.nan, 0.4], [0.1, np.inf]))  # type: ignore[operator]
    assert area([0.9, np.nan], [0.2, 0.4]) == pytest.approx(0 if area is excess_aurc else 0.2)  # type: ignore[operator]
