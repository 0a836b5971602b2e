"""Patches of volumes: what they hold, where they lie, and that they come again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_networks import SMALL
from tiny_volumes import SHAPE, SPACING, write_data, write_nifti

from sqp.data import find_cases
from sqp.data.volumes import read_structure, read_volume
from sqp.fit.volume_cache import PATCHES, Patches, PatchPlan, build_volume_cache
from sqp.networks.inputs import normalised


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), 3)


@pytest.fixture(scope="module")
def cache(data, tmp_path_factory):
    """At the volumes' own spacing."""
    cases = find_cases(data, labels=[1, 2]).cases
    return build_volume_cache(cases, (0.0, 0.0, 0.0), tmp_path_factory.mktemp("cache"), progress=False)


def test_whole_volumes_are_what_the_segmenter_will_see(data, cache):
    whole = Patches(cache, np.arange(3), SMALL["unet3d"], flat=False)[1]
    volume = read_volume(data / "images" / "v01.nii.gz")
    truth, _ = read_structure(data / "labels" / "v01.nii.gz", (1, 2))
    assert whole["image"].shape == (1, 1, *SHAPE) and whole["valid"].all()
    assert whole["image"][0, 0].numpy() == pytest.approx(normalised(volume.voxels), abs=2e-3)
    assert np.array_equal(whole["truth"][0, 0].numpy(), truth)


def test_3d_patches_lie_in_the_volume_and_odd_draws_on_the_structure(cache):
    spec = replace(SMALL["unet3d"], patch=(4, 6, 20))  # w is longer than the volume
    batch = Patches(cache, np.arange(3), spec, flat=False)[[(0, 1), (2, 4), (1, 7)]]
    assert batch["image"].shape == (3, 1, 4, 6, 20) == batch["truth"].shape == batch["valid"].shape
    assert (batch["valid"].sum(-1) == 12).all()
    assert batch["truth"][0].any() and batch["truth"][2].any()
    assert (batch["image"][~batch["valid"]] == 0).all() and not batch["truth"][~batch["valid"]].any()
    inside = batch["image"][batch["truth"]]
    assert inside.mean() > batch["image"][~batch["truth"] & batch["valid"]].mean() + 1


def test_a_smaller_volume_lies_anywhere_in_its_patch_so_that_its_edge_tells_no_flip(cache):
    data = Patches(cache, np.arange(3), replace(SMALL["unet3d"], patch=(4, 6, 20)), flat=False)
    filled = data[[(0, draw) for draw in range(100)]]["valid"][:, 0, 0, 0]
    starts = filled.int().argmax(-1)
    assert set(starts.tolist()) == set(range(20 - SHAPE[-1] + 1))
    assert all(row[start : start + SHAPE[-1]].all() for row, start in zip(filled, starts, strict=True))


def test_flat_patches_have_the_slice_in_the_middle_of_its_neighbours(cache):
    spec = replace(SMALL["unet25d"], patch=(1, 14, 12), neighbours=2)
    data = Patches(cache, np.arange(3), spec, flat=True)
    whole = data[0]["image"][0, 0]
    for draw in range(40):
        batch = data[[(0, draw)]]
        assert batch["image"].shape == (1, 5, 14, 12) and batch["truth"].shape == (1, 1, 14, 12)
        z = next(z for z in range(10) if torch.equal(whole[z], batch["image"][0, 2]))
        around = [min(max(z + k, 0), 9) for k in (-2, -1, 0, 1, 2)]
        assert torch.equal(batch["image"][0], whole[around])
        assert torch.equal(batch["truth"][0, 0], data[0]["truth"][0, 0, z])


def test_every_volume_four_times_an_epoch_in_another_order_each(cache):
    plan = PatchPlan(6, 5, seed=0)
    first, again = [list(plan) for _ in range(2)]
    plan.set_epoch(1)
    assert first == again != list(plan)
    rows = [row for batch in first for row, _ in batch]
    draws = [draw for batch in first for _, draw in batch]
    assert len(first) == len(plan) == 4 and set(map(len, first)) == {5} and PATCHES == 4
    assert max(map(rows.count, range(6))) <= PATCHES and len(set(draws)) == 20
    assert sum(draw % 2 for draw in draws) == 10


def test_a_broken_volume_is_told_and_the_cache_is_kept(data, tmp_path):
    write_data(tmp_path / "d", 2)
    write_nifti(tmp_path / "d" / "labels" / "v01.nii.gz", np.ones(SHAPE, bool), (1.0, 1.0, 1.0))
    cases = find_cases(tmp_path / "d", labels=[1]).cases
    one = build_volume_cache(cases, SPACING, tmp_path / "c", progress=False)
    assert list(one.broken) == [1] and "another affine" in one.broken[1]
    assert build_volume_cache(cases, SPACING, tmp_path / "c", progress=False).folder == one.folder
    other = build_volume_cache(cases, (3.0, 2.0, 2.0), tmp_path / "c", progress=False)
    assert other.folder != one.folder and other.read(0)[0].shape == (10, 7, 4)
