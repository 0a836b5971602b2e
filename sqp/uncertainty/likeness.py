"""How like images are to each other, by a summary of each in an encoder that has seen many modalities; and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FEWEST = 4
"""References whose own likeness is known: of fewer nobody can tell how different images of their kind are."""
UNLIKE = 0.25
"""An image whose likeness is below it is likely of another kind: four times as far from the nearest reference as these
commonly are from each other. Chosen on images of train, with `FEWEST`; on others: benchmarks/unlike_references.md."""
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


def likeness_to_references(image: Tensor, references: Sequence[Tensor], groups: Sequence[str]) -> float:
    """How like an image is to the nearest reference: 1 as references commonly, in the median, are to each other.

    Distance is 1 - the cosine of the summaries; likeness is that of a reference from the nearest one of another group,
    in the median, over that of the image from the nearest reference. Slices of one volume, which lie close, so do not
    make those of another one strange.

    Args:
        image: its summary `[c]`.
        references: those of the references.
        groups: of the references: the patient, the volume, or the image itself.

    Returns:
        0 to 1; NaN for fewer than `FEWEST` references, or where all are of one group.

    Examples:
        >>> near = [torch.tensor([1.0, 0.1 * i]) for i in range(8)]
        >>> names = [f"{i}" for i in range(8)]
        >>> likeness_to_references(torch.tensor([0.0, 1.0]), near, names) < UNLIKE
        True
        >>> likeness_to_references(torch.tensor([1.0, 0.35]), near, names)
        1.0
    """
    if len(references) < FEWEST or len(set(groups)) < 2:
        return math.nan
    means = F.normalize(torch.stack(list(references)), dim=1)
    related = torch.tensor([[one == other for other in groups] for one in groups])
    common = (1 - (means @ means.T).masked_fill(related, -1).amax(1)).quantile(0.5)
    nearest = 1 - (means @ F.normalize(image, dim=0)).max()
    return float((common / nearest.clamp(min=1e-9)).clamp(0, 1))


def unlike_the_others(references: Sequence[Tensor], groups: Sequence[str]) -> list[int]:
    """Which references are of another kind than the others: as images they would be unlike all of these.

    Args:
        references: the summaries `[c]`.
        groups: theirs, as `likeness_to_references` takes them.

    Returns:
        Their indices, ascending; none of `FEWEST` or fewer.

    Examples:
        >>> near = [torch.tensor([1.0, 0.1 * i]) for i in range(6)]
        >>> unlike_the_others([*near, torch.tensor([0.0, 1.0])], [f"{i}" for i in range(7)])
        [6]
    """
    found = []
    for i, one in enumerate(references):
        others = [j for j in range(len(references)) if j != i]
        if likeness_to_references(one, [references[j] for j in others], [groups[j] for j in others]) < UNLIKE:
            found.append(i)
    return found
