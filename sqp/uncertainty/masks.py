"""From samples to the mask that is judged: p̄ brought to the image, bilinearly, and cut at one half."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sqp.core.types import Samples
from sqp.uncertainty.moments import Moments, by_slabs


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
