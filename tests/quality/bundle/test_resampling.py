"""Pillow's resizing as matrices: the same planes, larger and smaller, tall and wide, with and without whole blocks."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sqp.quality.bundle.onnx_graph import colours, plane
from sqp.quality.model.channels import image_planes, resize

SIDES = st.one_of(st.integers(2, 200), st.integers(64, 1300))
HEIGHT_FIRST = int(PIL.__version__.split(".")[0]) >= 13
"""Whether Pillow shrinks the height of a tall image first, as the graph does; before, it rounds in another order."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@settings(max_examples=25, deadline=None)
@given(h=SIDES, w=SIDES, size=st.sampled_from([32, 96, 224]))
@example(h=97, w=64, size=32)  # tall: Pillow 13 shrinks the height first
@example(h=32, w=32, size=32)
@example(h=768, w=1024, size=96)
@example(h=3000, w=30, size=96)
@example(h=30, w=3000, size=96)
def test_images_as_pillow_resizes_them(folder, h, w, size):
    image = np.random.default_rng(h * w).integers(0, 256, (h, w, 3)).astype(np.uint8)
    Image.fromarray(image).save(folder / "image.bmp")
    expected = image_planes(folder / "image.bmp", size)
    exact = HEIGHT_FIRST or h <= w
    np.testing.assert_allclose(colours(torch.from_numpy(image), size).numpy(), expected, rtol=0, atol=0 if exact else 1)


@settings(max_examples=30, deadline=None)
@given(h=SIDES, w=SIDES, size=st.integers(8, 96))
@example(h=3000, w=30, size=96)
def test_maps_as_pillow_resizes_them(h, w, size):
    values = np.random.default_rng(h * w).normal(size=(h, w)).astype(np.float32)
    found, expected = plane(torch.from_numpy(values), size).numpy(), resize(values, size)
    np.testing.assert_allclose(found, expected, atol=5e-7)
    if HEIGHT_FIRST or h <= w:
        assert (found != expected).mean() < 0.02  # ties, which sums in another order round to the other side


@settings(max_examples=30, deadline=None)
@given(h=SIDES, w=SIDES, size=st.sampled_from([32, 96, 224]))
def test_masks_as_pillow_resizes_them_in_half_precision(h, w, size):
    mask = np.random.default_rng(h * w).integers(0, 2, (h, w)).astype(bool)
    found, expected = plane(torch.from_numpy(mask), size).half().numpy(), resize(mask, size).astype(np.float16)
    np.testing.assert_allclose(found, expected, atol=2**-11)
    assert (found != expected).mean() < 0.001
