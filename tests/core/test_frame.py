"""The frame: as segment_anything's own ResizeLongestSide, and there and back without a shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from sqp.core.frame import Frame

SIZES = [(1, 1), (1, 7), (7, 1), (3, 6000), (6000, 3), (450, 600), (600, 450), (767, 1022), (1024, 1024), (6000, 4000)]
sides = st.integers(1, 6000)
networks = st.sampled_from([(256, 4), (256, 1), (1024, 4), (224, 16), (96, 3)])


@given(h=sides, w=sides, size=st.sampled_from([96, 224, 256, 1024]))
@settings(deadline=None, max_examples=40)
def test_sizes_are_those_of_segment_anything(h, w, size):
    expected = ResizeLongestSide.get_preprocess_shape(h, w, size)
    assert Frame((h, w), size).resized == tuple(max(1, side) for side in expected)
    assert max(Frame((h, w), size).resized) == size


@given(h=st.integers(20, 6000), w=st.integers(20, 6000), data=st.data())
@settings(deadline=None, max_examples=40)
def test_coordinates_and_boxes_are_those_of_segment_anything(h, w, data):
    x, y = st.floats(0, w, width=32), st.floats(0, h, width=32)
    points = np.array(data.draw(st.lists(st.tuples(x, y), min_size=1, max_size=4)), dtype=np.float32)
    boxes = np.array(data.draw(st.lists(st.tuples(x, y, x, y), min_size=1, max_size=4)), dtype=np.float32)
    frame, theirs = Frame((h, w), 1024, 4), ResizeLongestSide(1024)
    np.testing.assert_allclose(frame.points_to_input(points), theirs.apply_coords(points, (h, w)), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(frame.boxes_to_input(boxes), theirs.apply_boxes(boxes, (h, w)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("original", SIZES)
@pytest.mark.parametrize(("size", "stride"), [(256, 4), (1024, 4), (224, 16)])
def test_the_whole_image_becomes_the_whole_input(original, size, stride):
    frame = Frame(original, size, stride)
    (h, w), (rh, rw), (gh, gw) = original, frame.resized, frame.grid
    np.testing.assert_allclose(frame.boxes_to_input([[0, 0, w, h]]), [[0, 0, rw, rh]], rtol=1e-6)
    assert min(rh, rw) >= 1
    assert (gh - 1) * stride < rh <= gh * stride
    assert (gw - 1) * stride < rw <= gw * stride
    assert frame.points_to_input([]).shape == (0, 2)


def test_no_points_and_one_box():
    frame = Frame((300, 600), 1024)
    assert frame.boxes_to_input((0, 0, 600, 300)).shape == (1, 4)
    assert frame.boxes_to_input(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("original", [(30, 40), (40, 30), (64, 64), (200, 150), (90, 400), (3, 90), (1, 1)])
def test_the_image_is_resized_as_the_official_predictor_does_it(original):
    """It resizes uint8 by Pillow, so values agree to the rounding."""
    image = np.random.default_rng(0).integers(0, 256, (*original, 3), dtype=np.uint8)
    ours = Frame(original, 64, 4).image_to_input(image)
    assert ours.dtype == torch.float32
    theirs = ResizeLongestSide(64).apply_image(image)
    np.testing.assert_allclose(ours[0].permute(1, 2, 0), theirs, atol=1.01)


@pytest.mark.parametrize("original", [(30, 40), (40, 30), (3, 90), (90, 1)])
def test_padding_lies_below_and_right_and_is_cropped_again(original):
    frame = Frame(original, 64, 4)
    image = np.random.default_rng(0).integers(1, 256, (*original, 3), dtype=np.uint8)
    resized = frame.image_to_input(image)
    padded = frame.pad(resized)
    assert padded.shape == (1, 3, 64, 64)
    assert int((padded > 0).sum()) == resized.numel()  # nothing but zeros was added
    assert torch.equal(frame.crop_to_grid(padded[..., ::4, ::4]), resized[..., ::4, ::4])


@given(h=st.integers(1, 120), w=st.integers(1, 120), network=networks, value=st.floats(-5, 5, width=32))
@example(h=1, w=3, network=(224, 16), value=4.799652576446533)  # float32 sums lost digits here
@settings(deadline=None, max_examples=50)
def test_a_constant_stays_constant_there_and_back(h, w, network, value):
    frame = Frame((h, w), *network)
    on_image = frame.grid_to_image(torch.full((2, *frame.grid), value))
    assert on_image.shape == (2, h, w)
    torch.testing.assert_close(on_image, torch.full((2, h, w), value))
    torch.testing.assert_close(frame.image_to_grid(on_image), torch.full((2, *frame.grid), value))


@pytest.mark.parametrize("original", [(150, 200), (200, 150), (97, 211), (300, 300), (40, 300)])
def test_there_and_back_shifts_nothing(original):
    """A smooth blob keeps its centre within a tenth of a grid cell, also where the last cells reach past the image."""
    h, w = original
    y, x = np.mgrid[:h, :w] + 0.5
    centre = np.array([0.6 * h, 0.35 * w])
    blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * (0.1 * min(h, w)) ** 2)).astype(np.float32)
    frame = Frame(original, 256, 4)
    back = frame.grid_to_image(frame.image_to_grid(blob)).numpy()
    allowed = 0.1 * max(original) / 64
    found = np.array([(back * y).sum(), (back * x).sum()]) / back.sum()
    assert (np.abs(found - centre) < allowed).all()
    assert back.max() > 0.5


@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_grid_cell_is_the_mean_over_its_area(data):
    """Image sides that the grid divides: exactly the blocks' means; the whole mean is kept."""
    rows, columns, step = data.draw(st.integers(1, 16)), 16, data.draw(st.integers(1, 5))
    frame = Frame((rows * step, columns * step), 64, 4)
    assert frame.grid == (rows, columns)
    maps = np.random.default_rng(rows).uniform(size=(2, rows * step, columns * step)).astype(np.float32)
    blocks = maps.reshape(2, rows, step, columns, step).mean((2, 4))
    np.testing.assert_allclose(frame.image_to_grid(maps), blocks, rtol=1e-5)
    mask = maps[0] > 0.5
    share = mask.reshape(rows, step, columns, step).mean((1, 3))
    assert np.array_equal(frame.mask_to_grid(mask).numpy(), share >= 0.5)


def test_grid_to_image_is_the_postprocessing_of_segment_anything():
    frame = Frame((75, 100), 128, 4)
    low = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(low, (128, 128), mode="bilinear", align_corners=False)
    theirs = torch.nn.functional.interpolate(whole[..., :96, :128], (75, 100), mode="bilinear", align_corners=False)
    ours = frame.grid_to_image(frame.crop_to_grid(low))
    torch.testing.assert_close(ours[..., :73, :], theirs[..., :73, :])  # the last rows: SAM mixes the padding in


def test_read_only_turned_and_foreign_arrays_are_taken_without_a_warning():
    """Warnings are errors here: torch warns of memory that must not be written."""
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image.flags.writeable = False
    frame = Frame((20, 30), 32, 4)
    assert torch.equal(frame.image_to_input(image), frame.image_to_input(image.copy()))
    assert torch.equal(frame.image_to_input(image[:, ::-1]), frame.image_to_input(image[:, ::-1].copy()))
    mask = image[..., 0] > 128
    mask.flags.writeable = False
    assert frame.mask_to_grid(mask).shape == frame.grid
    assert frame.mask_to_grid(mask[::-1, ::-1]).dtype == torch.bool
    box = np.array([1, 2, 3, 4], dtype=np.float32)
    box.flags.writeable = False
    assert frame.boxes_to_input(box).shape == (1, 4)
    assert frame.points_to_input(box.reshape(2, 2)).shape == (2, 2)
    same = Frame((20, 30), 30)
    before = image.copy()
    same.image_to_input(image).zero_()
    assert np.array_equal(image, before)
