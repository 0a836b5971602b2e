from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.metrics import selective
from sqp.metrics.selective import aurc, failure_auroc

UNIT = st.floats(0, 1, allow_subnormal=False)
TIED = st.lists(st.tuples(st.integers(0, 2), UNIT), min_size=1, max_size=12)


def plain_aurc(risks: list[float]) -> float:
    """Geifman & El-Yaniv for rows that are sorted already, best score first."""
    return float(np.mean([np.mean(risks[:i]) for i in range(1, len(risks) + 1)]))


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


def test_failure_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    score, failed = rng.integers(0, 6, 60), rng.random(60) < 0.3
    bad, good = score[failed][:, None], score[~failed][None]
    expected = np.mean((bad < good) + 0.5 * (bad == good))
    assert failure_auroc(score, failed) == pytest.approx(expected)
    assert failure_auroc(-score, failed) == pytest.approx(1 - expected)


def test_failure_auroc_undefined() -> None:
    assert np.isnan(failure_auroc([0.1, 0.2], [False, False]))
    assert np.isnan(failure_auroc([0.1, 0.2], [True, True]))
    assert np.isnan(failure_auroc([np.nan, 0.2], [True, False]))
    assert np.isnan(failure_auroc([], []))
