import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.prompts import clip_box, margin_box, tight_box


def test_tight_box_has_exclusive_far_edges():
    mask = np.zeros((6, 8), bool)
    mask[2, 3] = True
    assert tight_box(mask) == (3, 2, 4, 3)
    mask[5, 7] = True
    assert tight_box(mask) == (3, 2, 8, 6)
    with pytest.raises(ValueError, match="empty"):
        tight_box(np.zeros((6, 8), bool))


def test_margin_grows_each_side_by_its_own_length_and_stays_inside():
    assert margin_box((40, 40, 60, 50), 0.5, (100, 100)) == (30, 35, 70, 55)
    assert margin_box((0, 0, 60, 50), 0.5, (60, 100)) == (0, 0, 90, 60)
    assert margin_box((40, 40, 60, 50), -0.25, (100, 100)) == (45, 42.5, 55, 47.5)


@given(
    box=st.tuples(*[st.floats(-50, 150)] * 4),
    h=st.integers(1, 100),
    w=st.integers(1, 100),
)
@settings(deadline=None, max_examples=25)
def test_clipped_box_is_inside_ordered_and_at_least_a_pixel(box, h, w):
    x0, y0, x1, y1 = clip_box(box, (h, w))
    assert 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h
    assert x1 - x0 == pytest.approx(max(1, x1 - x0)) and y1 - y0 == pytest.approx(max(1, y1 - y0))
