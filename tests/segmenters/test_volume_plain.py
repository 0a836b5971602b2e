"""Plain networks of volumes: parts and whole, spacing, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_networks import SMALL, write_checkpoint
from tiny_volumes import SHAPE, SPACING, bright, ellipsoid

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.core.volume import Geometry, Volume
from sqp.networks.inputs import normalised
from sqp.segmenters import build_segmenter
from sqp.segmenters.volume_plain import (
    VOLUME_NETWORKS,
    VolumeSegmenter,
    build_volume_network,
    network_logits,
    with_neighbours,
)


def volume(shape=SHAPE, spacing=SPACING):
    return Volume(bright(ellipsoid(shape)), Geometry.plain(shape, spacing))


@pytest.mark.parametrize("name,grid", [("unet3d", (15, 14, 9)), ("unet25d", (10, 14, 9))])
def test_the_grid_is_the_volume_at_the_network_s_spacing(tmp_path, name, grid):
    segmenter = build_segmenter(name, write_checkpoint(tmp_path / "w.safetensors", name))
    embedding = segmenter.encode(volume())
    assert embedding.frame.grid == grid and embedding.features.shape == (1, 1, *grid)
    assert segmenter.decode(embedding, [Prompt()] * 2).logits.shape == (2, 1, *grid)


class Local(torch.nn.Module):
    """Each voxel for itself: parts cannot differ from the whole."""

    def forward(self, x):
        return 2 * x[:, :1] - 1


def test_parts_are_put_together_to_the_whole():
    spec = SMALL["unet3d"]
    x = torch.rand(1, 1, 20, 37, 18, generator=torch.Generator().manual_seed(0))
    out = network_logits(Local(), x, spec, torch.device("cpu"))
    assert torch.allclose(out, 2 * x - 1, atol=1e-5)


class Coarse(torch.nn.Module):
    """The mean of blocks of 16 x 16, as fine as the input: a flip of it is that of the input, on multiples of 16."""

    def forward(self, x):
        return torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(x[:, 1:2], 16), scale_factor=16)


@pytest.mark.parametrize("sides", [(32, 48), (20, 38), (12, 38), (20, 10)])  # less than the patch's 16: zeros around
def test_2_5d_a_flipped_volume_has_the_flipped_result(sides):
    spec, x = SMALL["unet25d"], torch.rand(1, 1, 3, *sides, generator=torch.Generator().manual_seed(0))
    out = network_logits(Coarse(), x, spec, torch.device("cpu"))
    assert out.shape == x.shape
    for axis in (3, 4):
        flipped = network_logits(Coarse(), x.flip(axis), spec, torch.device("cpu"))
        assert torch.allclose(flipped.flip(axis), out, atol=1e-6)
    filled = [min(side, 16) / 16 for side in sides]
    of_ones = network_logits(Coarse(), torch.ones_like(x), spec, torch.device("cpu"))
    assert torch.allclose(of_ones, torch.tensor(filled[0] * filled[1]))


class Middle(torch.nn.Module):
    """The middle channel, marked by its neighbours."""

    def forward(self, x):
        return x[:, 1:2] + 10 * x[:, :1] + 100 * x[:, 2:]


def test_2_5d_sees_each_slice_between_its_neighbours():
    x = torch.arange(20.0)[None, None, :, None, None].expand(1, 1, 20, 5, 7)
    out = network_logits(Middle(), x, SMALL["unet25d"], torch.device("cpu"))[0, 0]
    z = torch.arange(20.0)
    below, above = (z - 1).clamp(min=0), (z + 1).clamp(max=19)
    assert out.shape == (20, 5, 7) and torch.equal(out[:, 2, 3], z + 10 * below + 100 * above)
    assert with_neighbours(x[0, 0], torch.tensor([4]), 2).shape == (1, 5, 5, 7)


def test_units_do_not_matter():
    voxels = bright(ellipsoid())
    assert normalised(voxels * 3 - 1000) == pytest.approx(normalised(voxels), abs=1e-3)
    assert abs(normalised(voxels).mean()) < 1e-5 and (normalised(np.full((2, 2, 2), 5.0)) == 0).all()


@pytest.mark.parametrize("name", VOLUME_NETWORKS)
def test_what_is_refused(tmp_path, name):
    segmenter = VolumeSegmenter(SMALL[name], build_volume_network(SMALL[name]))
    with pytest.raises(CaseError, match=f"{name} segments volumes, and this image is 2D"):
        segmenter.encode(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match="must be multiples of 16"):
        build_volume_network(replace(SMALL[name], patch=(16, 20, 16)))
    with pytest.raises(ConfigError, match="comes without weights"):
        build_segmenter(name)
    other = write_checkpoint(tmp_path / "w.safetensors", next(n for n in VOLUME_NETWORKS if n != name))
    with pytest.raises(ConfigError, match="holds the weights of"):
        build_segmenter(name, other)
