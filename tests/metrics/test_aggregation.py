"""Aggregates of several scores against scikit-learn, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import percentileofscore
from sklearn.linear_model import LinearRegression

from sqp.metrics.aggregation import AGGREGATES, NonnegRegression, RankAverage


def rows(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four scores (two good, one noise, one of the wrong sign) and the Dice."""
    rng = np.random.default_rng(seed)
    dice = rng.beta(4, 2, n)
    noise = rng.normal(size=(n, 4))
    scores = np.stack([3 * dice, dice, 0 * dice, -dice], axis=1) + noise * [1, 0.2, 1, 0.3]
    return scores, dice


def test_rank_average_against_scipy() -> None:
    scores, dice = rows()
    scores = scores.round(1)  # ties
    fitted = RankAverage.fit(scores, dice)
    new = rows(seed=1)[0].round(1)
    expected = np.mean(
        [percentileofscore(scores[:, k], new[:, k], "mean") / 100 for k in range(scores.shape[1])], axis=0
    )
    np.testing.assert_allclose(fitted(new), expected, atol=1e-12)


def test_nonneg_regression_against_sklearn() -> None:
    scores, dice = rows()
    z = (scores - scores.mean(0)) / scores.std(0)
    peer = LinearRegression(positive=True).fit(z, dice)
    fitted = NonnegRegression.fit(scores, dice)
    np.testing.assert_allclose(fitted.weight, peer.coef_, atol=1e-8)
    assert fitted.weight[3] == 0 and fitted.weight[1] > 0
    new = rows(seed=1)[0]
    np.testing.assert_allclose(fitted(new), peer.predict((new - scores.mean(0)) / scores.std(0)), atol=1e-8)


@pytest.mark.parametrize("name", AGGREGATES)
class TestEach:
    def test_a_single_record_is_scored_as_among_many(self, name: str) -> None:
        fitted, new = AGGREGATES[name](*rows()), rows(seed=1)[0]
        np.testing.assert_allclose([fitted(new[i : i + 1])[0] for i in range(len(new))], fitted(new), atol=1e-12)

    def test_it_beats_its_parts_where_noise_is_independent(self, name: str) -> None:
        rng = np.random.default_rng(2)
        dice = rng.uniform(size=600)
        scores = dice[:, None] + rng.normal(0, 0.5, (600, 4))
        fitted = AGGREGATES[name](scores[:300], dice[:300])
        best = max(np.corrcoef(scores[300:, k], dice[300:])[0, 1] for k in range(4))
        assert np.corrcoef(fitted(scores[300:]), dice[300:])[0, 1] > best + 0.1

    def test_a_missing_score_is_left_out_and_none_at_all_is_nan(self, name: str) -> None:
        fitted, new = AGGREGATES[name](*rows()), rows(seed=1)[0][:3]
        new[1, 0], new[2] = np.nan, [np.nan, np.inf, np.nan, -np.inf]
        found = fitted(new)
        assert np.isfinite(found[:2]).all() and np.isnan(found[2])

    def test_columns_that_tell_nothing_change_nothing(self, name: str) -> None:
        scores, dice = rows()
        new = rows(seed=1)[0]
        useless = np.stack([np.full(len(dice), 0.5), np.full(len(dice), np.nan)], axis=1)
        more = AGGREGATES[name](np.hstack([scores, useless]), dice)
        np.testing.assert_allclose(more(np.hstack([new, useless])), AGGREGATES[name](scores, dice)(new), atol=1e-12)

    def test_no_rows_and_no_columns(self, name: str) -> None:
        assert np.isnan(AGGREGATES[name](np.empty((0, 2)), np.empty(0))([[1.0, 2.0]])).all()
        assert np.isnan(AGGREGATES[name](np.empty((5, 0)), np.ones(5))(np.empty((2, 0)))).tolist() == [True, True]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.integers(0, 3), st.floats(0.01, 5))
    def test_more_of_a_score_is_never_worse(self, name: str, record: list[float], which: int, more: float) -> None:
        fitted = AGGREGATES[name](*rows())
        better = list(record)
        better[which] += more
        assert fitted([better])[0] >= fitted([record])[0] - 1e-12

    def test_the_order_of_calibration_rows_does_not_matter(self, name: str) -> None:
        scores, dice = rows()
        order = np.random.default_rng(0).permutation(len(dice))
        new = rows(seed=1)[0]
        one, two = AGGREGATES[name](scores, dice)(new), AGGREGATES[name](scores[order], dice[order])(new)
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_rows_without_dice_do_not_count() -> None:
    scores, dice = rows()
    with_gaps = np.append(dice, np.nan)
    one = NonnegRegression.fit(np.vstack([scores, 99 * np.ones(4)]), with_gaps)
    np.testing.assert_allclose(one.weight, NonnegRegression.fit(scores, dice).weight)
