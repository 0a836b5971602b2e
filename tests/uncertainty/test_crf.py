"""The CRF against mean field by hand, and its reaction to edges, widths and wrong input."""

import sys

import numpy as np
import pytest

from sqp.core.errors import ConfigError
from sqp.uncertainty.crf import crf, require


@pytest.fixture
def scene():
    """20 x 28, two colours with an edge at x = 14; p says foreground left of 12, with noise."""
    rng = np.random.default_rng(0)
    image = np.full((20, 28, 3), 200, np.uint8)
    image[:, :14] = (90, 60, 50)
    p = np.where(np.arange(28) < 12, 0.75, 0.25) + rng.uniform(-0.2, 0.2, (20, 28))
    return image, p.astype(np.float32)


def mean_field(image, p, iterations, sxy, weight, cxy, spread, colour_weight):
    """Dense kernels in float64, symmetrically normalised as the library does, Potts compatibility."""
    h, w = p.shape
    yy, xx = np.mgrid[:h, :w]
    xy = np.stack([xx, yy], -1).reshape(-1, 2).astype(float)
    rgb = image.reshape(-1, 3).astype(float)

    def kernel(*parts):
        d = sum(((f[:, None] - f[None]) ** 2).sum(-1) / s**2 for f, s in parts)
        k = np.exp(-d / 2)
        n = 1 / np.sqrt(k.sum(1))
        return n[:, None] * k * n[None]

    message = weight * kernel((xy, sxy)) + colour_weight * kernel((xy, cxy), (rgb, spread))
    unary = np.log(np.clip(np.stack([1 - p.ravel(), p.ravel()], 1).astype(float), 1e-5, 1))
    q = np.exp(unary)
    for _ in range(iterations):
        q = np.exp(unary + message @ q)
        q /= q.sum(1, keepdims=True)
    return q[:, 1].reshape(h, w)


def installed():
    return pytest.importorskip("pydensecrf.densecrf")


def test_it_is_mean_field_with_dense_kernels(scene):
    installed()
    image, p = scene
    own = {"smooth_width": 2.0, "smooth_weight": 0.5, "colour_width": 5.0, "colour_spread": 20.0, "colour_weight": 0.5}
    found = crf(image, p, iterations=5, **own)
    expected = mean_field(image, p, 5, 2.0, 0.5, 5.0, 20.0, 0.5)
    assert found.dtype == np.float32 and found.shape == p.shape
    assert np.abs(found - expected).max() < 0.08  # the lattice filters approximate the Gaussians


def test_the_mask_moves_to_the_edge_of_the_image(scene):
    installed()
    image, p = scene
    refined = crf(image, p) >= 0.5
    assert ((p >= 0.5)[:, 12:14].mean() < 0.5) and (refined == (np.arange(28) < 14)).mean() > 0.99


def test_weights_of_nothing_give_back_the_probability(scene):
    installed()
    image, p = scene
    np.testing.assert_allclose(crf(image, p, smooth_weight=0.0, colour_weight=0.0), p, atol=1e-3)


def test_a_wider_kernel_smooths_more_and_the_answer_repeats(scene):
    installed()
    image, p = scene
    flat = np.full_like(image, 128)
    spike = np.full((20, 28), 0.2, np.float32)
    spike[10, 14] = 0.9
    narrow, wide = (crf(flat, spike, smooth_width=s, colour_weight=0.0) for s in (0.1, 3.0))
    assert wide[10, 14] < narrow[10, 14]
    assert np.array_equal(crf(image, p), crf(image, p))


def test_sure_pixels_stay_finite():
    installed()
    image = np.zeros((6, 8, 3), np.uint8)
    for value in (0.0, 1.0):
        found = crf(image, np.full((6, 8), value, np.float32), iterations=10)
        assert np.isfinite(found).all() and np.abs(found - value).max() < 1e-3


def test_wrong_input_is_told(scene):
    installed()
    image, p = scene
    with pytest.raises(ValueError, match="give one size"):
        crf(image, p[:, :-1])
    for options, message in (({"iterations": 0}, "iterations is 0"), ({"colour_spread": 0.0}, "colour_spread is 0")):
        with pytest.raises(ConfigError, match=message):
            crf(image, p, **options)


def test_without_the_extra_it_says_which(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    for call in (require, lambda: crf(*scene)):
        with pytest.raises(ConfigError, match=r"pip install 'sqp\[crf\]'"):
            call()


def test_options_that_are_left_out_are_those_of_the_published_demo(scene):
    installed()
    published = {"smooth_width": 3.0, "smooth_weight": 3.0, "colour_width": 80.0, "colour_spread": 13.0}
    assert np.array_equal(crf(*scene), crf(*scene, iterations=5, colour_weight=10.0, **published))
