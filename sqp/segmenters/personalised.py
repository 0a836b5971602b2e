"""Segmentation by examples without any training: patches look alike to an encoder that has seen many modalities.

Each patch of the image takes the foreground share of the patches of the references that are most like it, by the cosine
of their features in a promptable segmenter's own encoding: the location prior of PerSAM (Zhang et al. 2023, arXiv
2305.03048), which compares with one mean foreground feature, by nearest neighbours, so that k references and a
background of several kinds have a say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sqp.core.types import Embedding, InContextSegmenter, Segmenter, Taught
from sqp.metrics.overlap import dice

NEIGHBOURS = 20
TEMPERATURE = 0.03
"""Nearest patches that have a say, and the softmax over their cosines."""
SIDE = 32
"""Most patches along a side: an encoding of 64 x 64 is averaged by twos, which costs a sixteenth to match."""


class ShownAnew:
    """What in-context segmenters share that learn nothing from references: these are shown anew for every image."""

    def support_sets(self, k: int) -> list[list[int]]:
        """All k references, once.

        Args:
            k: references.

        Returns:
            The one set.
        """
        return [list(range(k))]

    def taught(
        self, supports: Sequence[Any], masks: Sequence[np.ndarray], groups: Sequence[str] | None = None
    ) -> Taught:
        """What k references would draw.

        Args:
            supports: features of k references.
            masks: bool `[h, w]`.
            groups: of each; None: every one is its own.

        Returns:
            Of any image, by its features.
        """
        return ByTransfer(cast(InContextSegmenter, self), supports, masks, groups)


class PersonalisedSegmenter(ShownAnew):
    """An in-context segmenter (`sqp.core.types.InContextSegmenter`) on the encoding of a promptable one.

    It has no weights of its own; `name` and hash say whose encoding it reads.
    """

    reads_encoding = True

    def __init__(self, base: Segmenter, neighbours: int = NEIGHBOURS, temperature: float = TEMPERATURE) -> None:
        self.name = "personalised"
        self.base = base
        self.weights_sha256 = base.weights_sha256
        self.neighbours = neighbours
        self.temperature = temperature

    def features(self, image: np.ndarray, embedding: Embedding | None = None) -> Tensor:
        """Unit vectors `[c, h', w']` of the patches of the valid, unpadded part, at most about `SIDE` along a side.

        Args:
            image: uint8 `[h, w, 3]`.
            embedding: the promptable segmenter's, of this image; None: it is made.

        Returns:
            float32 on the CPU.
        """
        return patches(self.base.encode(image) if embedding is None else embedding)

    def summary(self, features: Tensor) -> Tensor:
        """The mean `[c]` of an image's patches.

        Args:
            features: `[c, h', w']`.

        Returns:
            float32.
        """
        return features.flatten(1).mean(1)

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


class ByTransfer:
    """References of a segmenter that learns nothing from them: they are shown anew for every image."""

    def __init__(
        self,
        segmenter: InContextSegmenter,
        supports: Sequence[Any],
        masks: Sequence[np.ndarray],
        groups: Sequence[str] | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.supports, self.masks = list(supports), list(masks)
        self.groups = grouped(groups, len(self.masks))

    def __call__(self, query: Any) -> Tensor:
        """What all of them would have drawn of an image."""
        return self.segmenter.transfer(query, self.supports)(self.masks)

    def of_reference(self, number: int) -> Tensor:
        """What those of other groups would have drawn of one of them."""
        others = [i for i, group in enumerate(self.groups) if group != self.groups[number]]
        transfer = self.segmenter.transfer(self.supports[number], [self.supports[i] for i in others])
        return transfer([self.masks[i] for i in others])

    @cached_property
    def reached(self) -> list[float]:
        """The Dice of each, shown those of other groups: its answer is cut at 0.5."""
        if len(set(self.groups)) < 2:
            return []
        drawn = [self.of_reference(i) for i in range(len(self.masks))]
        return [dice((p >= 0.5).numpy(), halves_of(m, p.shape)) for p, m in zip(drawn, self.masks, strict=True)]


def grouped(groups: Sequence[str] | None, k: int) -> list[str]:
    """The group of each of k references.

    Args:
        groups: their names; None: every one is its own.
        k: references.

    Returns:
        Their names.

    Examples:
        >>> grouped(None, 2), grouped(["a", "a"], 2)
        (['0', '1'], ['a', 'a'])
    """
    return [str(i) for i in range(k)] if groups is None else list(groups)


def build_personalised(
    base: Segmenter, checkpoint: str | os.PathLike | None = None, device: str | torch.device = "cpu"
) -> PersonalisedSegmenter:
    """The builder that the table names.

    Args:
        base: whose encoding is read.
        checkpoint: not read, as it has no weights of its own.
        device: not read; features are on the CPU.

    Returns:
        The segmenter.
    """
    return PersonalisedSegmenter(base)


def patches(embedding: Embedding) -> Tensor:
    """Unit vectors `[c, h', w']` of an encoding's valid, unpadded part, averaged until a side has at most `SIDE`.

    Args:
        embedding: features `[1, c, h, w]` of an image.

    Returns:
        float32 on the CPU; h' x w' covers the image.
    """
    features = valid_part(embedding)
    by = max(1, max(embedding.features.shape[-2:]) // SIDE)
    h, w = features.shape[-2:]
    pooled = F.adaptive_avg_pool2d(features, (-(-h // by), -(-w // by)))
    return F.normalize(pooled[0], dim=0)


def valid_part(embedding: Embedding) -> Tensor:
    """Features `[1, c, h, w]` of an encoding's valid, unpadded part on its own grid.

    Args:
        embedding: of an image.

    Returns:
        float32 on the CPU; h x w covers the image.
    """
    features, frame = embedding.features.float().cpu(), embedding.frame
    h, w = (max(1, round(length * max(features.shape[-2:]) / frame.size)) for length in frame.resized)
    return features[..., :h, :w]


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


def halves_of(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A mask at a coarser size: where it covers half of a patch, or half as much as of the patch that it covers most.

    Args:
        mask: bool `[h, w]`.
        shape: (h', w').

    Returns:
        bool `[h', w']`, not empty where the mask is not.

    Examples:
        >>> halves_of(np.eye(4, dtype=bool) & (np.arange(4) < 1), (2, 2)).tolist()
        [[True, False], [False, False]]
    """
    shares = shares_of(mask, shape)
    return ((shares >= 0.5 * shares.max()) & (shares > 0)).numpy()
