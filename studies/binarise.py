"""Binarisation: a threshold from a map's own values, to cut a fused probability map or to filter by uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skimage.filters import threshold_otsu

from sqp.core.errors import ConfigError, lookup


def fixed(values: torch.Tensor, *, at: float = 0.5) -> float:
    """The same threshold for every map."""
    return at


def otsu(values: torch.Tensor) -> float:
    """Otsu's threshold between the two classes of a histogram (IEEE Trans. SMC 9, 1979); NaN for a constant map.

    >>> 0.1 < otsu(torch.tensor([0.1, 0.1, 0.1, 0.9, 0.9])) < 0.9
    True
    """
    array = values.double().cpu().numpy()
    if np.ptp(array) == 0:
        return math.nan
    return float(threshold_otsu(array))


def percentile(values: torch.Tensor, *, q: float = 90.0) -> float:
    """The q-th percentile of the map, q in 0..100."""
    if not 0 <= q <= 100:
        raise ConfigError(f"percentile: q is {q}; give a number from 0 to 100")
    return float(np.percentile(values.double().cpu().numpy(), q))


def mean_std(values: torch.Tensor, *, k: float = 1.0) -> float:
    """Mean + k times the population standard deviation of the map."""
    return float(values.double().mean() + k * values.double().std(correction=0))


BINARISERS: dict[str, Callable[..., float]] = {
    "fixed": fixed,
    "otsu": otsu,
    "percentile": percentile,
    "mean_std": mean_std,
}
"""name -> (map, **its own options) -> threshold; NaN where it is not defined."""


def binarise(probability: torch.Tensor, rule: str = "fixed", **options: Any) -> torch.Tensor:
    """A fused map `[*grid]` -> bool `[*grid]`: p >= threshold; one half where the rule has none (a constant map).

    >>> binarise(torch.tensor([0.2, 0.5, 0.7])).tolist()
    [False, True, True]
    """
    threshold = lookup("binariser", rule, BINARISERS)(probability, **options)
    return probability.double() >= (0.5 if math.isnan(threshold) else threshold)


def filter_uncertain(
    mask: torch.Tensor, uncertainty: torch.Tensor, rule: str = "otsu", **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Drop from a mask, bool `[*grid]`, the pixels whose uncertainty is above the threshold of the uncertainty map.

    Returns the mask that is left and the flagged pixels of the whole map, bool `[*grid]` each; nothing is flagged in
    a constant map.

    >>> kept, flagged = filter_uncertain(torch.tensor([True, True, False]), torch.tensor([0.1, 0.9, 0.9]), "fixed")
    >>> kept.tolist(), flagged.tolist()
    ([True, False, False], [False, True, True])
    """
    threshold = lookup("binariser", rule, BINARISERS)(uncertainty, **options)
    flagged = uncertainty.double() > threshold  # never above NaN
    return mask.bool() & ~flagged, flagged
