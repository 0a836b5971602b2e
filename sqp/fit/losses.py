"""Losses and the Dice of a batch, over the pixels that lie on the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1.0  # pixels; keeps an empty truth's loss finite and its gradient alive


def dice_bce(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Soft Dice loss, by image, plus binary cross-entropy; logits, truth, valid `[n, 1, *space]` -> `[]`.

    (Milletari et al. 2016, arXiv 1606.04797; with all pixels valid and `SMOOTH` as its constants the sum is MONAI's
    `DiceLoss` and torch's `binary_cross_entropy_with_logits`.)
    """
    logits = logits.float()  # under autocast sums over pixels need the digits
    y, v = truth.to(logits), valid.to(logits)
    p = torch.sigmoid(logits) * v
    total = (p + y * v).flatten(1).sum(dim=1)
    dice = (2 * (p * y).flatten(1).sum(dim=1) + SMOOTH) / (total + SMOOTH)
    bce = (F.binary_cross_entropy_with_logits(logits, y, reduction="none") * v).sum() / v.sum().clamp(min=1)
    return 1 - dice.mean() + bce


def hard_dice(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Dice of the masks logit >= 0 with the truth, `[n]`; 1 where both are empty.

    Examples:
        >>> logits = torch.tensor([[[[2.0, -1.0]]], [[[-1.0, -1.0]]]])
        >>> truth = torch.tensor([[[[True, True]]], [[[False, False]]]])
        >>> hard_dice(logits, truth, torch.ones_like(truth)).tolist()
        [0.6666666865348816, 1.0]
    """
    mask, y = (logits >= 0) & valid, truth & valid
    both, of_mask, of_truth = (x.flatten(1).sum(dim=1) for x in (mask & y, mask, y))
    total = of_mask + of_truth
    return torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
