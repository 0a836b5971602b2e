"""Test-time augmentation: one encoding for each transform (Wang et al., Neurocomputing 338, 2019).

Two sets of transforms of images: `full`, and `paper`, that of "Biomedical Image Segmentation Based on Foundation Models
Adapted Without Retraining and With Uncertainty Estimation". Volumes are flipped along their three axes, which is undone
exactly, and change their contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import ConfigError, lookup
from sqp.core.frame import SlicesFrame
from sqp.core.types import Embedding, GridFrame, Prompt, Samples, Segmenter
from sqp.core.volume import Volume
from sqp.uncertainty.batches import check_request, decode_best, encodings, token_of
from sqp.uncertainty.transforms import Chain, Dihedral, Intensity, Shrink, Transform, Zoom, map_prompt

T = TypeVar("T")

INTENSITIES = (0.8, 0.9, 1.1, 1.2)
"""A few factors, not any, so that several prompts of one image share encodings."""
PAPER = 30
"""Size of the paper's set: flip or not, three scales, five intensities."""


def draw_transforms(prompt: Prompt, size: tuple[int, int], n: int, generator: torch.Generator) -> list[Transform]:
    """n transforms for an image of `size` (h, w), always in this order.

    Left-right, up-down, a quarter turn, scale 0.5, scale 2, intensity, the other quarter turn; then random
    symmetries of the square with a random intensity.

    Args:
        prompt: a prompt in pixels of the image.
        size: (h, w) of the image.
        n: number of transforms beside the identity.
        generator: what draws.

    Returns:
        The transforms.
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


def paper_transforms(prompt: Prompt, size: tuple[int, int], n: int, generator: torch.Generator) -> list[Transform]:
    """n of the paper's 29 transforms beside the identity: left-right flip, scale and intensity, singly and together.

    Nothing is drawn. The single ones come first: the flip, scales 0.5 and 2, intensities 0.8, 0.9, 1.1, 1.2.

    Args:
        prompt: a prompt in pixels of the image.
        size: (h, w) of the image.
        n: number of transforms beside the identity.
        generator: not used.

    Returns:
        The transforms.
    """
    intensities: list[tuple[Intensity, ...]] = [(), *((Intensity(factor),) for factor in INTENSITIES)]
    scales: list[tuple[Shrink | Zoom, ...]] = [(), (Shrink(0.5),), (Zoom.around(prompt, size, 2.0),)]
    flips: list[tuple[Dihedral, ...]] = [(), (Dihedral(0, True),)]
    sets: list[tuple[Dihedral | Intensity | Shrink | Zoom, ...]] = [
        (*scale, *flip, *intensity) for intensity, scale, flip in product(intensities, scales, flips)
    ]
    parts = sorted(sets, key=len)[1 : n + 1]
    return [chosen[0] if len(chosen) == 1 else Chain(chosen) for chosen in parts]


@dataclass(frozen=True)
class TransformSet:
    """`draw`: (prompt, size, n, generator) -> n transforms beside the identity; `most`: samples, the identity too."""

    draw: Callable[[Prompt, tuple[int, int], int, torch.Generator], list[Transform]]
    most: float


SETS: dict[str, TransformSet] = {
    "full": TransformSet(draw_transforms, float("inf")),
    "paper": TransformSet(paper_transforms, PAPER),
}


def tta(
    segmenter: Segmenter,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    n: int,
    generators: Sequence[torch.Generator],
    *,
    embedding: Embedding | None = None,
    set: str = "full",
) -> list[Samples]:
    """n samples for each prompt: sample 0 undisturbed, each other one of a transformed image, brought back.

    The prompt is transformed with the image. Flips and quarter turns come back exactly, scale 0.5 and 2 bilinearly;
    outside of the crop of scale 2 a sample keeps the logits of sample 0. Each transform costs one encoding; prompts of
    one image that meet the same transform share it. A volume is flipped along its three axes, whatever the set
    (`volume_transforms`).

    Args:
        segmenter: what is sampled.
        image: uint8 `[h, w, 3]`, or a `Volume`.
        prompts: prompts in pixels of the image.
        n: samples a prompt, the undisturbed one too.
        generators: one a prompt.
        embedding: of this image, where there is one already.
        set: a name of `SETS`.

    Returns:
        a `Samples` a prompt, logits `[n, *grid]`.

    Raises:
        ConfigError: the set is unknown, or has fewer samples than `n`.
        CaseError: a prompt lies outside of the image, or logits are not finite.
    """
    transforms = lookup("set of transforms", set, SETS)
    if n > transforms.most:
        raise ConfigError(f"n_samples is {n}, but the set '{set}' has {transforms.most}: give fewer, or set = full")
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
        for j, transform in enumerate(_drawn(transforms, prompt, frame, n - 1, generator), start=1):
            todo.setdefault(transform, []).append((i, j))
    moved = encodings(segmenter, (transform.image(image) for transform in todo))
    for (transform, places), encoded in zip(todo.items(), moved, strict=True):
        best = decode_best(segmenter, encoded, [transform.prompt(prompts[i], frame.original) for i, _ in places])
        for row, (i, j) in enumerate(places):
            logits[i][j] = transform.inverse(best.logits[row, 0], encoded.frame, frame, first.logits[i, 0])
            iou[i, j] = best.iou[row, 0]
    return [Samples(torch.stack(logits[i]), iou[i], frame, token_of(first, i)) for i in range(len(prompts))]


def _drawn(
    transforms: TransformSet, prompt: Prompt, frame: Any, n: int, generator: torch.Generator
) -> Sequence[Transform]:
    """n transforms of the set for an image; of a volume flips along its axes, with contrasts after the seventh."""
    if len(frame.original) == 2:
        return transforms.draw(prompt, frame.original, n, generator)
    return draw_volume_transforms(n, generator)


FLIPS = tuple(axes for k in range(4) for axes in combinations((0, 1, 2), k))  # none, one, two, all of d, h, w
GAMMAS = (0.8, 0.9, 1.1, 1.2)
IN_PLANE = {(1,): Dihedral(2, True), (2,): Dihedral(0, True), (1, 2): Dihedral(2)}


@dataclass(frozen=True)
class VolumeTransform:
    """The volume flipped along the axes `flips` (0 d, 1 h, 2 w), its grey values (from lowest to highest) to a power.

    A factor would do nothing: segmenters of volumes normalise what they get.
    """

    flips: tuple[int, ...] = ()
    gamma: float = 1.0

    def image(self, volume: Volume) -> Volume:
        """Exact for a flip."""
        voxels = np.flip(volume.voxels, self.flips)
        low, reach = float(voxels.min()), float(np.ptp(voxels))
        if self.gamma != 1 and reach:
            voxels = ((voxels - low) / reach) ** self.gamma * reach + low
        return volume.with_voxels(voxels)

    def prompt(self, prompt: Prompt, size: tuple[int, ...]) -> Prompt:
        """The prompt in voxels of the flipped volume of `size` (d, h, w)."""
        d, h, w = size
        moved = map_prompt(prompt, lambda x, y: (w - x if 2 in self.flips else x, h - y if 1 in self.flips else y))
        if moved.depth is None or 0 not in self.flips:
            return moved
        return replace(moved, depth=(d - moved.depth[1], d - moved.depth[0]))

    def inverse(self, logits: Tensor, source: GridFrame, target: GridFrame, fallback: Tensor) -> Tensor:
        """Logits `[*grid]` of the transformed volume -> of the original one.

        Exact; slice by slice bilinear along a reversed axis whose last cell is not full, as `Dihedral` does it.
        """
        plane = IN_PLANE.get(tuple(axis for axis in self.flips if axis))
        if plane is not None and isinstance(source, SlicesFrame) and isinstance(target, SlicesFrame):
            logits = torch.stack([plane.inverse(one, source.plane, target.plane, one) for one in logits])
            return logits.flip(0) if 0 in self.flips else logits
        return logits.flip(self.flips) if self.flips else logits


def draw_volume_transforms(n: int, generator: torch.Generator) -> list[VolumeTransform]:
    """n transforms: the seven flips (of one axis, of two, of all), then random flips with a random contrast.

    Args:
        n: number of transforms.
        generator: what draws.

    Returns:
        The transforms.
    """
    made = [VolumeTransform(axes) for axes in FLIPS[1:]]
    while len(made) < n:
        flip, gamma = (int(torch.randint(k, (), generator=generator)) for k in (len(FLIPS), len(GAMMAS)))
        made.append(VolumeTransform(FLIPS[flip], GAMMAS[gamma]))
    return made[:n]
