"""Prompts that look at nothing: the centre point and the whole image."""

from __future__ import annotations

import numpy as np

from sqp.types import Prompt


def centre(
    image: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
) -> list[Prompt]:
    """One positive point in the middle of the image.

    >>> centre(np.zeros((10, 20, 3), np.uint8))[0].points
    ((10.0, 5.0),)
    """
    h, w = image.shape[:2]
    return [Prompt(points=((w / 2, h / 2),), labels=(1,), prompter="centre")]


def whole_image(
    image: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
) -> list[Prompt]:
    """The whole image as a box.

    >>> whole_image(np.zeros((10, 20, 3), np.uint8))[0].box
    (0.0, 0.0, 20.0, 10.0)
    """
    h, w = image.shape[:2]
    return [Prompt(box=(0.0, 0.0, float(w), float(h)), prompter="whole_image")]
