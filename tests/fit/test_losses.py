"""The loss against MONAI's and torch's, and the mask of valid pixels."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn.functional import binary_cross_entropy_with_logits

from sqp.core.seeding import torch_generator
from sqp.fit.losses import SMOOTH, dice_bce, hard_dice


@pytest.fixture
def batch():
    g = torch_generator(0, "losses")
    logits = torch.randn(3, 1, 8, 10, generator=g) * 3
    return logits, torch.rand(3, 1, 8, 10, generator=g) < 0.4, torch.ones(3, 1, 8, 10, dtype=torch.bool)


def test_the_loss_is_monai_s_dice_and_torch_s_cross_entropy(batch):
    logits, truth, valid = batch
    dice = DiceLoss(sigmoid=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)(logits, truth.float())
    expected = dice + binary_cross_entropy_with_logits(logits, truth.float())
    torch.testing.assert_close(dice_bce(logits, truth, valid), expected, atol=1e-6, rtol=1e-6)


def test_pixels_off_the_image_do_not_count(batch):
    logits, truth, valid = batch
    valid[..., 6:] = False
    cut = tuple(x[..., :6] for x in batch)
    torch.testing.assert_close(dice_bce(logits, truth, valid), dice_bce(*cut), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(hard_dice(logits, truth, valid), hard_dice(*cut))


def test_an_empty_truth_has_a_gradient(batch):
    logits = batch[0].requires_grad_()
    dice_bce(logits, torch.zeros_like(batch[1]), batch[2]).backward()
    assert torch.isfinite(logits.grad).all() and (logits.grad > 0).all()


def test_a_perfect_mask_costs_least(batch):
    _, truth, valid = batch
    good = torch.where(truth, 20.0, -20.0)
    assert float(dice_bce(good, truth, valid)) < 1e-6
    assert hard_dice(good, truth, valid).tolist() == [1, 1, 1]
    assert hard_dice(-good, truth, valid).tolist() == [0, 0, 0]
