"""Segmentation by examples without any training: patches look alike to an encoder that has seen many modalities.

Each patch of the image takes the foreground share of the patches of the references that are most like it, by the cosine
of their features in a promptable segmenter's own encoding: the location prior of PerSAM (Zhang et al. 2023, arXiv
2305.03048), which compares with one mean foreground feature, by nearest neighbours, so that k references and a
background of several kinds have a say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sqp.core.types import Embedding, Segmenter

NEIGHBOURS = 20
TEMPERATURE = 0.03
"""Nearest patches that have a say, and the softmax over their cosines."""
SIDE = 32
"""Most patches along a side: an encoding of 64 x 64 is averaged by twos, which costs a sixteenth to match."""


class PersonalisedSegmenter:
    """An in-context segmenter (`sqp.core.types.InContextSegmenter`) on the encoding of a promptable one.

    It has no weights of its own; `name` and hash say whose encoding it reads.
    """

    def __init__(self, base: Segmenter, neighbours: int = NEIGHBOURS, temperature: float = TEMPERATURE) -> None:
        self.name = "personalised"
        self.base = base
        self.weights_sha256 = base.weights_sha256
        self.neighbours = neighbours
        self.temperature = temperature

    def encode(self, image: np.ndarray) -> Embedding:
        """uint8 `[h, w, 3]` -> the promptable segmenter's own embedding.

        Args:
            image: uint8 `[h, w, 3]`.

        Returns:
            The embedding.
        """
        return self.base.encode(image)

    def features(self, embedding: Embedding) -> Tensor:
        """Unit vectors `[c, h', w']` of the patches of the valid, unpadded part, at most about `SIDE` along a side.

        Args:
            embedding: of an image.

        Returns:
            float32 on the CPU.
        """
        return patches(embedding)

    def transfer(self, query: Tensor, supports: Sequence[Tensor]) -> Callable[[Sequence[np.ndarray]], Tensor]:
        """Features of an image, and of k references -> a function: their masks -> probability of the image's patches.

        Args:
            query: `[c, h', w']`.
            supports: k of them.

        Returns:
            masks bool `[h, w]` -> float32 `[h', w']` in 0..1.
        """
        index, weight = nearest(query, supports, self.neighbours, self.temperature)
        shapes = [tuple(support.shape[1:]) for support in supports]

        def probability(masks: Sequence[np.ndarray]) -> Tensor:
            shares = torch.cat([shares_of(mask, shape).flatten() for mask, shape in zip(masks, shapes, strict=True)])
            return (weight * shares[index]).sum(1).reshape(query.shape[1:])

        return probability


def patches(embedding: Embedding) -> Tensor:
    """Unit vectors `[c, h', w']` of an encoding's valid, unpadded part, averaged until a side has at most `SIDE`.

    Args:
        embedding: features `[1, c, h, w]` of an image.

    Returns:
        float32 on the CPU; h' x w' covers the image.
    """
    features, frame = embedding.features.float().cpu(), embedding.frame
    side = max(features.shape[-2:])
    h, w = (max(1, round(length * side / frame.size)) for length in frame.resized)
    by = max(1, side // SIDE)
    pooled = F.adaptive_avg_pool2d(features[..., :h, :w], (-(-h // by), -(-w // by)))
    return F.normalize(pooled[0], dim=0)


def nearest(query: Tensor, supports: Sequence[Tensor], neighbours: int, temperature: float) -> tuple[Tensor, Tensor]:
    """For each of n patches the patches of the supports that are most like it, and the say that each has.

    Args:
        query: unit vectors `[c, h', w']`, n = h' w'.
        supports: such features of k references; their patches count on from one reference to the next.
        neighbours: m of them, or as many as there are.
        temperature: of the softmax over cosines.

    Returns:
        index `[n, m]`, the most alike first, and weight `[n, m]`, which sums to 1 over m.

    Examples:
        >>> x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> index, weight = nearest(x.view(2, 1, 1), [torch.stack([y, x], 1).view(2, 1, 2)], 2, 0.01)
        >>> index.tolist(), weight.round(decimals=3).tolist()
        ([[1, 0]], [[1.0, 0.0]])
    """
    bank = torch.cat([support.flatten(1) for support in supports], dim=1)
    cosine = query.flatten(1).T @ bank
    value, index = cosine.topk(min(neighbours, cosine.shape[1]), dim=1)
    return index, torch.softmax(value / temperature, dim=1)


def shares_of(mask: np.ndarray, shape: Sequence[int]) -> Tensor:
    """The share of each of h' x w' patches that a mask covers, so that a structure smaller than a patch still counts.

    Args:
        mask: bool `[h, w]`.
        shape: (h', w').

    Returns:
        float32 `[h', w']` in 0..1.
    """
    grey = torch.from_numpy(np.ascontiguousarray(mask)).float()
    return F.interpolate(grey[None, None], tuple(shape), mode="area")[0, 0]
