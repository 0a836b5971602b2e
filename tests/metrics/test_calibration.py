from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error

from sqp.metrics import PIXEL_CALIBRATION, calibration
from sqp.metrics.calibration import expected_calibration_error as ece


def data(seed: int = 0, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities, and what came true."""
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p, rng.random(n) < 0.5 + 0.6 * (p - 0.5)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_equals_torchmetrics(bins: int) -> None:
    p, t = data()
    reference = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(t).long(), n_bins=bins)
    assert ece(p, t, bins) == pytest.approx(float(reference), abs=1e-6)
    assert calibration.pixel_ece(p.reshape(20, 25), t.reshape(20, 25), bins) == ece(p, t, bins)


def test_continuous_target_by_hand() -> None:
    # bins of 0.5: (0.2, 0.4) against (0.6, 0.2), 0.1 apart; (0.9,) against (0.5,), 0.4 apart
    assert ece([0.2, 0.4, 0.9], [0.6, 0.2, 0.5], bins=2) == pytest.approx((2 * 0.1 + 0.4) / 3)


def test_calibrated_is_zero() -> None:
    assert ece([0.25] * 4 + [1.0] * 3, [1, 0, 0, 0, 1, 1, 1]) == pytest.approx(0)


def test_weight_is_a_number_of_copies() -> None:
    p, t = data(1, 40)
    w = np.random.default_rng(1).integers(0, 4, 40)
    assert ece(p, t, weight=w) == pytest.approx(ece(np.repeat(p, w), np.repeat(t, w)))


def test_nan_rows_do_not_count() -> None:
    p, t = data(2, 50)
    assert ece([*p, np.nan, 0.5], [*t, 1, np.nan]) == ece(p, t)
    assert np.isnan(ece([np.nan], [1])) and np.isnan(ece([], []))


def test_edges_of_the_bins() -> None:
    table = calibration.reliability_table([0, 0.5, 1, -0.2, 1.3], [0, 1, 1, 0, 1], bins=2)
    assert table["n"].tolist() == [2, 3]  # 0.5 opens the second bin, 1 and 1.3 close the last
    assert table["low"].tolist() == [0, 0.5] and table["high"].tolist() == [0.5, 1]
    np.testing.assert_allclose(table["confidence"], [-0.1, 2.8 / 3])
    np.testing.assert_allclose(table["target"], [0, 1])
    np.testing.assert_allclose(table["gap"], [-0.1, 2.8 / 3 - 1])


def test_empty_bin_is_nan_in_the_table() -> None:
    table = calibration.reliability_table([0.1, 0.2], [0, 1], bins=2, weight=[1, 3])
    assert table["n"].tolist() == [2, 0] and table["weight"].tolist() == [4, 0]
    assert table["target"][0] == 0.75 and np.isnan(table["target"][1])


def test_brier_and_nll_equal_scikit_learn() -> None:
    p, t = data(3)
    assert calibration.brier(p, t) == pytest.approx(brier_score_loss(t, p))
    assert calibration.nll(p, t) == pytest.approx(log_loss(t, p))
    tensors = torch.from_numpy(p).reshape(5, 10, 10), torch.from_numpy(t).reshape(5, 10, 10)
    assert calibration.brier(*tensors) == pytest.approx(brier_score_loss(t, p))
    assert calibration.nll(*tensors) == pytest.approx(log_loss(t, p))


def test_nll_of_the_certain_and_wrong_is_finite() -> None:
    p, t = np.array([0, 1], np.float32), np.array([True, False])
    assert calibration.nll(p, t) == pytest.approx(-np.log(1e-7))
    assert calibration.nll(1 - p, t) == pytest.approx(1e-7)


@pytest.mark.parametrize("name", PIXEL_CALIBRATION)
def test_maps_with_nan_or_another_shape(name: str) -> None:
    assert np.isnan(PIXEL_CALIBRATION[name](np.array([0.5, np.nan]), np.array([True, False])))
    with pytest.raises(ValueError, match="differ in shape"):
        PIXEL_CALIBRATION[name](np.zeros((2, 1)), np.zeros(2, bool))


@pytest.mark.parametrize("name", PIXEL_CALIBRATION)
def test_a_map_with_infinity_has_no_calibration(name: str) -> None:
    assert np.isnan(PIXEL_CALIBRATION[name](np.array([0.5, np.inf]), np.array([True, False])))


@pytest.mark.parametrize("name", PIXEL_CALIBRATION)
def test_logits_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"lies in 0\.\.1, this map in -2\.\.3"):
        PIXEL_CALIBRATION[name](np.array([-2.0, 3.0, np.nan]), np.array([True, False, True]))
    PIXEL_CALIBRATION[name](np.array([1 + 1e-7, 0.5]), np.array([True, False]))  # rounding passes


def test_bins_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ece([0.5], [1], bins=0)
