"""Random shifts of boxes and points, as UR-SAM makes them (Zhang et al., arXiv 2311.10529)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sqp.core.boxes import Box, clip_box
from sqp.core.types import Prompt


def n_draws(prompt: Prompt, edges: bool = False) -> int:
    """How many numbers `jitter_prompt` needs for this prompt: 2 or 4 for a box, 2 for each point.

    Args:
        prompt: the prompt.
        edges: True moves each side of a box by itself.

    Returns:
        The number.
    """
    return (0 if prompt.box is None else 4 if edges else 2) + 2 * len(prompt.points)


def jitter_prompt(
    prompt: Prompt,
    draws: Sequence[float] | np.ndarray,
    ratio: float,
    size: tuple[int, int],
    edges: bool = False,
) -> Prompt:
    """The prompt moved by `draws` `[n_draws]`, each in -1..1, inside an image of `size` (h, w).

    The whole box is shifted by (draw * ratio * w, draw * ratio * h) of its own size; with `edges` each side
    moves by itself. A point is shifted by draw * ratio of the image's short side. The result is clipped to
    the image.

    Args:
        prompt: the prompt in pixels.
        draws: `[n_draws]`, each in -1..1.
        ratio: largest shift as a share of the box's sides.
        size: (h, w) of the image.
        edges: True moves each side of a box by itself.

    Returns:
        The moved prompt.

    Examples:
        >>> jitter_prompt(Prompt(box=(10, 10, 30, 50)), (1, -1), 0.1, (100, 100)).box
        (12.0, 6.0, 32.0, 46.0)
    """
    draws = [float(value) for value in draws]
    box: Box | None = None
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        w, h = ratio * (x1 - x0), ratio * (y1 - y0)
        moves = draws[:4] if edges else draws[:2] * 2
        draws = draws[4:] if edges else draws[2:]
        box = clip_box((x0 + moves[0] * w, y0 + moves[1] * h, x1 + moves[2] * w, y1 + moves[3] * h), size)
    reach = ratio * min(size)
    points = tuple(
        (_inside(x + dx * reach, size[1]), _inside(y + dy * reach, size[0]))
        for (x, y), dx, dy in zip(prompt.points, draws[0::2], draws[1::2], strict=True)
    )
    return replace(prompt, box=box, points=points)


def _inside(value: float, length: int) -> float:
    """Clip to the pixel centres of the first and last pixel."""
    return min(max(value, 0.5), length - 0.5)
