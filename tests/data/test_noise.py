from __future__ import annotations

import numpy as np
import pytest

from sqp.data.noise import fractal_noise, resize_field, smooth_noise, wavy_radius


@pytest.mark.parametrize("make", [smooth_noise, fractal_noise])
def test_noise_is_about_standard_normal(make):
    fields = np.stack([make(np.random.default_rng(k), (60, 80), 8) for k in range(40)])
    assert abs(fields.mean()) < 0.1
    assert 0.75 < fields.std() < 1.15


def test_more_cells_are_rougher():
    steps = [np.abs(np.diff(smooth_noise(np.random.default_rng(0), (200, 200), c))).mean() for c in (3, 10, 30)]
    assert steps[0] < steps[1] / 2 < steps[2] / 4


def test_resizing_a_ramp_keeps_it():
    ramp = np.tile(np.arange(16, dtype=np.float32), (8, 1))
    large = resize_field(ramp, (32, 64), smooth=False)
    assert large.shape == (32, 64)
    np.testing.assert_allclose(large[:, 2:-2], np.tile((np.arange(64) + 0.5) / 4 - 0.5, (32, 1))[:, 2:-2], atol=1e-5)


def test_contour_closes_and_stays_positive():
    angle = np.array([-np.pi, np.pi])
    for seed in range(20):
        radius = wavy_radius(np.random.default_rng(seed), angle, 0.8)
        assert radius[0] == pytest.approx(radius[1])
        assert (radius >= 0.2).all()
    assert wavy_radius(np.random.default_rng(0), np.linspace(0, 6, 9), 0.0) == pytest.approx(1)
