"""Scores: one analytic number for a mask, no learning, higher = better (`area` alone has no sign).

M is the judged mask on the grid; p̄, H and certainty are those of the samples. A mean over M is NaN where M
is empty. `area` needs no samples and so no grid: it is of the mask at the image's own size, whoever made it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import lookup
from sqp.core.types import Samples
from sqp.metrics import overlap
from sqp.uncertainty.measures import certainty
from sqp.uncertainty.moments import Moments


@dataclass(frozen=True)
class Judged:
    """What a score may look at: the samples' moments, M bool `[*grid]`, the predicted IoU of sample 0.

    `own` says that the segmenter made the mask itself, so that its opinion of its own output applies.
    """

    moments: Moments
    mask: Tensor
    iou: float = math.nan
    own: bool = True

    def mean_over_mask(self, values: Tensor) -> float:
        """Mean of a map over M, NaN where M is empty.

        Args:
            values: map `[*grid]`.

        Returns:
            The mean, in the unit of the map.
        """
        if not self.mask.any():
            return math.nan
        return float(values[self.mask].mean(dtype=torch.float64))


def c_lesion(judged: Judged) -> float:
    """Σ certainty·M / ΣM, 0..1, NaN for empty M. For M = (p̄ >= 0.5) equal to 2·mean(p̄ over M) - 1.

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score.
    """
    return judged.mean_over_mask(certainty(judged.moments))


def pairwise_dice(judged: Judged) -> float:
    """Mean Dice over unordered pairs of the samples' masks (logit >= 0), 0..1; NaN with one sample.

    Two empty masks agree (1). It says nothing of M (Roy et al., NeuroImage 195, 2019).

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score.
    """
    if judged.moments.n < 2:
        return math.nan
    return float(overlap.pairwise_dice((judged.moments.logits >= 0).cpu().numpy()))


def soft_dice_confidence(judged: Judged) -> float:
    """2 Σp̄M / (Σp̄ + ΣM), 0..1: the Dice to expect if p̄ were calibrated (Borges et al., arXiv 2402.10665).

    0 for an empty M, by the formula.

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score.
    """
    return overlap.soft_dice(judged.moments.mean_p.cpu().numpy(), judged.mask.cpu().numpy())


def predicted_iou(judged: Judged) -> float:
    """The IoU that SAM's head predicts for sample 0, raw; NaN without such a head or for another's mask.

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score, about 0..1: what the head says is not clipped.
    """
    return float(judged.iou) if judged.own else math.nan


def stability(judged: Judged) -> float:
    """SAM's stability score of sample 0: IoU of its masks at logit > 1 and > -1; NaN for another's mask.

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score in 0..1.
    """
    from segment_anything.utils.amg import calculate_stability_score  # brings torchvision: seconds

    if not judged.own:
        return math.nan
    return float(calculate_stability_score(judged.moments.logits[:1].flatten(1, -2), 0.0, 1.0)[0])


def mean_entropy(judged: Judged) -> float:
    """1 - mean H(p̄) over M, in bits and so 0..1, NaN for empty M: turned round, so that higher is better.

    Once also stored as foreground_certainty, mean 1 - H over M: the same number (`sqp.records.schema.RENAMED`).

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score.
    """
    return 1 - judged.mean_over_mask(judged.moments.total_entropy)


def max_confidence(judged: Judged) -> float:
    """max p̄ over the grid, 0..1.

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score.
    """
    return float(judged.moments.mean_p.max())


def mean_probability(judged: Judged) -> float:
    """Mean p̄ over the grid, 0..1.

    Args:
        judged: the samples' moments and the mask M on their grid.

    Returns:
        The score.
    """
    return float(judged.moments.mean_p.mean(dtype=torch.float64))


def area(mask: np.ndarray) -> float:
    """Share of the image that the mask, bool `[h, w]` or `[d, h, w]` at the image's own size, covers, 0..1.

    Without sign, a control. Never of a grid: the same mask has the same area with any segmenter and with none.

    Args:
        mask: bool `[h, w]` or `[d, h, w]`.

    Returns:
        The share.
    """
    return float(np.mean(mask, dtype=np.float64))


SCORES: dict[str, Callable[[Judged], float]] = {
    "c_lesion": c_lesion,
    "pairwise_dice": pairwise_dice,
    "soft_dice_confidence": soft_dice_confidence,
    "predicted_iou": predicted_iou,
    "stability": stability,
    "mean_entropy": mean_entropy,
    "max_confidence": max_confidence,
    "mean_probability": mean_probability,
}


def scores(
    samples: Samples | Tensor | Moments,
    mask: Tensor,
    *,
    own: bool = True,
    moments: Moments | None = None,
    names: Iterable[str] = tuple(SCORES),
) -> dict[str, float]:
    """Every named score of the mask M, bool `[*grid]`, given samples (or bare logits `[s, *grid]`: no IoU).

    Args:
        samples: the samples, their moments, or bare logits `[s, *grid]`, which have no IoU.
        mask: M bool `[*grid]`.
        own: whether the segmenter made this mask; for any other one predicted_iou and stability are NaN.
        moments: those of the same samples, which saves computing them again.
        names: names of `SCORES`.

    Returns:
        name -> number, NaN where undefined.

    Raises:
        ValueError: M is not on the samples' grid.
        ConfigError: a score is unknown.
    """
    iou = math.nan
    if isinstance(samples, Samples):
        iou, samples = float(samples.iou[0]), samples.logits
    moments = moments or Moments.of(samples)
    if tuple(mask.shape) != tuple(moments.logits.shape[1:]):
        raise ValueError(f"the mask is {tuple(mask.shape)}, the samples' grid {tuple(moments.logits.shape[1:])}")
    judged = Judged(moments, mask.to(device=moments.logits.device, dtype=torch.bool), iou, own)
    return {name: lookup("score", name, SCORES)(judged) for name in names}
