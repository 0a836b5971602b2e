"""Cubes that the localizer of volumes is fitted on: as it will see them, moved without an empty rim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_volumes import write_data

from sqp.data import find_cases
from sqp.data.volumes import read_structure, read_volume
from sqp.fit.volume_cache import build_volume_cache
from sqp.fit.volume_localizer import Cubes, shifted
from sqp.networks.inputs import normalised
from sqp.prompts.volume_localizer import cube


def test_cubes_are_what_the_localizer_will_see(tmp_path):
    data = write_data(tmp_path / "data", 3)
    cases = find_cases(data, labels=[1, 2]).cases
    cubes = Cubes(build_volume_cache(cases, 16, tmp_path / "cache", progress=False), np.array([0, 2]))
    batch = cubes[[(1, 7), (0, 3)]]
    volume = read_volume(data / "images" / "v02.nii.gz")
    truth, _ = read_structure(data / "labels" / "v02.nii.gz", (1, 2))
    assert batch["image"].shape == batch["truth"].shape == (2, 1, 16, 16, 16) and batch["valid"].all()
    assert batch["image"][0, 0].numpy() == pytest.approx(cube(normalised(volume.voxels), 16).numpy(), abs=2e-3)
    assert batch["truth"][0, 0].numpy() == pytest.approx(cube(truth, 16).numpy(), abs=1e-3)
    assert torch.equal(cubes[1]["image"][0], batch["image"][0])


def test_what_is_moved_keeps_its_edge():
    x = torch.rand(2, 1, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    moved = shifted(x, (2, -1, 0))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 0), (0, 1), (0, 0)), mode="edge")
    assert np.array_equal(moved.numpy(), padded[:, :, :5, 1:])
