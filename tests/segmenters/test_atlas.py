"""Registration: what was moved and bent is found again, and images that show nothing are laid over each other."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from sqp.core.errors import ConfigError
from sqp.metrics.overlap import dice
from sqp.segmenters.atlas import AtlasSegmenter, build_atlas, registered

SIDE = 64


def picture(shift=(0.0, 0.0), size=1.0, seed=0):
    """Blobs on a gradient `[64, 64]` as an affine map moves them, and the mask of one of them."""
    y, x = np.indices((SIDE, SIDE)).astype(float)
    y, x = (y - shift[0] - SIDE / 2) / size + SIDE / 2, (x - shift[1] - SIDE / 2) / size + SIDE / 2
    rng = np.random.default_rng(seed)
    plane = 0.2 + 0.003 * x
    for _ in range(12):
        cy, cx = rng.uniform(6, SIDE - 6, 2)
        plane = plane + rng.uniform(0.2, 0.6) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40)
    mask = (y - 30) ** 2 + (x - 36) ** 2 < 110
    return (plane / plane.max()).astype(np.float32), mask


@pytest.mark.parametrize("shift, size", [((6, -7), 1.0), ((0, 0), 1.25), ((-5, 4), 0.85)])
def test_an_affine_map_is_found_again(shift, size):
    fixed, truth = picture(shift, size)
    moving, mask = picture()
    assert dice(mask, truth) < 0.88
    found = registered(fixed, moving)(mask.astype(np.float32))
    assert found.dtype == np.float32 and dice(found >= 0.5, truth) > 0.93


def test_inverted_grey_values_do_not_matter():
    """Mutual information asks which grey value goes with which, not for the same."""
    fixed, truth = picture((5, 6))
    moving, mask = picture()
    assert dice(registered(1 - fixed, moving)(mask.astype(np.float32)) >= 0.5, truth) > 0.93


@pytest.mark.parametrize("shapes", [((64, 64), (40, 64)), ((8, 12), (64, 48))], ids=["flat", "small"])
def test_what_shows_nothing_is_laid_over_by_its_centre(shapes):
    fixed, moving = (np.full(shape, 0.5, np.float32) for shape in shapes)
    plane = np.zeros(shapes[1], np.float32)
    plane[shapes[1][0] // 2 - 2 : shapes[1][0] // 2 + 2, shapes[1][1] // 2 - 2 : shapes[1][1] // 2 + 2] = 1
    found = registered(fixed, moving)(plane)
    assert found.shape == shapes[0]
    assert np.allclose(np.argwhere(found > 0.5).mean(0), (np.array(shapes[0]) - 1) / 2)


def test_atlases_vote():
    segmenter = AtlasSegmenter()
    image = (np.stack([picture()[0]] * 3, -1) * 255).astype(np.uint8)
    query = segmenter.features(image)
    assert query.shape == (1, 96, 96)
    full, none = np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    share = segmenter.transfer(query, [query] * 4)([full, none, none, none])
    assert torch.allclose(share[8:-8, 8:-8], torch.tensor(0.25), atol=1e-3)


def test_without_simpleitk_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ConfigError, match=r"SimpleITK, which is not installed: pip install 'sqp\[atlas\]'"):
        build_atlas(None)
