"""The verdict on a mask: what a pipeline does with it."""

from __future__ import annotations

import math

from sqp.errors import ConfigError

VERDICTS = ("abstain", "accept", "reject", "review")


def abstention(predicted: float, mask_empty: bool = False, ood: bool = False) -> str:
    """Why there is no verdict, in words; empty where there is one.

    >>> abstention(0.9, mask_empty=True)
    'empty mask'
    """
    if mask_empty:
        return "empty mask"
    if math.isnan(predicted):
        return "no prediction (NaN in the maps)"
    return "out of distribution" if ood else ""


def verdict(
    low: float,
    high: float,
    predicted: float,
    mask_empty: bool = False,
    ood: bool = False,
    accept: float = 0.80,
    reject: float = 0.70,
) -> str:
    """abstain: NaN, empty mask or out of distribution; accept: low >= accept; reject: high < reject.

    Else review.

    >>> verdict(0.85, 0.95, 0.9), verdict(0.2, 0.6, 0.4), verdict(0.6, 0.9, 0.8)
    ('accept', 'reject', 'review')
    >>> verdict(0.85, 0.95, 0.9, ood=True)
    'abstain'
    """
    if reject > accept:
        raise ConfigError(f"reject is {reject}, accept {accept}: reject must not be above accept")
    if mask_empty or ood or any(math.isnan(value) for value in (low, high, predicted)):
        return "abstain"
    if low >= accept:
        return "accept"
    return "reject" if high < reject else "review"
