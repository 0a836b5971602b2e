from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from sklearn.metrics import f1_score
from torchmetrics.functional.classification import binary_calibration_error

from sqp.metrics.overlap import dice
from sqp.metrics.raters import (
    area_crps,
    consensus,
    consensus_confidence,
    consensus_dice,
    dissensus_dice,
    rater_ece,
    rater_row,
)

NAN = float("nan")
# four pixels: both raters yes, only the first, only the second, none
TRUTHS = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)


def simulated(n: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A calibrated map `[40, 50]`, and n raters who draw the outline at different levels of it."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(40, 50)), 6)
    probability = 1 / (1 + np.exp(-60 * field))
    return probability, np.stack([probability > level for level in np.linspace(0.3, 0.7, n)])


def test_regions_by_hand() -> None:
    assert consensus(TRUTHS).tolist() == [True, False, False, True]
    prediction = np.array([1, 1, 0, 1], bool)
    assert consensus_dice(prediction, TRUTHS) == pytest.approx(2 / 3)  # of pixels 0 and 3
    assert dissensus_dice(prediction, TRUTHS) == pytest.approx((1 + 0) / 2)  # of pixels 1 and 2


def test_equals_scikit_learn_on_the_pixels_of_each_region() -> None:
    _, truths = simulated()
    prediction = np.roll(truths[1], 2, axis=0)
    agreed = (truths[0] == truths[1]) & (truths[1] == truths[2])
    assert consensus_dice(prediction, truths) == pytest.approx(f1_score(truths[0][agreed], prediction[agreed]))
    expected = np.mean([f1_score(t[~agreed], prediction[~agreed]) for t in truths])
    assert dissensus_dice(prediction, truths) == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(arrays(bool, (5, 6)), arrays(bool, (3, 5, 6)), st.permutations(range(3)))
def test_order_of_raters_does_not_matter(prediction: np.ndarray, truths: np.ndarray, order: list[int]) -> None:
    first, second = rater_row(prediction, truths), rater_row(prediction, truths[order])
    assert first.pop("note") == second.pop("note")
    assert first == pytest.approx(second, nan_ok=True)
    pairs = [dice(a, b) for a, b in combinations(truths, 2)]
    assert first["rater_dice"] == pytest.approx(np.mean(pairs))


def test_a_hundred_equal_raters_are_one() -> None:
    _, truths = simulated()
    prediction = np.roll(truths[0], 1, axis=1)
    same = np.stack([truths[0]] * 100)
    assert consensus_dice(prediction, same) == dice(prediction, truths[0])
    row = rater_row(prediction, same)
    assert np.isnan(row["dissensus_dice"]) and row["dissensus_share"] == 0 and row["rater_dice"] == 1
    assert "the raters agree on every pixel: no dissensus" in row["note"]


def test_ece_against_the_raters_mean() -> None:
    # 0.5 where half the raters say yes is right; 0.9 where both do is 0.1 off, 0.1 where none does too
    assert rater_ece(np.array([1.0, 0.5, 0.5, 0.0]), TRUTHS) == pytest.approx(0)
    assert rater_ece(np.array([0.9, 0.5, 0.5, 0.1]), TRUTHS) == pytest.approx(0.05)


def test_ece_of_the_mean_is_that_of_all_raters_pixels_together() -> None:
    """Independent: torchmetrics on the map repeated for each rater (float32: abs 1e-6)."""
    rng = np.random.default_rng(2)
    probability, truths = rng.random((12, 13)), rng.random((3, 12, 13)) < 0.4
    repeated = torch.from_numpy(np.broadcast_to(probability, truths.shape).copy()).ravel()
    reference = binary_calibration_error(repeated, torch.from_numpy(truths).long().ravel(), n_bins=15)
    assert rater_ece(probability, truths) == pytest.approx(float(reference), abs=1e-6)


def test_confidence_where_raters_agree() -> None:
    assert consensus_confidence(np.array([0.9, 0.0, 1.0, 0.3]), TRUTHS) == pytest.approx((0.9 + 0.7) / 2)
    assert np.isnan(consensus_confidence(np.full(4, 0.5), np.ones((2, 4), bool)))  # no agreed background


@pytest.mark.parametrize("area", [60.0, 95.0, 100.0, 103.0, 180.0])
def test_crps_equals_its_integral(area: float) -> None:
    areas = [90.0, 100.0, 113.0]
    law = norm(np.mean(areas), np.std(areas))
    below, _ = quad(lambda y: law.cdf(y) ** 2, -100, area, limit=200)
    above, _ = quad(lambda y: law.sf(y) ** 2, area, 400, limit=200)
    assert area_crps(area, areas) == pytest.approx(below + above, abs=1e-6)


def test_crps_in_limits() -> None:
    assert area_crps(7, [10]) == 3  # a single rater: the absolute error
    assert area_crps(7, [10, 10, 10]) == 3
    assert area_crps(7, [0.1 + 0.2] * 3) == pytest.approx(6.7)
    assert area_crps(1e9, [1, 2]) == pytest.approx(1e9, rel=1e-6)
    assert area_crps(100, [90, 110]) == pytest.approx(10 * (2 * norm.pdf(0) - 1 / np.sqrt(np.pi)))
    assert area_crps(20, [18, 24]) == pytest.approx(2 * area_crps(10, [9, 12]))  # it has the unit of the areas
    assert np.isnan(area_crps(NAN, [1, 2])) and np.isnan(area_crps(1, [])) and np.isnan(area_crps(1, [NAN]))


def test_row_of_simulated_raters() -> None:
    probability, truths = simulated()
    row = rater_row(truths[1], truths, probability, pixel_area=0.25)
    own = [dice(truths[1], t) for t in truths]
    assert row["n_raters"] == 3 and row["note"] == ""
    assert row["dice_mean"] == pytest.approx(np.mean(own)) and row["dice_sd"] == pytest.approx(np.std(own, ddof=1))
    assert row["consensus_dice"] == 1  # the middle rater never leaves what all agree on
    assert row["area_crps"] == pytest.approx(area_crps(probability.sum() / 4, truths.sum(axis=(1, 2)) / 4))
    assert row["ece"] == rater_ece(probability, truths)
    assert 0 < row["dissensus_share"] < 1
    worse = rater_row(~truths[1], truths, 1 - probability)
    assert worse["ece"] > row["ece"] and worse["consensus_confidence"] < row["consensus_confidence"]


@pytest.mark.parametrize(
    ("truths", "probability", "missing", "note"),
    [
        (
            TRUTHS[:1],
            np.full(4, 0.5),
            {"rater_dice", "dice_sd", "dissensus_dice"},
            "one rater: no disagreement",
        ),
        (TRUTHS, None, {"ece", "consensus_confidence"}, "no probability map: no calibration"),
        (
            TRUTHS,
            np.full(4, NAN),
            {"ece", "consensus_confidence", "area_crps"},
            "the probability map holds a NaN: no calibration",
        ),
        (
            np.zeros((2, 4), bool),
            np.zeros(4),
            {"dissensus_dice", "dissensus_share", "consensus_confidence"},
            "the raters agree on every pixel: no dissensus; no rater marks a pixel: no share of dissensus",
        ),
    ],
)
def test_what_is_nan_has_its_reason(
    truths: np.ndarray, probability: np.ndarray | None, missing: set[str], note: str
) -> None:
    row = rater_row(np.array([1, 1, 0, 0], bool), truths, probability)
    assert {name for name, value in row.items() if isinstance(value, float) and np.isnan(value)} == missing
    assert row["note"] == note


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"must be \[raters, \*space\]"):
        rater_row(np.zeros((4, 4), bool), np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="differ in shape"):
        rater_ece(np.zeros(3), TRUTHS)
