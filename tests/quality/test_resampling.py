"""Pillow's resizing as matrices: the same planes, at sizes with and without whole blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sqp.quality.channels import image_planes, resize
from sqp.quality.resampling import colours, plane


@pytest.mark.parametrize(
    ("h", "w", "differ"),
    [
        *((20, 31, 0.005), (32, 32, 0), (64, 97, 0.005), (150, 400, 0.005), (641, 500, 0.005), (768, 1024, 0.005)),
        (97, 64, 0.25),  # tall: the other order of the passes
    ],
)
def test_images_as_pillow_shrinks_them(h, w, differ, tmp_path):
    rng = np.random.default_rng(h)
    image = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    expected = image_planes(tmp_path / "image.png", 32)
    found = colours(torch.from_numpy(image), 32).numpy()
    off = np.abs(found - expected)
    assert off.max() <= 1 and (off > 0).mean() <= differ  # ties, which Pillow's whole numbers round otherwise


@settings(max_examples=30, deadline=None)
@given(h=st.integers(2, 200), w=st.integers(2, 200), size=st.integers(8, 64))
def test_maps_as_pillow_resizes_them(h, w, size):
    values = np.random.default_rng(h * w).normal(size=(h, w)).astype(np.float32)
    np.testing.assert_allclose(plane(torch.from_numpy(values), size).numpy(), resize(values, size), atol=2e-5)
