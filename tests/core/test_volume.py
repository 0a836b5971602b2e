import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from sqp.core.volume import AXES, Geometry


def turned(orientation, shape=(3, 4, 5), spacing=(3.0, 1.0, 0.5)):
    """The geometry of an array [d, h, w] of this shape in a file of another orientation."""
    turn = ornt_transform(axcodes2ornt(AXES), axcodes2ornt(tuple(orientation)))
    affine = Geometry.plain(shape, spacing).affine @ inv_ornt_aff(turn, shape)
    sides = [0, 0, 0]
    for side, axis in zip(shape, turn[:, 0].astype(int), strict=True):
        sides[axis] = side
    return Geometry(tuple(sides), affine)


CODES = st.permutations(["LR", "AP", "IS"]).flatmap(lambda axes: st.tuples(*map(st.sampled_from, axes))).map("".join)


@given(CODES)
def test_every_orientation_has_one_canonical_shape_spacing_and_place(codes):
    geometry = turned(codes)
    assert geometry.canonical_shape == (3, 4, 5)
    assert geometry.spacing == pytest.approx((3.0, 1.0, 0.5), abs=1e-12)
    assert geometry.difference(turned("SPL")) < 1e-12


@given(CODES)
def test_the_way_back_to_the_file_is_exact(codes):
    geometry = turned(codes)
    array = np.random.default_rng(0).random(geometry.shape)
    canonical = geometry.to_canonical(array)
    assert canonical.shape == geometry.canonical_shape
    assert np.array_equal(geometry.to_file(canonical), array)


def test_up_back_and_left_are_the_ends_of_the_axes():
    """RAS voxel (1, 0, 0) lies to the right of (0, 0, 0): the last column is the patient's left."""
    array = np.zeros((2, 2, 2))
    array[0, 0, 1] = 1  # left, posterior, superior
    assert np.argwhere(Geometry((2, 2, 2), np.eye(4)).to_canonical(array)).tolist() == [[1, 1, 1]]


def test_a_rotated_affine_keeps_its_spacing():
    c, s = np.cos(0.3), np.sin(0.3)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.5, 0.7, 4.0])
    geometry = Geometry((5, 6, 7), affine)
    assert geometry.spacing == pytest.approx((4.0, 0.7, 0.5))
    moved = affine.copy()
    moved[:3, 3] += rotation @ [0.25, 0, 0]
    assert geometry.difference(Geometry((5, 6, 7), moved)) == pytest.approx(0.5)
    assert geometry.difference(Geometry((5, 6, 8), affine)) == np.inf


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_an_affine_that_says_nothing(affine):
    with pytest.raises(ValueError, match="singular or not finite"):
        Geometry((2, 2, 2), affine)
