from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ranksums

from sqp.metrics.stats import cohens_d
from sqp.metrics.tiers import rank_sum_p, tiers


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.random(300)
    dice = np.clip(0.5 + 0.4 * score + rng.normal(0, 0.1, 300), 0, 1)
    return score, dice, dice / (2 - dice)


def test_thresholds_belong_to_the_upper_tier() -> None:
    rows, _ = tiers([0.8, 0.79, 0.5, 0.49], [0.9, 0.7, 0.5, 0.1], [0.8, 0.6, 0.4, 0.05])
    assert [(r.name, r.n, r.share) for r in rows] == [
        ("high", 1, 0.25),
        ("moderate", 2, 0.5),
        ("low", 1, 0.25),
    ]
    assert rows[1].dice_mean == pytest.approx(0.6) and rows[1].dice_sd == pytest.approx(0.1 * np.sqrt(2))
    assert rows[1].iou_mean == pytest.approx(0.5) and rows[1].iou_sd == pytest.approx(0.1 * np.sqrt(2))
    assert np.isnan(rows[0].dice_sd)


def test_effect_and_p_on_real_sizes() -> None:
    score, dice, iou = data()
    rows, p = tiers(score, dice, iou, low=0.3, high=0.7)
    high, moderate, low = dice[score >= 0.7], dice[(score >= 0.3) & (score < 0.7)], dice[score < 0.3]
    assert np.isnan(rows[0].cohens_d)
    assert rows[1].cohens_d == pytest.approx(cohens_d(high, moderate))
    assert rows[2].cohens_d == pytest.approx(cohens_d(high, low)) and rows[2].cohens_d > 1
    assert set(p) == {("high", "moderate"), ("high", "low"), ("moderate", "low")}
    for pair, sides in {("high", "low"): (high, low), ("moderate", "low"): (moderate, low)}.items():
        assert np.log(p[pair]) == pytest.approx(np.log(ranksums(*sides).pvalue), rel=0.02)


def test_swapped_signs_would_show() -> None:
    score, dice, iou = data()
    rows, _ = tiers(score, 1 - dice, iou)
    assert rows[2].cohens_d < 0


def test_nan_rows_do_not_count() -> None:
    score, dice, iou = data()
    with_gaps = tiers([*score, np.nan, 0.9], [*dice, 0.5, np.nan], [*iou, 0.4, 0.4])
    assert repr(with_gaps) == repr(tiers(score, dice, iou))


def test_empty_tier() -> None:
    rows, p = tiers([0.9, 0.95, 0.2], [0.9, 0.8, 0.4], [0.8, 0.7, 0.3])
    assert rows[1].n == 0 and rows[1].share == 0 and np.isnan(rows[1].dice_mean)
    assert np.isnan(p["high", "moderate"]) and np.isfinite(p["high", "low"])
    none, _ = tiers([], [], [])
    assert np.isnan(none[0].share)


def test_rank_sum_by_hand() -> None:
    # 3 against 3 without overlap: 2 of the 20 orders are as extreme
    assert rank_sum_p([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)
    assert rank_sum_p([1, 1], [1, 1, 1]) == 1


def test_thresholds_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="below the high one"):
        tiers([0.5], [0.5], [0.5], low=0.8, high=0.5)
