"""Landmarks: extreme points and their box, offsets that agree, features found again, patches at the edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_volumes import ellipsoid

from sqp.errors import CaseError, ConfigError
from sqp.fit.landmarks import told_apart
from sqp.prompts.landmark_network import LANDMARKS, LandmarkNetwork, LandmarkSpec
from sqp.prompts.landmarks import cut, extreme_points, landmarks, locate, points_box, remember
from sqp.prompts.volume_prompts import volume_box

SPEC = LandmarkSpec((1.0, 1.0, 1.0), 16, (20.0, 20.0, 20.0), 4)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return LandmarkNetwork(SPEC).eval()


def test_the_box_through_extreme_points_is_the_masks_own():
    for centre in ((0.45, 0.55, 0.4), (0.5, 0.4, 0.6)):
        mask = ellipsoid((20, 24, 18), centre)
        assert (points_box(extreme_points(mask)) == volume_box(mask)).all()


def test_offsets_are_bounded_and_turn_around(network):
    one, other = torch.randn(5, 3) * 9, torch.randn(5, 3) * 9
    there = network.offset(one, other)
    assert torch.allclose(there, -network.offset(other, one)) and (there.abs() <= 20).all()
    assert (network.offset(one, one) == 0).all()


def test_patches_beyond_the_volume_are_its_mean():
    voxels = torch.arange(1.0, 28.0).reshape(3, 3, 3)
    (patch,) = cut(voxels, np.array([[0.5, 1.5, 2.5]]), 4)[:, 0]
    assert patch[1, 1, 1] == voxels[0, 1, 2]  # the voxel of the centre lies just before the middle
    assert (patch[0] == 0).all() and (patch[..., 2:] == 0).all() and patch.count_nonzero() == 3 * 3 * 2
    assert (cut(voxels, np.array([[99.0, 0, 0]]), 4) == 0).all()


def test_a_support_finds_its_own_landmarks_again(network):
    mask = ellipsoid((20, 24, 18))
    voxels = torch.randn(20, 24, 18, generator=torch.Generator().manual_seed(1)) + 3 * torch.from_numpy(mask)
    remember(network, [(voxels, mask)], SPEC)
    points = extreme_points(mask)
    at_home = network(cut(voxels, points, SPEC.patch)).latent
    assert torch.allclose(network.latents, at_home, atol=1e-5)
    found = locate(network, voxels, SPEC)
    assert found.shape == (LANDMARKS, 3) and (found > 0).all() and (found < mask.shape).all()
    unmatched = locate(network, voxels, SPEC, match=False)
    assert (np.abs(found - unmatched) <= 4.5).all()  # matched nearby


def test_equal_features_are_told_apart_and_mixed_ones_are_not():
    features = torch.nn.functional.normalize(
        torch.randn(2, 16, 4, 4, 4, generator=torch.Generator().manual_seed(0)), dim=1
    )
    places = torch.arange(32)
    assert told_apart(features, features, places) < 0.5 < 2 < told_apart(features, features.flip(2), places)


def test_what_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="fit one with `sqp fit localizer --method landmarks`"):
        landmarks(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(CaseError, match="finds structures in volumes, and this image is 2D"):
        landmarks(np.zeros((4, 4, 3), np.uint8), checkpoint="x")
