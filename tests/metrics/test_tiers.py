from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, ranksums, ttest_ind

from sqp.metrics.paired import holm
from sqp.metrics.tiers import cohens_d, rank_sum_p, tiers


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
    assert np.isnan(rows[0].dice_sd) and rows[0].note == "one row in tier high: no SD" and rows[1].note == ""


def test_effect_and_p_on_real_sizes() -> None:
    score, dice, iou = data()
    _, pairs = tiers(score, dice, iou, low=0.3, high=0.7)
    sides = {
        "high": dice[score >= 0.7],
        "moderate": dice[(score >= 0.3) & (score < 0.7)],
        "low": dice[score < 0.3],
    }
    assert [(pair.a, pair.b) for pair in pairs] == [("high", "moderate"), ("high", "low"), ("moderate", "low")]
    for pair in pairs:
        x, y = sides[pair.a], sides[pair.b]
        assert pair.cohens_d == pytest.approx(cohens_d(x, y)) and pair.note == ""
        assert np.log(pair.p) == pytest.approx(np.log(ranksums(x, y).pvalue), rel=0.02)
    assert pairs[1].cohens_d > 1
    assert [pair.p_holm for pair in pairs] == pytest.approx(holm([pair.p for pair in pairs]))


def test_swapped_signs_would_show() -> None:
    score, dice, iou = data()
    _, pairs = tiers(score, 1 - dice, iou)
    assert pairs[1].cohens_d < 0


def test_nan_rows_do_not_count() -> None:
    score, dice, iou = data()
    with_gaps = tiers([*score, np.nan, 0.9], [*dice, 0.5, np.nan], [*iou, 0.4, 0.4])
    rows, pairs = tiers(score, dice, iou)
    noted = [replace(row, note="2 of 302 rows undefined") for row in rows]
    assert repr(with_gaps) == repr((noted, pairs))


def test_empty_tier() -> None:
    rows, (to_none, to_one, _) = tiers([0.9, 0.95, 0.2], [0.9, 0.8, 0.4], [0.8, 0.7, 0.3])
    assert rows[1].n == 0 and rows[1].share == 0 and np.isnan(rows[1].dice_mean)
    assert np.isnan(to_none.p) and np.isnan(to_none.p_holm) and to_none.note == "no rows in tier moderate"
    assert np.isfinite(to_one.p) and to_one.p_holm == to_one.p  # the only test: nothing to correct
    assert np.isnan(to_one.cohens_d) and to_one.note == "one row in tier low: no SD"
    none, _ = tiers([], [], [])
    assert np.isnan(none[0].share) and none[0].note == "no rows in tier high; no rows"


def test_all_dice_tie() -> None:
    _, (pair, *_) = tiers([0.9, 0.9, 0.6, 0.6], [0.7] * 4, [0.5] * 4)
    assert np.isnan(pair.p) and np.isnan(pair.cohens_d) and pair.note == "all Dice tie: no test"
    _, (pair, *_) = tiers([0.9, 0.9, 0.6, 0.6], [0.7, 0.7, 0.6, 0.6], [0.5] * 4)
    assert np.isfinite(pair.p) and np.isnan(pair.cohens_d)
    assert pair.note == "Dice constant in both tiers: no Cohen's d"


def test_rank_sum_by_hand() -> None:
    # 3 against 3 without overlap: 2 of the 20 orders are as extreme
    assert rank_sum_p([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)
    assert np.isnan(rank_sum_p([1, 1], [1, 1, 1])) and np.isnan(rank_sum_p([1, 1], []))
    assert rank_sum_p([1, 2, np.nan, 3], [4, 5, 6]) == pytest.approx(0.1)


def test_thresholds_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="below the high one"):
        tiers([0.5], [0.5], [0.5], low=0.8, high=0.5)


def grouped(seed: int, images: int = 60, masks: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, Dice and image of masks whose score says nothing; both go with the image."""
    rng, group = np.random.default_rng(seed), np.repeat(np.arange(images), masks)
    score, dice = (0.8 * rng.normal(size=images)[group] + 0.6 * rng.normal(size=len(group)) for _ in range(2))
    return score, dice, group


@pytest.mark.parametrize(("images", "masks", "least"), [(60, 8, 0.01), (15, 4, 0.0)])
def test_false_alarms_are_nominal_with_many_masks_an_image(images: int, masks: int, least: float) -> None:
    p = []
    for seed in range(150):
        score, dice, group = grouped(seed, images, masks)
        by_group, by_row = (tiers(score, dice, dice, -0.3, 0.4, codes)[1] for codes in (group, None))
        p.append([[pair.p for pair in pairs] for pairs in (by_group, by_row)])
    alarms = np.mean(np.array(p) < 0.05, axis=0)
    assert (alarms[0] >= least).all() and (alarms[0] <= 0.09).all()
    assert alarms[1, 1] > 0.15  # high against low, masks counted as independent


def test_a_difference_between_tiers_is_found_by_group() -> None:
    score, dice, group = grouped(0)
    _, pairs = tiers(score, dice + 0.5 * score, dice, -0.3, 0.4, group)
    assert pairs[1].p < 1e-3 and pairs[1].p_holm <= 3 * pairs[1].p and pairs[1].n_groups <= 60


def test_groups_of_one_row_are_no_groups() -> None:
    score, dice, _ = grouped(1, 40, 1)
    (x, y), names = (dice[score > 0], dice[score <= 0]), np.arange(40)
    assert rank_sum_p(x, y, names[score > 0], names[score <= 0]) == mannwhitneyu(x, y).pvalue
    twice = rank_sum_p(
        np.repeat(x, 2), np.repeat(y, 2), np.repeat(names[score > 0], 2), np.repeat(names[score <= 0], 2)
    )
    assert twice == pytest.approx(mannwhitneyu(x, y).pvalue, rel=0.2)  # each mask twice tells nothing more


def test_one_group_is_no_test() -> None:
    _, (pair, *_) = tiers([0.9, 0.9, 0.6, 0.6], [0.7, 0.8, 0.6, 0.5], [0.5] * 4, group=["a"] * 4)
    assert np.isnan(pair.p) and pair.note == "one group: no test" and pair.n_groups == 1


def test_cohens_d_follows_from_the_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 30), rng.normal(0, 1, 12)
    t = ttest_ind(a, b, equal_var=True).statistic
    assert cohens_d(a, b) == pytest.approx(t * np.sqrt(1 / 30 + 1 / 12))
    assert cohens_d([*a, np.nan], b) == pytest.approx(cohens_d(a, b))
    assert cohens_d(b, a) == pytest.approx(-cohens_d(a, b))


def test_cohens_d_undefined() -> None:
    assert np.isnan(cohens_d([1, 1], [2, 2]))
    assert np.isnan(cohens_d([1], [2, 3]))
    assert np.isnan(cohens_d([], []))
