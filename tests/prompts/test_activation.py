"""Algorithm 1 of the paper, line by line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sqp.core.seeding import numpy_generator
from sqp.prompts.activation import activation_prompt, threshold_mask, without_small


def heatmap():
    """10 x 20, low everywhere but in rows 2-4, columns 5-10."""
    values = np.full((10, 20), 0.1)
    values[2:5, 5:11] = 0.9
    values[3, 7] = 1.0
    return values


def test_the_box_of_what_is_at_or_above_the_percentile():
    found = activation_prompt(heatmap(), numpy_generator(0), percentile=95, num_points=3, amplification=2)
    assert found.box == (5, 2, 11, 5) and not found.sampled and not found.flat
    assert len(found.points) == 3 and found.labels == (1, 1, 1)


def test_the_box_is_the_extent_of_all_components():
    values = heatmap()
    values[9, 19] = 0.95
    found = activation_prompt(values, numpy_generator(0), 95, 1, 2)
    assert found.box == (5, 2, 20, 10)
    cleaned = activation_prompt(values, numpy_generator(0), 92, 1, 2, clean_up=0.5)
    assert cleaned.box == (5, 2, 11, 5)


def test_fewer_than_four_active_pixels_are_replaced_by_samples():
    values = heatmap()
    many = activation_prompt(values, numpy_generator(0), percentile=100, num_points=400, amplification=50)
    assert many.sampled and many.box == (5, 2, 11, 5)  # 0.1 ^ 50 is never drawn, 0.9 ^ 50 among 400 is
    one = activation_prompt(values, numpy_generator(0), percentile=100, num_points=1, amplification=2000)
    assert one.sampled and one.box == (7, 3, 8, 4) and one.points == ((7.5, 3.5),)
    assert not activation_prompt(values, numpy_generator(0), percentile=98, num_points=1, amplification=2).sampled


def test_points_follow_the_amplified_heatmap():
    """Drawn shares against the closed form p ~ h ^ a."""
    values = np.array([[0.25, 0.5], [0.75, 1.0]])
    found = activation_prompt(values, numpy_generator(1), 0, 40_000, 2.0)
    x, y = np.array(found.points).T
    share = np.histogram2d(y, x, bins=2, range=[[0, 2], [0, 2]])[0] / 40_000
    assert share == pytest.approx(values**2 / (values**2).sum(), abs=0.01)


def test_negative_points_lie_where_the_heatmap_is_low():
    found = activation_prompt(heatmap(), numpy_generator(0), 95, 2, 30, negatives=20)
    assert found.labels == (1,) * 2 + (0,) * 20
    inside = [2 <= y < 5 and 5 <= x < 11 for x, y in found.points]
    assert all(inside[:2]) and not any(inside[2:])


def test_a_constant_heatmap_is_the_whole_image_and_says_so():
    found = activation_prompt(np.zeros((4, 6)), numpy_generator(0), 80, 5, 4)
    assert found.box == (0, 0, 6, 4) and found.flat and not found.sampled


def test_small_components_go():
    mask = np.zeros((6, 6), bool)
    mask[:2, :2] = mask[4, 4] = mask[0, 4:] = True
    assert without_small(mask, 0.5).sum() == 6 and without_small(mask, 1.0).sum() == 4
    assert not without_small(np.zeros((3, 3), bool), 0.5).any()


@given(
    arrays(np.float64, (5, 7), elements=st.floats(0, 1, width=16)),
    st.floats(0, 100),
    st.integers(1, 8),
    st.floats(0, 20),
    st.integers(0, 5),
)
def test_everything_lies_on_the_heatmap(values, percentile, num_points, amplification, negatives):
    found = activation_prompt(values, numpy_generator(0), percentile, num_points, amplification, negatives=negatives)
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < x1 <= 7 and 0 <= y0 < y1 <= 5
    assert all(0 < x < 7 and 0 < y < 5 for x, y in found.points)
    assert len(found.points) == len(found.labels) == num_points + negatives
    assert found.sampled == (threshold_mask(values, percentile).sum() < 4)
