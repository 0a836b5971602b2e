"""How like images are to each other, by a summary of each in an encoder that has seen many modalities; and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FEWEST = 8
"""References whose own spread is known: of fewer nobody can tell how different images of their kind are."""
TIMES = 4.0
"""So many times as far as references commonly are from their nearest is strange. Chosen on 16 train images of each of
six sets (three of ultrasound, CT, two of microscopy; 50 draws): with 8 references 3 % of a set's own images are told
and 92 % of those of another modality (with 4 references 5 % and 84 %); the least of a pair of sets is 4 % (CT beside
references of ovarian ultrasound, which are unlike each other)."""


SPREAD, SURE = 0.5, 2
"""Standard deviation that the logarithm of a structure's area has before any reference is seen, and how many references
that belief weighs as much as."""


def size_likeness(area: float, references: Sequence[float]) -> float:
    """How common the area of a mask is among those of references: exp(-z^2 / 2), z of its logarithm.

    Args:
        area: share of the image that the mask covers, 0 to 1.
        references: those of the references, above 0.

    Returns:
        0 to 1, 1 at their geometric mean; 0 for an empty mask, NaN without references.

    Examples:
        >>> size_likeness(0.1, [0.1]), round(size_likeness(0.2, [0.1, 0.1, 0.1]), 2)
        (1.0, 0.09)
    """
    if not len(references):
        return math.nan
    if area <= 0:
        return 0.0
    logs = np.log(np.asarray(references, float))
    variance = (((logs - logs.mean()) ** 2).sum() + SURE * SPREAD**2) / (len(logs) + SURE)
    return float(np.exp(-((math.log(area) - logs.mean()) ** 2) / (2 * variance)))


def most_different(summaries: Sequence[Tensor], n: int) -> list[int]:
    """The indices of n images, ascending: first the most ordinary one, then always the one furthest from those that
    are chosen, by the cosine of their summaries.

    Args:
        summaries: of the images, `[c]` each.
        n: at most as many as there are.

    Returns:
        The indices.

    Examples:
        >>> most_different([torch.tensor(v) for v in ([1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9])], 2)
        [1, 2]
    """
    means = F.normalize(torch.stack(list(summaries)), dim=1)
    chosen = [int((means @ means.mean(0)).argmax())]
    likeness = means @ means[chosen[0]]
    while len(chosen) < n:
        likeness[chosen[-1]] = torch.inf
        chosen.append(int(likeness.argmin()))
        likeness = torch.maximum(likeness, means @ means[chosen[-1]])
    return sorted(chosen)


def is_strange(image: Tensor, references: Sequence[Tensor]) -> bool:
    """Whether an image is much further from all references than these commonly, in the median, are from each other.

    Distance is 1 - the cosine of the summaries. Of fewer than `FEWEST` references it is not known: False.

    Args:
        image: its summary `[c]`.
        references: those of the references.

    Returns:
        True for an image that is likely of another kind.

    Examples:
        >>> near = [torch.tensor([1.0, 0.1 * i]) for i in range(8)]
        >>> is_strange(torch.tensor([0.0, 1.0]), near), is_strange(near[0], near)
        (True, False)
    """
    if len(references) < FEWEST:
        return False
    means = F.normalize(torch.stack(list(references)), dim=1)
    common = (1 - (means @ means.T).fill_diagonal_(-1).amax(1)).quantile(0.5)
    return bool(1 - (means @ F.normalize(image, dim=0)).max() > TIMES * common)
