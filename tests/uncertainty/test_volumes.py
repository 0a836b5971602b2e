"""Samplers, measures and scores on volumes `[s, d, h, w]`: as on an image, voxel by voxel; flips are undone exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_networks import write_checkpoint
from tiny_volumes import SHAPE, SPACING, bright, ellipsoid

from sqp.core.errors import ConfigError
from sqp.core.frame import VolumeFrame
from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt, Samples
from sqp.core.volume import Geometry, Volume
from sqp.segmenters import build_segmenter
from sqp.segmenters.ensemble import EnsembleSegmenter
from sqp.uncertainty import MEASURES, SCORES, all_maps, mask_from_logits, mask_on_grid, sample, scores, slab_maps
from sqp.uncertainty.moments import SLAB, Moments, mean_probability_map
from sqp.uncertainty.tta import FLIPS, VolumeTransform, draw_volume_transforms


@pytest.fixture(scope="module")
def volume():
    return Volume(bright(ellipsoid()), Geometry.plain(SHAPE, SPACING))


@pytest.fixture(scope="module", params=["unet3d", "unet25d"])
def segmenter(request, tmp_path_factory):
    return build_segmenter(
        request.param, write_checkpoint(tmp_path_factory.mktemp("w") / "w.safetensors", request.param)
    )


def test_mc_dropout_differs_and_comes_again(segmenter, volume):
    one, two = (sample(segmenter, volume, Prompt(), 3, torch_generator(0), sampler="mc_dropout") for _ in range(2))
    assert torch.equal(one.logits, two.logits)
    assert not torch.equal(one.logits[1], one.logits[0]) and not torch.equal(one.logits[1], one.logits[2])
    plain = sample(segmenter, volume, Prompt(), 1, torch_generator(0), sampler="deterministic")
    torch.testing.assert_close(one.logits[0], plain.logits[0], atol=1e-5, rtol=1e-4)
    assert one.logits.shape[1:] == one.frame.grid and mask_from_logits(one).shape == SHAPE


def test_the_other_samplers(segmenter, volume, tmp_path):
    for sampler in ("tta", "noise"):
        samples = sample(segmenter, volume, Prompt(), 3, torch_generator(0), sampler=sampler)
        assert samples.logits.shape[0] == 3 and not torch.equal(samples.logits[1], samples.logits[0])
    with pytest.raises(ConfigError, match="ignores prompts"):
        sample(segmenter, volume, Prompt(), 3, torch_generator(0), sampler="prompt_jitter")
    other = build_segmenter(segmenter.name, write_checkpoint(tmp_path / "w.safetensors", segmenter.name, seed=1))
    samples = sample(EnsembleSegmenter([segmenter, other]), volume, Prompt(), 2, torch_generator(0), sampler="ensemble")
    assert not torch.equal(samples.logits[1], samples.logits[0])


@pytest.mark.parametrize("flips", FLIPS)
def test_flips_of_volume_and_prompt_are_undone_exactly(flips):
    voxels = np.zeros((4, 5, 6), np.float32)
    voxels[1:3, 2:4, 1:4] = 1
    volume, transform = Volume(voxels, Geometry.plain((4, 5, 6))), VolumeTransform(flips)
    moved = transform.image(volume)
    prompt = transform.prompt(Prompt(box=(1, 2, 4, 4), depth=(1, 3)), (4, 5, 6))
    (x0, y0, x1, y1), (z0, z1) = map(int, prompt.box), map(int, prompt.depth)
    expected = np.zeros((4, 5, 6), bool)
    expected[z0:z1, y0:y1, x0:x1] = True
    assert np.array_equal(moved.voxels > 0, expected)
    frame = VolumeFrame((4, 5, 6), (4, 5, 6), (4, 5, 6))
    noise = torch.rand(4, 5, 6)
    there = torch.from_numpy(transform.image(volume.with_voxels(noise.numpy())).voxels)
    assert torch.equal(transform.inverse(there, frame, frame, noise), noise)


def test_a_contrast_keeps_the_range_and_the_seven_flips_come_first():
    volume = Volume(bright(ellipsoid()), Geometry.plain(SHAPE))
    changed = VolumeTransform(gamma=0.8).image(volume).voxels
    assert changed.min() == pytest.approx(volume.voxels.min()) and changed.max() == pytest.approx(volume.voxels.max())
    assert changed.mean() > volume.voxels.mean() + 1
    made = draw_volume_transforms(20, torch_generator(0))
    assert [one.flips for one in made[:7]] == list(FLIPS[1:]) and all(one.gamma == 1 for one in made[:7])
    assert made[7:] != made[:13] and len(made) == 20 and all(one.gamma != 1 for one in made[7:])


def test_measures_and_scores_are_those_of_the_voxels_laid_side_by_side():
    """A volume's maps and scores equal those of an image with the same voxels, so nothing depends on the axes."""
    logits = torch.randn(5, 4, 6, 8, generator=torch_generator(0)) * 3
    flat = logits.reshape(5, 4 * 6, 8)
    for name, value in all_maps(logits, MEASURES).items():
        torch.testing.assert_close(value.reshape(24, 8), all_maps(flat, [name])[name], atol=1e-6, rtol=1e-6)
    mask = logits.mean(0) > 0
    ours, theirs = scores(logits, mask), scores(flat, mask.reshape(24, 8))
    assert set(ours) == set(SCORES)
    assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True)


def test_the_mask_on_the_grid_and_back():
    frame = VolumeFrame(SHAPE, (20, 14, 6), (20, 14, 6))
    p = torch.full((1, 20, 14, 6), -3.0)
    p[:, 4:12, 3:9, 1:4] = 3.0
    samples = Samples(p, torch.tensor([torch.nan]), frame)
    mask = mask_from_logits(samples)
    assert mask.shape == SHAPE and mask[2:6, 3:9, 2:8].all() and mask.sum() == 4 * 6 * 6
    assert torch.equal(mask_on_grid(mask, samples), p[0] > 0)


def test_the_mean_of_a_volume_is_made_slab_by_slab(monkeypatch):
    logits = torch.randn(3, 37, 4, 5, generator=torch_generator(0)) * 3
    most, of = [], Moments.of
    monkeypatch.setattr(Moments, "of", lambda part: most.append(part.shape[1]) or of(part))
    assert torch.equal(mean_probability_map(logits), torch.sigmoid(logits).mean(0)) and max(most) == SLAB


def test_maps_made_slab_by_slab_are_the_same():
    logits = torch.randn(3, 37, 4, 5, generator=torch_generator(0)) * 3
    moments, maps = slab_maps(logits)
    whole = all_maps(logits)
    assert set(maps) == set(whole)
    for name, value in whole.items():
        torch.testing.assert_close(maps[name], value, atol=1e-6, rtol=1e-6)
    mask = logits.mean(0) > 0
    assert scores(logits, mask, moments=moments) == pytest.approx(scores(logits, mask), abs=1e-6, nan_ok=True)
