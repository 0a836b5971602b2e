"""The localizer's loss and what is watched: cells against shares of area, boxes against boxes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_prompters import LOCALIZER
from torch import nn

from sqp.fit.localizer import LocalizerModule
from sqp.fit.losses import dice_bce
from sqp.fit.module import Recipe


class Knows(nn.Module):
    """Logits of the truth, which is hidden in the image's first channel."""

    def forward(self, pixels):
        return (F.avg_pool2d(pixels[:, :1], 8) > 0).float() * 20 - 10


def batch():
    """Two images of 48 x 64 in a batch of 64 x 64; the second has no lesion."""
    truth = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    truth[0, 0, 8:24, 16:48] = True
    valid = torch.zeros_like(truth)
    valid[:, :, :48] = True
    image = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    image[:, :1] = truth * 255
    return {"image": image, "truth": truth, "valid": valid}


def test_the_loss_is_that_of_shares_of_cells():
    module = LocalizerModule(LOCALIZER, Knows(), Recipe())
    data = batch()
    data["truth"][0, 0, 8:12] = False  # half of the cells of a row
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shares = torch.zeros(2, 1, 8, 8)
    shares[0, 0, 1, 2:6], shares[0, 0, 2, 2:6] = 0.5, 1.0
    valid = torch.ones(2, 1, 8, 8)
    valid[:, :, 6:] = 0
    assert float(module.loss(logits, data)) == pytest.approx(float(dice_bce(logits, shares, valid)))


def test_the_watched_iou_is_of_boxes_and_leaves_empty_truths_out(monkeypatch):
    module = LocalizerModule(LOCALIZER, Knows(), Recipe()).eval()
    monkeypatch.setattr(module, "log", lambda *args, **options: None)
    module.validation_step(batch(), 0)
    assert module.val_iou.weight == 1 and float(module.val_iou.compute()) > 0.8
    assert module.monitor == "val/box_iou"
