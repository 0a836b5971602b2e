"""Augmentation: image and truth move together, the same generator gives the same batch."""

from __future__ import annotations

import pytest
import torch

from sqp.core.seeding import torch_generator
from sqp.fit.module import Augmentation


@pytest.fixture
def batch():
    """The truth is where the red plane is bright; the right fifth is not on the image."""
    y, x = torch.arange(48)[:, None], torch.arange(64)
    disc = (((x - 22) ** 2 + (y - 20) ** 2) < 12**2).expand(16, 1, 48, 64)
    image = torch.where(disc, 0.8, 0.2).expand(16, 3, 48, 64).clone()
    valid = (x < 52).expand(16, 1, 48, 64).clone()
    return image, disc.clone(), valid


@pytest.mark.parametrize("seed", range(6))
def test_truth_moves_with_the_image(batch, seed):
    image, truth, valid = Augmentation(colour=0)(*batch, torch_generator(seed, "a"))
    assert image.shape[0] == 16 and sorted(image.shape[2:]) == [48, 64]
    assert truth.dtype == valid.dtype == torch.bool
    inside = image[:, :1][truth & valid].mean()
    outside = image[:, :1][~truth & valid].mean()
    assert inside > 0.75 and outside < 0.25


def test_axes_are_swapped_in_some_batches_only(batch):
    shapes = {Augmentation()(*batch, torch_generator(seed, "a"))[0].shape[2:] for seed in range(10)}
    assert shapes == {(48, 64), (64, 48)}


def test_without_affine_moves_the_area_stays(batch):
    image, truth, valid = Augmentation(affine=0, colour=0)(*batch, torch_generator(1, "a"))
    assert truth.sum() == batch[1].sum() and valid.sum() == batch[2].sum()
    assert image.sum() == pytest.approx(float(batch[0].sum()), rel=1e-5)


def test_a_turn_keeps_the_shape_of_the_lesion(batch):
    """A disc stays one: its box is square after any turn of an image that is not."""
    turned = Augmentation(affine=1, zoom=0, shift=0, rotate=60, colour=0)(*batch, torch_generator(2, "a"))[1]
    for disc in turned[:, 0]:
        rows, columns = disc.any(1).sum(), disc.any(0).sum()
        if rows >= 22 and columns >= 22:  # not cut by the border
            assert abs(int(rows) - int(columns)) <= 1
    assert sum(bool(d.any(1).sum() >= 22 and d.any(0).sum() >= 22) for d in turned[:, 0]) > 8


def test_the_generator_decides(batch):
    one, two, three = (Augmentation()(*batch, torch_generator(seed, "a"))[0] for seed in (4, 4, 5))
    assert torch.equal(one, two)
    assert one.shape != three.shape or not torch.equal(one, three)
    assert one.min() >= 0 and one.max() <= 1
