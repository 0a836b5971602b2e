"""What the measures and scores of one set of samples share, each computed once, in float32; and the mask of them.

The mask that is judged is p̄ brought to the image, bilinearly, and cut at one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sqp.core.types import Samples

SLAB = 16  # slices of a volume at a time


@dataclass(frozen=True)
class Moments:
    """Logits `[s, *grid]` and what follows: p of the foreground, q = 1 - p without cancellation."""

    logits: Tensor

    @classmethod
    def of(cls, logits: Tensor | Moments) -> Moments:
        """Logits `[s, *grid]` of any float type, or moments already computed.

        Args:
            logits: logits `[s, *grid]`, or moments.

        Returns:
            The moments.
        """
        return logits if isinstance(logits, Moments) else cls(logits.float())

    @classmethod
    def settled(cls, logits: Tensor, **known: Tensor) -> Moments:
        """Moments whose named maps (`mean_p` ...) are known already, and are not computed again.

        Args:
            logits: logits `[s, *grid]`.
            **known: maps by the name of the property.

        Returns:
            The moments.
        """
        moments = cls(logits)
        moments.__dict__.update(known)
        return moments

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.logits)

    @cached_property
    def p(self) -> Tensor:
        """sigmoid(logit) `[s, *grid]`."""
        return torch.sigmoid(self.logits)

    @cached_property
    def q(self) -> Tensor:
        """sigmoid(-logit) `[s, *grid]`, precise where p is close to 1."""
        return torch.sigmoid(-self.logits)

    @cached_property
    def mean_p(self) -> Tensor:
        """p̄ `[*grid]`: the mean of the probabilities, not of the logits."""
        return self.p.mean(0)

    @cached_property
    def mean_q(self) -> Tensor:
        """1 - p̄ `[*grid]`."""
        return self.q.mean(0)

    @cached_property
    def total_entropy(self) -> Tensor:
        """H(p̄) in bits `[*grid]`."""
        return (torch.special.entr(self.mean_p) + torch.special.entr(self.mean_q)) / math.log(2)

    @property
    def nats_of_each(self) -> Tensor:
        """H(p_s) in nats `[s, *grid]`: softplus(-|l|) + |l| sigmoid(-|l|)."""
        size = self.logits.abs()
        return F.softplus(-size) + size * torch.minimum(self.p, self.q)

    @cached_property
    def sample_entropy(self) -> Tensor:
        """Mean of H(p_s) in bits `[*grid]`."""
        return self.nats_of_each.mean(0) / math.log(2)


def by_slabs(cellwise: Callable[[Tensor | Moments], Tensor], logits: Tensor | Moments) -> Tensor:
    """`cellwise` of samples `[s, *grid]` -> `[*grid]`, of a volume's logits some slices at a time.

    So what is made of every sample on the way (p, 1 - p, entropies, weights) is never in memory as a whole.

    Args:
        cellwise: samples `[s, *grid]` -> `[*grid]`, each cell by itself.
        logits: samples' logits, or their moments.

    Returns:
        `[*grid]`.

    Examples:
        >>> by_slabs(lambda logits: Moments.of(logits).mean_p, torch.zeros(2, 20, 1, 1)).shape
        torch.Size([20, 1, 1])
    """
    if isinstance(logits, Moments) or logits.ndim != 4:
        return cellwise(logits)
    return torch.cat([cellwise(slab) for slab in logits.split(SLAB, dim=1)])


def mean_probability_map(samples: Samples | Tensor | Moments) -> Tensor:
    """p̄ `[*grid]` in 0..1: the mean over samples of sigmoid(logit).

    Args:
        samples: the samples, their moments, or bare logits `[s, *grid]`.

    Returns:
        float32 `[*grid]`.

    Examples:
        >>> mean_probability_map(torch.tensor([[60.0], [-60.0]])).tolist()
        [0.5]
    """
    logits = samples.logits if isinstance(samples, Samples) else samples
    return by_slabs(lambda part: Moments.of(part).mean_p, logits)


def mask_from_logits(samples: Samples) -> np.ndarray:
    """The samples' own mask at the original size, bool `[h, w]`: p̄ upsampled >= 0.5.

    Args:
        samples: the samples, whose frame leads to the image.

    Returns:
        bool at the image's own size.
    """
    return mask_from_probability(mean_probability_map(samples), samples)


def mask_from_probability(probability: Tensor, samples: Samples) -> np.ndarray:
    """A probability map `[*grid]` on the samples' frame -> bool `[h, w]`.

    Args:
        probability: `[*grid]` in 0..1.
        samples: the samples, whose frame leads to the image.

    Returns:
        bool at the image's own size.
    """
    return (samples.frame.grid_to_image(probability) >= 0.5).cpu().numpy()


def mask_on_grid(mask: np.ndarray, samples: Samples) -> Tensor:
    """A mask bool `[h, w]` of any origin -> bool `[*grid]`, by area mean >= 0.5, on the samples' device.

    Args:
        mask: bool at the image's own size.
        samples: the samples, whose frame leads to the image.

    Returns:
        bool `[*grid]`.
    """
    return torch.as_tensor(samples.frame.mask_to_grid(mask)).to(samples.logits.device)
