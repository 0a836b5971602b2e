"""A 2D segmenter on a volume, slice by slice: a box through the slices `depth` of the prompt, or propagated.

A slice is encoded once, when a prompt first comes to it, whatever the number of prompts and samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sqp.core.boxes import margin_box, tight_box
from sqp.core.frame import SlicesFrame
from sqp.core.types import Decoded, Embedding, Prompt, Segmenter
from sqp.core.volume import Volume
from sqp.data.volumes import windowed

OUTSIDE = -20.0  # logit where no prompt reaches: p = 2e-9


class SliceSegmenter:
    """`inner`, which takes images, behind the same protocol for a `Volume`.

    A prompt's box is put to every slice of its `depth` (without one: to all). With `propagate` only the middle one gets
    it; from there the box of each slice's mask, grown by `margin` and kept within the prompt's, is put to the next one
    up and down, until a mask is empty. Of several candidates the one of the highest predicted IoU is taken in each
    slice. Voxels become pixels by `window`, as in `windowed`. IoU and token of the volume are means over its slices,
    weighted by the area of their masks.
    """

    chunk = 1  # prompts in one pass of the decoder under dropout: each slice is another image

    def __init__(
        self, inner: Segmenter, propagate: bool = False, margin: float = 0.1, window: Sequence[float] = ()
    ) -> None:
        self.inner, self.propagate, self.margin, self.window = inner, propagate, margin, window
        self.name, self.weights_sha256, self.promptable = inner.name, inner.weights_sha256, inner.promptable
        # where dropout is injected; not by the name `sam`, whose decoder may then recall what it made of one image
        self.network = getattr(inner, "sam", getattr(inner, "network", None))

    def encode(self, image: Volume) -> Embedding:
        """Nothing is encoded yet but the middle slice: `extra` has the pixels and, by slice, its embedding.

        The features of all slices lie in one block, which goes back to the system as a whole; small ones would not.

        Args:
            image: the volume.

        Returns:
            The embedding.
        """
        pixels = windowed(image.voxels, self.window)
        middle = self.inner.encode(as_image(pixels[len(pixels) // 2]))
        block = middle.features.new_empty((len(pixels), *middle.features.shape[1:]))
        extra: dict[str, Any] = {"pixels": pixels, "slices": {}, "features": block}
        _keep(extra, len(pixels) // 2, middle)
        return Embedding(middle.features, SlicesFrame(len(pixels), middle.frame), extra)

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """Logits `[n, 1, *grid]` float32, IoU `[n, 1]`, tokens `[n, 1, c]` where the segmenter gives them.

        Args:
            embedding: what `encode` gave.
            prompts: n prompts in voxels of the volume.

        Returns:
            The one candidate of each prompt.

        Raises:
            CaseError: a prompt lies outside of the volume, or a logit is not finite.
        """
        logits = torch.full((len(prompts), 1, *embedding.frame.grid), OUTSIDE)
        drawn = [_Drawn(one[0]) for one in logits]
        flat = [replace(prompt, depth=None) for prompt in prompts]
        depths = [depth_of(prompt, embedding.frame.slices) for prompt in prompts]
        if self.propagate:
            for one, prompt, (low, high) in zip(drawn, flat, depths, strict=True):
                self._propagated(embedding, one, prompt, low, high)
        else:
            for z in range(embedding.frame.slices):
                rows = [i for i, (low, high) in enumerate(depths) if low <= z < high]
                self._put(embedding, z, [drawn[i] for i in rows], [flat[i] for i in rows])
        ious, tokens = zip(*(one.means() for one in drawn), strict=True)
        known = [token for token in tokens if token is not None]
        return Decoded(
            logits,
            torch.tensor(ious, dtype=torch.float32)[:, None],
            torch.stack(known)[:, None] if known else None,
        )

    def _put(self, embedding: Embedding, z: int, drawn: list[_Drawn], prompts: list[Prompt]) -> None:
        """Slice z of several prompts at once."""
        if prompts:
            best = self.inner.decode(self._slice(embedding.extra, z), prompts).best()
            for row, one in enumerate(drawn):
                one.put(z, best, row)

    def _propagated(self, embedding: Embedding, drawn: _Drawn, prompt: Prompt, low: int, high: int) -> None:
        middle = (low + high) // 2
        self._put(embedding, middle, [drawn], [prompt])
        for step in (1, -1):
            z, asked = middle, self._next(prompt, drawn.logits[middle], embedding.frame)
            while asked is not None and low <= z + step < high:
                z += step
                self._put(embedding, z, [drawn], [asked])
                asked = self._next(prompt, drawn.logits[z], embedding.frame)

    def _next(self, prompt: Prompt, logits: Tensor, frame: SlicesFrame) -> Prompt | None:
        """The prompt of the neighbour of a slice with these logits, None where its mask is empty."""
        mask = (frame.plane.grid_to_image(logits) >= 0).numpy()
        if not mask.any() or prompt.box is None:
            return None
        x0, y0, x1, y1 = margin_box(tight_box(mask), self.margin, mask.shape)
        a0, b0, a1, b1 = prompt.box
        box = (max(x0, a0), max(y0, b0), min(x1, a1), min(y1, b1))
        return prompt.with_box(box) if box[2] - box[0] >= 1 and box[3] - box[1] >= 1 else None

    def _slice(self, extra: dict[str, Any], z: int) -> Embedding:
        if z not in extra["slices"]:
            _keep(extra, z, self.inner.encode(as_image(extra["pixels"][z])))
        found: Embedding = extra["slices"][z]
        return found


def _keep(extra: dict[str, Any], z: int, encoded: Embedding) -> None:
    """Put the embedding of slice z with the others, its features into their block."""
    extra["features"][z] = encoded.features[0]
    extra["slices"][z] = replace(encoded, features=extra["features"][z : z + 1])


class _Drawn:
    """What one prompt draws: logits `[*grid]`, filled slice by slice, and of each slice area, IoU and token."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.told: list[tuple[float, float, Tensor | None]] = []

    def put(self, z: int, best: Decoded, row: int) -> None:
        self.logits[z] = best.logits[row, 0]
        area = float((best.logits[row, 0] >= 0).sum())
        self.told.append((area, float(best.iou[row, 0]), None if best.tokens is None else best.tokens[row, 0]))

    def means(self) -> tuple[float, Tensor | None]:
        """IoU and token over the slices, by area; where all masks are empty, each slice weighs the same."""
        areas = torch.tensor([area for area, _, _ in self.told], dtype=torch.float64)
        weights = areas / areas.sum() if areas.sum() else torch.full_like(areas, 1 / len(areas))
        iou = float(weights @ torch.tensor([iou for _, iou, _ in self.told], dtype=torch.float64))
        tokens = [token for _, _, token in self.told if token is not None]
        return iou, (torch.stack(tokens) * weights[:, None].to(tokens[0])).sum(0) if tokens else None


def as_image(plane: np.ndarray) -> np.ndarray:
    """A windowed slice uint8 `[h, w]` -> the grey image `[h, w, 3]` that a segmenter of images gets."""
    return np.repeat(plane[..., None], 3, axis=2)


def depth_of(prompt: Prompt, slices: int) -> tuple[int, int]:
    """First slice of a prompt and the one after its last; at least one, within the volume.

    Examples:
        >>> depth_of(Prompt(depth=(2.2, 5.0)), 10), depth_of(Prompt(), 10), depth_of(Prompt(depth=(12, 14)), 10)
        ((2, 5), (0, 10), (9, 10))
    """
    if prompt.depth is None:
        return 0, slices
    low = min(max(math.floor(prompt.depth[0]), 0), slices - 1)
    return low, max(low + 1, min(math.ceil(prompt.depth[1]), slices))
