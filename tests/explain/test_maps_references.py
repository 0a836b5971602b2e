from __future__ import annotations

import numpy as np
import pytest

from sqp.explain.maps import REACH, border_maps, disagreement, random_maps


def test_random_maps_depend_on_seed_and_id_alone():
    one = random_maps(["a", "b"], 32, 8, seed=1)
    assert one.shape == (2, 32, 32) and (one >= 0).all() and (one <= 1).all()
    assert (random_maps(["b"], 32, 8, seed=1)[0] == one[1]).all()
    assert (random_maps(["b"], 32, 8, seed=2)[0] != one[1]).any()
    assert np.abs(np.diff(one, axis=1)).max() < 0.5  # as smooth as a CAM of 8 x 8 cells


def test_nearness_of_the_border():
    mask = np.zeros((2, 40, 40), bool)
    mask[0, 10:30, 10:30] = True
    near = border_maps(mask)
    assert near[0, 10, 20] == 1 and near[0, 8, 20] == pytest.approx(np.exp(-2 / (REACH * 40)))
    assert near[0, 20, 20] < near[0, 12, 20] and (near[1] == 0).all()


def test_how_improbable_a_mask_is():
    mask = np.array([[[True, False]]])
    assert disagreement(mask, np.array([[[0.9, 0.3]]])) == pytest.approx(np.array([[[0.1, 0.3]]]))
