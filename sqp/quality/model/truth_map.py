"""A second head that draws the truth it expects, so that a mask can be compared with it.

The decoder predicts a probability map of the true object from the backbone's levels. Its disagreement with the mask is
the error map, and its soft Dice with the mask is itself a prediction of quality: the regression starts from there and
learns what to correct. The idea is that of mask scoring by a second opinion (DeVries and Taylor, arXiv 1807.00502,
predict quality from image, mask and uncertainty map; Reverse classification accuracy, Valindria et al., TMI 2017,
compares with what another classifier draws); here both share one network, and one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 48
EVIDENCE = 8
"""Numbers a record that `evidence` gives."""
CONVOLUTIONS: dict[int, tuple[type[nn.Module], type[nn.Module], str]] = {
    2: (nn.Conv2d, nn.BatchNorm2d, "bilinear"),
    3: (nn.Conv3d, nn.BatchNorm3d, "trilinear"),
}
POOLS: dict[int, Callable[..., Tensor]] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


class TruthDecoder(nn.Module):
    """Levels of a backbone, finest first -> logits `[n, 1, *space]` of the truth at the finest level.

    A feature pyramid (Lin et al., CVPR 2017): from the coarsest level up, each added to the next finer one. `dims` is 3
    for volumes.
    """

    def __init__(self, widths: Sequence[int], dims: int = 2) -> None:
        super().__init__()
        conv, norm, self.mode = CONVOLUTIONS[dims]
        self.lateral = nn.ModuleList(conv(width, WIDTH, 1, bias=False) for width in widths)
        self.smooth = nn.ModuleList(
            nn.Sequential(norm(WIDTH), nn.SiLU(), conv(WIDTH, WIDTH, 3, padding=1, bias=False)) for _ in widths
        )
        self.out = nn.Sequential(norm(WIDTH), nn.SiLU(), conv(WIDTH, 1, 1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Finest level first."""
        x = self.smooth[-1](self.lateral[-1](levels[-1]))
        for i in reversed(range(len(levels) - 1)):
            x = F.interpolate(x, levels[i].shape[2:], mode=self.mode, align_corners=False)
            x = self.smooth[i](x + self.lateral[i](levels[i]))
        return self.out(x)


class Comparison(NamedTuple):
    """soft_dice `[n]` of the mask with the expected truth; evidence `[n, EVIDENCE]`; error map `[n, *space]`, 0-1."""

    soft_dice: Tensor
    evidence: Tensor
    error_map: Tensor


def compare(logits: Tensor, mask: Tensor) -> Comparison:
    """Logits of the truth `[n, 1, *space]` against the mask `[n, s, s]`, of volumes `[n, s, s, s]`.

    The mask, 0-1, is averaged over areas to the logits' space.

    The error map is the probability that a pixel is wrong: p of the truth where the mask is empty, 1 - p where it is
    set. Two empty maps agree.

    Examples:
        >>> far = torch.full((1, 1, 2, 2), -30.0)
        >>> compare(far, torch.zeros(1, 2, 2)).soft_dice.item()
        1.0
    """
    flat = logits[:, 0].float()
    p = torch.sigmoid(flat)
    m = _shrunk(mask, flat)
    tiny = 1e-3  # of the frame's pixels: below it both are as good as empty
    both, of_p, of_m = map(_mean, (p * m, p, m))
    soft_dice = (2 * both + tiny) / (of_p + of_m + tiny)
    hard = (p > 0.5).float()
    hard_dice = (2 * _mean(hard * m) + tiny) / (_mean(hard) + of_m + tiny)
    entropy = _mean(F.softplus(flat) - flat * p)  # in nats, with a finite gradient everywhere
    evidence = torch.stack(
        [
            _logit(soft_dice),
            _logit(hard_dice),
            soft_dice,
            hard_dice,
            both / (of_m + tiny),
            both / (of_p + tiny),
            entropy / (of_p + of_m + tiny),
            (of_p - of_m) / (of_p + of_m + tiny),
        ],
        dim=1,
    )
    return Comparison(soft_dice, evidence, p + m - 2 * p * m)


def _mean(maps: Tensor) -> Tensor:
    """`[n]`: of each map."""
    return maps.flatten(1).mean(dim=1)


def _shrunk(plane: Tensor, like: Tensor) -> Tensor:
    """`[n, s, s]`, or of volumes, averaged over areas to the size of `like`."""
    return POOLS[like.ndim - 1](plane[:, None].float(), like.shape[1:])[:, 0]


def _logit(share: Tensor) -> Tensor:
    share = share.clamp(0.01, 0.99)
    return (share / (1 - share)).log()


def truth_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy plus 1 - soft Dice of each record, `[n]`; truth `[n, s, s]`, or of volumes, in 0-1."""
    flat = logits[:, 0].float()
    target = _shrunk(truth, flat).flatten(1)
    flat = flat.flatten(1)
    entropy = F.binary_cross_entropy_with_logits(flat, target, reduction="none").mean(dim=1)
    p = torch.sigmoid(flat)
    overlap = (2 * (p * target).sum(dim=1) + 1) / (p.sum(dim=1) + target.sum(dim=1) + 1)
    return entropy + 1 - overlap
