from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error

from sqp.metrics import calibration
from sqp.metrics.pooled import PixelCalibration


def maps(seed: int = 0, sizes: tuple[int, ...] = (7, 30, 12)) -> list[tuple[np.ndarray, np.ndarray]]:
    """Overconfident maps of different sizes and float types, with their truths."""
    rng = np.random.default_rng(seed)
    types = (np.float32, np.float64, np.float32)
    made = [rng.random((n, 11)).astype(dtype) for n, dtype in zip(sizes, types, strict=True)]
    return [(p, rng.random(p.shape) < 0.5 + 0.6 * (p - 0.5)) for p in made]


def pool(pairs: list[tuple[np.ndarray, np.ndarray]], bins: int = 15) -> PixelCalibration:
    result = PixelCalibration(bins)
    for p, t in pairs:
        result.update(p, t)
    return result


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_pool_equals_libraries_on_all_pixels_at_once(bins: int) -> None:
    """abs 1e-6 for torchmetrics' float32, 1e-12 for scikit-learn."""
    pooled = pool(maps(), bins)
    p = np.concatenate([p.ravel().astype(float) for p, _ in maps()])
    t = np.concatenate([t.ravel() for _, t in maps()])
    reference = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(t).long(), n_bins=bins)
    assert pooled.ece == pytest.approx(float(reference), abs=1e-6)
    assert pooled.brier == pytest.approx(brier_score_loss(t, p), abs=1e-12)
    assert pooled.nll == pytest.approx(log_loss(t, p), abs=1e-12)
    assert (pooled.n_maps, pooled.n_pixels, pooled.note) == (3, p.size, "")
    for name, column in calibration.reliability_table(p, t, bins).items():
        np.testing.assert_allclose(pooled.table()[name], column, atol=1e-12)


def test_one_map_alone_has_its_own_numbers() -> None:
    p, t = maps(1)[1]
    alone = pool([(p, t)])
    assert alone.ece == pytest.approx(calibration.pixel_ece(p, t), abs=1e-12)
    assert alone.brier == pytest.approx(calibration.brier(p, t), abs=1e-12)
    assert alone.nll == pytest.approx(calibration.nll(p, t), abs=1e-12)


def test_pixels_count_not_images() -> None:
    right, wrong = np.zeros((1, 3)), np.ones((1, 1))
    nothing = pool([(right, right > 0), (wrong, wrong < 0)], bins=2)
    assert nothing.brier == 0.25 and nothing.ece == 0.25
    assert nothing.table()["n"].tolist() == [3, 1]
    assert nothing.table()["gap"].tolist() == [0, 1]


def test_order_of_maps_does_not_matter() -> None:
    first, second = pool(maps()), pool(maps()[::-1])
    assert first.summary() == pytest.approx(second.summary())


def test_memory_does_not_grow() -> None:
    many = pool(maps() * 5)
    assert all(column.shape == (15,) for column in many.table().values())
    assert not [v for v in vars(many).values() if isinstance(v, list)]


def test_a_map_with_nan_is_left_out_and_told() -> None:
    broken = np.full((2, 2), 0.5)
    broken[0, 0] = np.nan
    pooled = pool([*maps(), (broken, broken > 0)])
    assert pooled.summary() == pool(maps()).summary() | {"note": "1 of 4 probability maps hold a NaN: left out"}


def test_nothing_pooled_is_nan_with_a_reason() -> None:
    empty = PixelCalibration()
    assert np.isnan([empty.ece, empty.brier, empty.nll]).all()
    assert empty.note == "no probability map: no calibration of pixels"


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PixelCalibration(0)
    with pytest.raises(ValueError, match="differ in shape"):
        PixelCalibration().update(np.zeros((2, 1)), np.zeros(2, bool))
    with pytest.raises(ValueError, match="give sigmoid"):
        PixelCalibration().update(np.full(2, 4.0), np.zeros(2, bool))


def test_adding_pools_is_pooling_their_maps() -> None:
    rng = np.random.default_rng(4)
    whole, parts = PixelCalibration(), [PixelCalibration(), PixelCalibration()]
    for part in parts:
        p, t = rng.random((5, 6)), rng.random((5, 6)) < 0.4
        part.update(p, t)
        part.update(np.full((2, 2), np.nan), np.ones((2, 2), bool))
        whole.update(p, t)
    parts[0].add(parts[1])
    assert parts[0].left_out == 2 and parts[0].n_maps == 2
    assert (parts[0].ece, parts[0].brier, parts[0].nll) == pytest.approx((whole.ece, whole.brier, whole.nll))
    with pytest.raises(ValueError, match="10 bins"):
        whole.add(PixelCalibration(10))
