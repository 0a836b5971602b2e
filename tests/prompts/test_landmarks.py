"""Landmarks: extreme points and their box, offsets that agree, features found again, patches at the edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_volumes import ellipsoid

from sqp.core.errors import CaseError, ConfigError
from sqp.fit.landmarks import POSITIONS, Pairs, told_apart
from sqp.fit.volume_cache import VolumeCache
from sqp.prompts.landmarks import (
    LANDMARKS,
    LandmarkNetwork,
    LandmarkSpec,
    Seen,
    cut,
    extreme_points,
    landmarks,
    locate,
    points_box,
    remember,
)
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


class Oracle:
    """Reads the position of a patch, exactly, from volumes whose voxels are numbered from 1."""

    def __init__(self, shape, spacing, latents):
        self.shape, self.spacing, self.latents = shape, torch.tensor(spacing), latents

    def __call__(self, patches):
        middle = patches.shape[-1] // 2 - 1
        number = patches[:, 0, middle, middle, middle].long().numpy() - 1
        return Seen(torch.from_numpy(np.stack(np.unravel_index(number, self.shape), -1)) * self.spacing, None, None)

    def offset(self, start, end):
        return end - start


def numbered(shape):
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def test_what_reads_its_position_finds_targets_off_the_grid():
    shape, spacing = (20, 24, 18), (1.0, 0.5, 2.0)
    spec, targets = replace(SPEC, spacing=spacing), np.random.default_rng(0).uniform(1, np.array(shape) - 1, (300, 3))
    errors = []
    for rows in targets.reshape(-1, LANDMARKS, 3):
        latents = torch.from_numpy((rows - 0.5) * spacing)  # the first voxel, whose centre lies at 0.5, has latent 0
        found = locate(Oracle(shape, spacing, latents), torch.from_numpy(numbered(shape)), spec, match=False)
        errors.append(found - rows)
    assert np.abs(errors).max() < 1e-6


def test_offsets_in_training_are_those_of_what_the_patches_hold(tmp_path):
    shape, spacing = (9, 20, 13), (1.5, 0.5, 2.0)
    batch = pairs(tmp_path, shape, replace(SPEC, spacing=spacing))[[(0, draw) for draw in range(50)]]
    read = Oracle(shape, spacing, None)
    found = read.offset(read(batch["image"]).latent, read(batch["other"]).latent)
    assert torch.allclose(found.float(), batch["offset"]) and found.abs().max() > 5


def test_the_voxels_that_are_paired_are_the_same_of_the_volume_and_none_lies_beyond_it(tmp_path):
    batch = pairs(tmp_path, (9, 20, 13))[[(0, draw) for draw in range(50)]]
    places, told = batch["places"], batch["told"]
    one, again = (batch[name].flatten(1).gather(1, places[:, k]) for k, name in enumerate(("image", "again")))
    assert told.all() and (one > 0).all() and torch.equal(one, again)
    assert all(len(set(row.tolist())) == POSITIONS for row in one)
    assert torch.equal(batch["valid"], batch["again"] > 0)
    moved = (places[:, 0] - places[:, 1]) != 0
    assert moved.float().mean() > 0.9  # by their place in the patch they cannot be told


def test_of_a_volume_of_few_voxels_all_are_told(tmp_path):
    batch = pairs(tmp_path, (1, 3, 5))[[(0, 1), (0, 2)]]
    for k, name in enumerate(("image", "again")):
        numbers = batch[name].flatten(1).gather(1, batch["places"][:, k])
        assert all(
            sorted(row[told].tolist()) == list(range(1, 16)) for row, told in zip(numbers, batch["told"], strict=True)
        )


def test_supports_are_the_first_with_structure(tmp_path):
    full, shape = ellipsoid((6, 6, 6)), (6, 6, 6)
    data = pairs(tmp_path, shape, truths=[~full & full, full, ~full & full, ~full, full])
    assert [mask.sum() for _, mask in data.supports(2)] == [full.sum(), (~full).sum()]
    empty = pairs(tmp_path / "e", shape, replace(SPEC, spacing=(9.0, 2.5, 9.0)), [~full & full])
    with pytest.raises(ConfigError, match=r"structure left at spacing \[9, 2.5, 9\] mm: give a finer one"):
        empty.supports(5)


def pairs(folder, shape, spec=SPEC, truths=None):
    """Of numbered volumes in a cache of its own."""
    truths = [np.ones(shape, bool)] if truths is None else truths
    folder.mkdir(exist_ok=True)
    (folder / "done").write_text("{}")
    for row, truth in enumerate(truths):
        np.save(folder / f"{row}-image.npy", numbered(shape))
        np.save(folder / f"{row}-truth.npy", truth)
    return Pairs(VolumeCache(folder), np.arange(len(truths)), spec)


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
    places, told = torch.arange(32).expand(2, 2, -1), torch.ones(2, 32, dtype=torch.bool)
    mixed = features.flip(2)
    assert told_apart(features, features, places, told) < 0.5 < 2 < told_apart(features, mixed, places, told)
    half = told & (torch.arange(32) < 16)
    expected = told_apart(features, mixed, places[..., :16], told[:, :16])
    assert torch.allclose(told_apart(features, mixed, places, half), expected)  # what is not told counts neither way


def test_what_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="fit one with `sqp fit localizer --method landmarks`"):
        landmarks(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(CaseError, match="finds structures in volumes, and this image is 2D"):
        landmarks(np.zeros((4, 4, 3), np.uint8), checkpoint="x")
