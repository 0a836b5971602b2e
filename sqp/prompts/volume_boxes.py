"""Prompters of volumes: a 3D box, told as the box of all slices together and the slices that it goes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sqp.core.types import Prompt
from sqp.core.volume import Volume
from sqp.prompts.centre import whole_image
from sqp.prompts.landmarks import landmarks
from sqp.prompts.mask_box import mask_box
from sqp.prompts.truth import truth_box
from sqp.prompts.volume_localizer import volume_localizer


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


def _through(prompter: Callable[..., list[Prompt]]) -> Callable[..., list[Prompt]]:
    """A prompter of images -> the same of volumes: it gets the masks as seen from above, then the depth is added."""

    def in_volume(
        volume: Volume,
        *,
        truth: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        generator: np.random.Generator | None = None,
        **options: object,
    ) -> list[Prompt]:
        above = {"truth": truth, "mask": mask}
        flat = {name: None if array is None else array.any(axis=0) for name, array in above.items()}
        prompts = prompter(np.zeros((*volume.shape[1:], 3), np.uint8), **flat, generator=generator, **options)
        of = {"truth_box": truth, "mask_box": mask}.get(prompter.__name__)
        depth = (0.0, float(volume.shape[0])) if of is None or not of.any() else depth_range(of)
        return [replace(prompt, depth=depth) for prompt in prompts]

    return in_volume


VOLUME_PROMPTERS: dict[str, Callable[..., list[Prompt]]] = {
    "whole_image": _through(whole_image),
    "truth_box": _through(truth_box),
    "mask_box": _through(mask_box),
    "localizer": volume_localizer,
    "landmarks": landmarks,
}
"""name -> (volume, truth, mask, generator, its own options) -> prompts with a depth. Margins and jitter of boxes
from masks act in the plane: slices are few, and a box that misses one loses all of it."""
