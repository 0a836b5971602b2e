"""Test-time augmentation: one encoding for each transform (Wang et al., Neurocomputing 338, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sqp.frame import Frame
from sqp.types import Decoded, Embedding, Prompt, Samples, Segmenter
from sqp.uncertainty.batches import check_request, decode_best, token_of
from sqp.uncertainty.transforms import Chain, Dihedral, Intensity, Shrink, Transform, Zoom

T = TypeVar("T")

INTENSITIES = (0.8, 0.9, 1.1, 1.2)
"""A few factors, not any, so that several prompts of one image share encodings."""


def draw_transforms(prompt: Prompt, size: tuple[int, int], n: int, generator: torch.Generator) -> list[Transform]:
    """n transforms for an image of `size` (h, w), always in this order.

    Left-right, up-down, a quarter turn, scale 0.5, scale 2, intensity, the other quarter turn; then random
    symmetries of the square with a random intensity.
    """

    def pick(choices: Sequence[T]) -> T:
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    fixed: list[Transform] = [
        Dihedral(0, True),
        Dihedral(2, True),
        Dihedral(1),
        Shrink(0.5),
        Zoom.around(prompt, size, 2.0),
        Intensity(pick(INTENSITIES)),
        Dihedral(3),
    ]
    while len(fixed) < n:
        fixed.append(Chain((Dihedral(pick(range(4)), pick((False, True))), Intensity(pick(INTENSITIES)))))
    return fixed[:n]


def tta(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
) -> list[Samples]:
    """n samples for each prompt: sample 0 undisturbed, each other one of a transformed image, brought back.

    The prompt is transformed with the image. Flips and quarter turns come back exactly, scale 0.5 and 2
    bilinearly; outside of the crop of scale 2 a sample keeps the logits of sample 0. Each transform costs one
    encoding; prompts of one image that meet the same transform share it.
    """
    check_request(prompts, n, generators)
    if not prompts:
        return []
    embedding = segmenter.encode(image) if embedding is None else embedding
    frame = embedding.frame
    first = decode_best(segmenter, embedding, prompts)
    logits: list[list[Tensor]] = [[first.logits[i, 0]] * n for i in range(len(prompts))]
    iou = first.iou[:, :1].repeat(1, n)
    todo: dict[Transform, list[tuple[int, int]]] = {}
    for i, (prompt, generator) in enumerate(zip(prompts, generators, strict=True)):
        for j, transform in enumerate(draw_transforms(prompt, frame.original, n - 1, generator), start=1):
            todo.setdefault(transform, []).append((i, j))
    for transform, places in todo.items():
        moved, best = _decode_moved(segmenter, image, transform, [prompts[i] for i, _ in places], frame)
        for row, (i, j) in enumerate(places):
            logits[i][j] = transform.inverse(best.logits[row, 0], moved, frame, first.logits[i, 0])
            iou[i, j] = best.iou[row, 0]
    return [Samples(torch.stack(logits[i]), iou[i], frame, token_of(first, i)) for i in range(len(prompts))]


def _decode_moved(
    segmenter: Segmenter, image: np.ndarray, transform: Transform, prompts: list[Prompt], frame: Frame
) -> tuple[Frame, Decoded]:
    """Frame and best candidates of the transformed image."""
    embedding = segmenter.encode(transform.image(image))
    moved = [transform.prompt(prompt, frame.original) for prompt in prompts]
    return embedding.frame, decode_best(segmenter, embedding, moved)
