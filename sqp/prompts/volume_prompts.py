"""A 3D box as a prompt of a volume: low and high corner (d, h, w) in voxels, the high one its far edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from sqp.core.types import Prompt
from sqp.core.volume import Volume


def volume_box(mask: np.ndarray) -> np.ndarray:
    """The smallest box around a bool mask `[d, h, w]`: float64 `[2, 3]`. ValueError where the mask is empty.

    Args:
        mask: bool `[d, h, w]`.

    Returns:
        First and last corner (d, h, w), the far one exclusive.

    Raises:
        ValueError: the mask is empty.

    Examples:
        >>> mask = np.zeros((4, 6, 8), bool); mask[1:3, 2:5, 4] = True
        >>> volume_box(mask).tolist()
        [[1.0, 2.0, 4.0], [3.0, 5.0, 5.0]]
    """
    found = np.argwhere(mask)
    if not len(found):
        raise ValueError("an empty mask has no box")
    return np.stack([found.min(axis=0), found.max(axis=0) + 1]).astype(float)


def box_prompt(box: np.ndarray, shape: Sequence[int], margin: float, prompter: str) -> Prompt:
    """The prompt of a box `[2, 3]`, grown on each side by `margin` of its length, within a volume of `shape`.

    Sides come in order and are at least one voxel long; slices that are touched count whole.

    Args:
        box: `[2, 3]` in voxels (d, h, w).
        shape: (d, h, w) of the volume.
        margin: growth of each side as a share of the box's length.
        prompter: the name that the prompt carries.

    Returns:
        The prompt.

    Examples:
        >>> prompt = box_prompt(np.array([[1.0, 2.0, 4.0], [3.0, 6.0, 8.0]]), (4, 8, 16), 0.25, "localizer")
        >>> prompt.box, prompt.depth
        ((3.0, 1.0, 9.0, 7.0), (0.0, 4.0))
    """
    low, high = np.sort(box, axis=0)
    grow = margin * (high - low)
    low, high = np.clip(low - grow, 0, shape), np.clip(high + grow, 0, shape)
    low = np.minimum(low, np.array(shape) - 1.0)
    (z0, y0, x0), (z1, y1, x1) = low.tolist(), np.maximum(high, low + 1).tolist()
    return Prompt(box=(x0, y0, x1, y1), depth=(float(math.floor(z0)), float(math.ceil(z1))), prompter=prompter)


def prompt_box(prompt: Prompt) -> np.ndarray:
    """The box `[2, 3]` of a prompt that has one and a depth; the inverse of `box_prompt` but for the slices.

    Args:
        prompt: a prompt in voxels.

    Returns:
        float64 `[2, 3]`.

    Raises:
        ValueError: it has no 3D box.
    """
    if prompt.box is None or prompt.depth is None:
        raise ValueError(f"the prompt of {prompt.prompter} has no 3D box")
    (x0, y0, x1, y1), (z0, z1) = prompt.box, prompt.depth
    return np.array([[z0, y0, x0], [z1, y1, x1]])


def box_iou_3d(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two boxes `[2, 3]`, by MONAI.

    Args:
        one: `[2, 3]`.
        other: `[2, 3]`.

    Returns:
        The IoU in 0..1.

    Examples:
        >>> box_iou_3d(np.array([[0, 0, 0], [2, 2, 2]]), np.array([[0, 0, 0], [2, 2, 1]]))
        0.5
    """
    from monai.data.box_utils import box_iou

    return float(box_iou(*(box.astype(np.float32).reshape(1, 6) for box in (one, other)))[0, 0])


def depth_range(mask: np.ndarray) -> tuple[float, float]:
    """First slice of a bool mask `[d, h, w]` that is not empty, and the far edge of its last one.

    Args:
        mask: bool `[d, h, w]`, not empty.

    Returns:
        The two, in slices.

    Examples:
        >>> mask = np.zeros((5, 2, 2), bool); mask[1:4] = True
        >>> depth_range(mask)
        (1.0, 4.0)
    """
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    return float(slices[0]), float(slices[-1] + 1)


def through_slices(prompter: Callable[..., list[Prompt]]) -> Callable[..., list[Prompt]]:
    """A prompter of images -> the same of volumes: it gets its mask as seen from above, then the depth is added.

    Margins and jitter of boxes from masks act in the plane: slices are few, and a box that misses one loses all of it.
    """

    @wraps(prompter)
    def in_volume(volume: Volume, **given: Any) -> list[Prompt]:
        drawn = {name: given[name] for name in ("truth", "mask") if given.get(name) is not None}
        from_above = {name: array.any(axis=0) for name, array in drawn.items()}
        prompts = prompter(np.zeros((*volume.shape[1:], 3), np.uint8), **given | from_above)
        boxed = next(iter(drawn.values()), None)
        depth = (0.0, float(volume.shape[0])) if boxed is None or not boxed.any() else depth_range(boxed)
        return [replace(prompt, depth=depth) for prompt in prompts]

    return in_volume
