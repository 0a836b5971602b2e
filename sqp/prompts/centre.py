"""Prompts that look at nothing: the centre point and the whole image."""

from __future__ import annotations

import numpy as np

from sqp.core.errors import ConfigError
from sqp.core.types import Prompt


def centre(
    image: np.ndarray,
    *,
    box: float = 0.0,
) -> list[Prompt]:
    """One positive point in the middle of the image; with `box` a box there, that share of the image's sides.

    Args:
        image: uint8 `[h, w, 3]`.
        box: share of the image's sides, 0 (a point) to 1 (the whole image).

    Returns:
        One prompt.

    Raises:
        ConfigError: the share is out of range.

    Examples:
        >>> centre(np.zeros((10, 20, 3), np.uint8))[0].points
        ((10.0, 5.0),)
        >>> centre(np.zeros((10, 20, 3), np.uint8), box=0.5)[0].box
        (5.0, 2.5, 15.0, 7.5)
    """
    if not 0 <= box <= 1:
        raise ConfigError(f"centre: box is {box}; it must lie between 0 (a point) and 1 (the whole image)")
    h, w = image.shape[:2]
    if box:
        sides = (w / 2 * (1 - box), h / 2 * (1 - box), w / 2 * (1 + box), h / 2 * (1 + box))
        return [Prompt(box=sides, prompter="centre")]
    return [Prompt(points=((w / 2, h / 2),), labels=(1,), prompter="centre")]


def whole_image(
    image: np.ndarray,
) -> list[Prompt]:
    """The whole image as a box.

    Args:
        image: uint8 `[h, w, 3]`.

    Returns:
        One prompt.

    Examples:
        >>> whole_image(np.zeros((10, 20, 3), np.uint8))[0].box
        (0.0, 0.0, 20.0, 10.0)
    """
    h, w = image.shape[:2]
    return [Prompt(box=(0.0, 0.0, float(w), float(h)), prompter="whole_image")]
