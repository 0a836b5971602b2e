"""Masks of another size than their image: refused with both sizes, resized where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sqp.core.errors import CaseError
from sqp.core.types import Case
from sqp.data.sizes import at_size, check_same_size, of_other_size, refusal


def test_size_check_names_both_sizes():
    check_same_size("a.jpg", (4, 5), "a.png", (4, 5))
    with pytest.raises(CaseError, match=r"a\.png is 7x6 pixels .* a\.jpg is 5x4"):
        check_same_size("a.jpg", (4, 5), "a.png", (6, 7))
    with pytest.raises(CaseError, match="unrotated"):
        check_same_size("a.jpg", (4, 5), "a.png", (5, 4))


def test_a_mask_is_resized_by_the_nearest_neighbour_and_a_probability_bilinearly():
    mask = np.array([[True, False], [False, False]])
    for factor in (2, 3):
        large = at_size(mask, "m.png", "a.jpg", (2 * factor, 2 * factor), True)
        assert large.dtype == bool and (large == np.kron(mask, np.ones((factor, factor), bool))).all()
        assert (at_size(large, "m.png", "a.jpg", (2, 2), True) == mask).all()
    ramp = np.array([[0, 1]], np.float32)
    assert at_size(ramp, "p.npy", "a.jpg", (1, 4), True) == pytest.approx(np.array([[0, 0.25, 0.75, 1]]))


@pytest.mark.parametrize("resize", [True, False])
def test_swapped_sides_are_never_resized(resize):
    with pytest.raises(CaseError, match="sides are swapped"):
        at_size(np.zeros((4, 6), bool), "m.png", "a.jpg", (6, 4), resize)
    assert at_size(np.ones((6, 4), bool), "m.png", "a.jpg", (6, 4), resize).all()


def test_sizes_are_read_off_the_headers_upright(tmp_path):
    def saved(name, size, turn=None):
        exif = Image.Exif()
        if turn:
            exif[0x0112] = turn
        Image.new("L", size).save(tmp_path / name, exif=exif)
        return tmp_path / name

    turned = saved("turned.jpg", (6, 4), 6)  # 4 x 6 upright
    cases = [
        Case("fits", turned, mask_path=saved("fits.png", (4, 6))),
        Case("swapped", turned, mask_path=saved("swapped.png", (6, 4))),
        Case("small", turned, mask_path=saved("small.png", (2, 3))),
        Case("soft", turned, probability_path=saved("soft.png", (3, 3))),
        Case("lost", turned, mask_path=tmp_path / "lost.png"),
        Case("none", turned),
    ]
    found = of_other_size(cases)
    assert found.keys() == {"small", "soft"}
    assert "small.png is 2x3 pixels" in found["small"] and "turned.jpg 4x6" in found["small"]
    assert refusal(found, 6).startswith("2 of 6 masks are of another size than their image, e.g. ")
