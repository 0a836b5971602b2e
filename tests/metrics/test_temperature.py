from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from sqp.metrics.calibration import pixel_ece
from sqp.metrics.temperature import TemperatureFit, rescale

NAN = float("nan")


def maps(temperature: float, seed: int = 0, n: int = 4, side: int = 70) -> list[tuple[np.ndarray, np.ndarray]]:
    """Logits that are `temperature` times too large, with truths drawn from the right probabilities."""
    rng = np.random.default_rng(seed)
    right = rng.normal(-1, 2, (n, side, side))
    truths = rng.random(right.shape) < expit(right)
    return [(z.astype(np.float32), t) for z, t in zip(temperature * right, truths, strict=True)]


def fitted(pairs: list[tuple[np.ndarray, np.ndarray]]) -> TemperatureFit:
    fit = TemperatureFit()
    for logits, truth in pairs:
        fit.update(logits, truth)
    return fit


def pooled(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    z, t = (np.concatenate([part.ravel() for part in column]) for column in zip(*pairs, strict=True))
    return z.astype(float), t


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_equals_logistic_regression(temperature: float) -> None:
    """One coefficient on the logit and no intercept is 1 / T. rel 1e-3: both stop at a flat minimum."""
    pairs = maps(temperature)
    z, t = pooled(pairs)
    reference = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-9).fit(z[:, None], t)
    found = fitted(pairs).fit()
    assert found.value == pytest.approx(1 / reference.coef_[0, 0], rel=1e-3)
    assert found.value == pytest.approx(temperature, rel=0.05)
    assert found.nll_after == pytest.approx(log_loss(t, expit(z / found.value)), abs=1e-5)
    assert (found.n_maps, found.n_pixels, found.note) == (4, z.size, "")


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_bins_give_the_likelihood(temperature: float) -> None:
    """abs 1e-5 against every pixel by itself, also at logits of ±60, where it must not overflow."""
    pairs = [*maps(3.0), (np.array([[-60.0, 60.0]]), np.array([[False, True]]))]
    z, t = pooled(pairs)
    exact = np.mean(np.logaddexp(0, z / temperature) - t * z / temperature)
    assert fitted(pairs).nll(temperature) == pytest.approx(exact, abs=1e-5)


def test_scaling_mends_calibration() -> None:
    pairs = maps(4.0)
    found = fitted(pairs).fit()
    z, t = pooled(pairs)
    assert found.nll_after < found.nll_before - 0.1
    assert pixel_ece(rescale(expit(z), found.value), t) < 0.2 * pixel_ece(expit(z), t)


def test_probabilities_serve_as_well() -> None:
    pairs = maps(1.5)
    fit = TemperatureFit()
    for logits, truth in pairs:
        fit.update_probability(expit(logits.astype(float)), truth)
    assert fit.fit().value == pytest.approx(fitted(pairs).fit().value, rel=1e-4)


def test_certain_probabilities_stay_finite() -> None:
    fit = TemperatureFit()
    truth = np.arange(40) < 20
    wrong = np.arange(40) % 10 == 0
    fit.update_probability((truth ^ wrong).astype(np.float32), truth)
    # 36 of 40 are right, so p should be 0.9 or 0.1: logit(1 - 1e-7) / T = logit(0.9)
    assert fit.fit().value == pytest.approx(logit(1 - 1e-7) / logit(0.9), rel=1e-3)


def test_order_of_maps_does_not_matter() -> None:
    pairs = maps(2.0)
    assert fitted(pairs).fit().value == pytest.approx(fitted(pairs[::-1]).fit().value, rel=1e-9)


def test_weight_is_a_number_of_copies() -> None:
    first, second, *_ = maps(2.0)
    fit = TemperatureFit()
    fit.update(*first, weight=3)
    fit.update(*second)
    assert fit.fit().value == pytest.approx(fitted([first, first, first, second]).fit().value, rel=1e-9)
    uneven = TemperatureFit()
    uneven.update(*first, weight=1 / first[0].size)
    assert uneven.fit().value == pytest.approx(fitted([first]).fit().value, rel=1e-9)


@pytest.mark.parametrize(
    ("logits", "truth", "note"),
    [
        ([2.0, -2.0], [True, False], "the masks are perfect"),
        ([2.0, -2.0], [False, True], "the logits tell no more than chance"),
        ([0.0, 0.0], [True, False], "all logits are 0"),
        ([NAN, 1.0], [True, False], "1 of 1 maps hold a NaN: left out; no maps: no temperature"),
    ],
)
def test_no_minimum_is_nan_with_a_reason(logits: list, truth: list, note: str) -> None:
    found = fitted([(np.array(logits), np.array(truth))]).fit()
    assert np.isnan(found.value) and np.isnan(found.nll_after) and found.note.startswith(note)


def test_nothing_is_nan() -> None:
    found = TemperatureFit().fit()
    assert np.isnan(found.value) and np.isnan(found.nll_before) and found.note == "no maps: no temperature"


def test_a_map_with_nan_is_left_out_and_told() -> None:
    pairs = maps(2.0)
    with_gap = fitted([*pairs, (np.array([[NAN]]), np.array([[True]]))]).fit()
    assert with_gap.value == fitted(pairs).fit().value
    assert with_gap.note == "1 of 5 maps hold a NaN: left out"


def test_rescale_keeps_the_mask_and_the_ends() -> None:
    p = np.array([0.0, 0.2, 0.5, 0.7, 1.0])
    assert ((rescale(p, 3.0) >= 0.5) == (p >= 0.5)).all()
    assert rescale(p, 3.0)[[0, -1]].tolist() == [0, 1]
    np.testing.assert_allclose(rescale(rescale(p, 3.0), 1 / 3), p, atol=1e-12)


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        TemperatureFit().update(np.zeros((2, 1)), np.zeros(2, bool))
    with pytest.raises(ValueError, match="weight"):
        TemperatureFit().update(np.zeros(2), np.zeros(2, bool), weight=0)
    with pytest.raises(ValueError, match="give sigmoid"):
        TemperatureFit().update_probability(np.full(2, 3.0), np.zeros(2, bool))
    with pytest.raises(ValueError, match="above 0"):
        rescale([0.5], 0)
