"""Changes of tasks: which planes move together, closed forms, and that a unit changes alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from sqp.training.task_augmentation import OF_IMAGE, OF_TASK, Changes, blurred, changed, changed_tasks, warped


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def units(u=6, m=3, side=24, seed=0):
    """Images with a square as mask; a strip at the right is not valid."""
    image = torch.rand(u, m, side, side, generator=generator(seed))
    mask = torch.zeros(u, m, side, side, dtype=torch.bool)
    mask[..., 6:14, 5:12] = True
    valid = torch.ones_like(mask)
    valid[..., -4:] = False
    return image * valid, mask, valid


def test_nothing_happens_without_changes():
    before = units()
    for plane, same in zip(changed(*before, Changes(), generator()), before, strict=True):
        assert torch.equal(plane, same)


def test_a_task_changes_alike_and_its_images_by_themselves():
    image, mask, valid = (plane[:, :1].repeat(1, 4, 1, 1) for plane in units(u=16))
    of_task = Changes(**{**vars(OF_TASK), "noise": 0.0, "outside": 0.5, "edges": 0.5})  # noise is of each pixel
    for plane in changed(image, mask, valid, of_task, generator()):
        assert torch.equal(plane, plane[:, :1].expand_as(plane))
    moved = changed_tasks(*(plane[:, :, None] for plane in (image, mask, valid)), generator())
    assert moved[0].shape == (16, 4, 1, 24, 24) and moved[1].dtype == moved[2].dtype == torch.bool
    assert all((plane[:, 0] != plane[:, 1]).any() for plane in moved)


@pytest.mark.parametrize("kinds", [Changes(flip=0.5), Changes(affine=1, rotate=180, zoom=0.2, shift=0.1)])
def test_image_and_mask_move_together(kinds):
    _, mask, valid = units()
    image, moved, _ = changed(mask.float(), mask, valid, kinds, generator())
    assert (moved != mask).any() and torch.equal((image >= 0.5) & moved, moved)


def test_a_warp_bends_but_does_not_jump():
    _, mask, _ = units(u=8)
    bent = warped(mask.float(), torch.tensor([0.0, 0.1]).repeat(4).view(8, 1, 1, 1), generator())
    assert torch.equal(bent[::2], mask.float()[::2]) and (bent[1::2] != mask[1::2]).any()
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    ramp = torch.stack([x, y])[None].repeat(2, 1, 1, 1)
    by = (warped(ramp, torch.full((2, 1, 1, 1), 0.1), generator()) - ramp)[..., 5:-5, 5:-5]
    assert by.abs().max() <= 1.3 * 0.1 * 24  # a share of the side; the spline may reach over its nodes


def test_outside_and_border_are_other_tasks():
    image, mask, valid = units()
    _, outside, _ = changed(image, mask, valid, Changes(outside=1), generator())
    assert torch.equal(outside, ~mask & valid)
    _, border, _ = changed(image, mask, valid, Changes(edges=1), generator())
    assert border[0, 0].sum() == 10 * 9 - 6 * 5  # of 8 x 7 pixels, one outwards and one inwards


def test_dark_and_bright_change_places_on_the_image_alone():
    image, mask, valid = units()
    inverted, _, _ = changed(image, mask, valid, Changes(invert=1), generator())
    assert torch.allclose(inverted, (1 - image) * valid)


def test_blur_is_that_of_scipy():
    image, _, _ = units(u=2, m=2)
    sigma = torch.tensor([0.4, 1.1]).view(2, 1, 1, 1)
    soft = blurred(image, sigma)
    for i, s in enumerate((0.4, 1.1)):
        expected = gaussian_filter(image[i, 1].numpy(), s, radius=2, mode="nearest")
        assert np.allclose(soft[i, 1], expected, atol=1e-5)


@pytest.mark.parametrize("kinds", [OF_TASK, OF_IMAGE])
def test_the_seed_decides_and_pixels_stay_in_range(kinds):
    before = units()
    first, again, other = (changed(*before, kinds, generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (first[0] != other[0]).any()
    image, mask, valid = first
    assert image.min() >= 0 and image.max() <= 1
    assert not image[~valid].any() and not mask[~valid].any()
