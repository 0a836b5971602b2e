"""Image transforms for test-time augmentation: forward for image and prompt, inverse for logits on the grid.

Flips and 90° turns are exact; only where the image does not fill the last cell of the grid (its resized side
is no multiple of the stride) the flipped cells lie between the others and are interpolated. `Shrink` and
`Zoom` resample the logits bilinearly: a map that is linear over the image comes back to within rounding, away
from the edges.

Read logits at other places of the grid, bilinearly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sqp.core.frame import Frame
from sqp.core.types import Prompt


def resample(
    logits: Tensor, source: Frame, target: Frame, scale: tuple[float, float], shift: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Logits `[*source.grid]` read at the cells of `target.grid`, and which of these lie in the source.

    An original pixel at x lies at x * scale + shift in the transformed image.

    Args:
        logits: `[*source.grid]`.
        source: frame of the transformed image.
        target: frame of the original image.
        scale: (x, y) factors from original to transformed pixels.
        shift: (x, y) in transformed pixels.

    Returns:
        Logits and bool, both `[*target.grid]`.
    """
    axes, inside = [], []
    for axis in (0, 1):  # x, y
        cells = target.grid[1 - axis]
        centre = (torch.arange(cells, dtype=torch.float64) + 0.5) * target.stride / target.scale_xy[axis]
        moved = centre * scale[axis] + shift[axis]
        inside.append((moved >= 0) & (moved <= source.original[1 - axis]))
        place = moved * source.scale_xy[axis] / source.stride
        axes.append(2 * place / source.grid[1 - axis] - 1)
    read = _read(logits, axes[0], axes[1])
    return read, (inside[1][:, None] & inside[0][None, :]).to(logits.device)


def shift_cells(logits: Tensor, x: float, y: float) -> Tensor:
    """`[h, w]` read x cells to the right and y cells below each cell; the last row or column is repeated.

    Args:
        logits: `[h, w]`.
        x: cells to the right.
        y: cells downwards.

    Returns:
        `[h, w]`.

    Examples:
        >>> shift_cells(torch.tensor([[0.0, 1.0, 2.0]]), 1.0, 0.0).round().tolist()
        [[1.0, 2.0, 2.0]]
    """
    h, w = logits.shape
    axes = [2 * (torch.arange(n, dtype=torch.float64) + 0.5 + by) / n - 1 for n, by in ((w, x), (h, y))]
    return _read(logits, axes[0], axes[1])


def _read(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`[h, w]` at columns x and rows y, in -1..1 from edge to edge."""
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(logits)
    return F.grid_sample(logits[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0, 0]


class Transform(Protocol):
    """Hashable, so that prompts which meet the same transform share one encoding."""

    def image(self, image: Any) -> Any:
        """uint8 `[h, w, 3]` -> uint8 `[h', w', 3]`, or a volume -> a volume."""

    def prompt(self, prompt: Prompt, size: Any) -> Prompt:
        """The prompt in pixels of the transformed image; `size` is the original (h, w)."""

    def inverse(self, logits: Tensor, source: Any, target: Any, fallback: Tensor) -> Tensor:
        """Logits `[*source.grid]` of the transformed image -> `[*target.grid]`, else `fallback`."""


def map_prompt(prompt: Prompt, move: Callable[[float, float], tuple[float, float]]) -> Prompt:
    """The prompt with every corner and point moved; the box's corners are put in order again.

    Args:
        prompt: a prompt in pixels.
        move: (x, y) -> (x, y).

    Returns:
        The moved prompt.
    """
    box = prompt.box
    if box is not None:
        (ax, ay), (bx, by) = move(box[0], box[1]), move(box[2], box[3])
        box = (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))
    return replace(prompt, box=box, points=tuple(move(x, y) for x, y in prompt.points))


def _turned(prompt: Prompt, width: int) -> Prompt:
    """A quarter turn counter-clockwise of an image that is `width` pixels wide."""
    return map_prompt(prompt, lambda x, y: (y, width - x))


@dataclass(frozen=True)
class Dihedral:
    """A left-right flip (or none) after `turns` counter-clockwise quarter turns: 8 symmetries."""

    turns: int = 0
    flip: bool = False

    def image(self, image: np.ndarray) -> np.ndarray:
        """Exact."""
        image = np.rot90(image, self.turns)
        return np.ascontiguousarray(image[:, ::-1] if self.flip else image)

    def prompt(self, prompt: Prompt, size: tuple[int, int]) -> Prompt:
        """Exact."""
        for _ in range(self.turns % 4):
            prompt = _turned(prompt, size[1])
            size = size[::-1]
        if self.flip:
            prompt = map_prompt(prompt, lambda x, y: (size[1] - x, y))
        return prompt

    def inverse(self, logits: Tensor, source: Frame, target: Frame, fallback: Tensor) -> Tensor:
        """Exact; bilinear along a reversed axis whose last cell is not full."""
        logits = torch.rot90(logits.flip(-1) if self.flip else logits, -self.turns, (-2, -1))
        spare = [cells * target.stride - side for cells, side in zip(target.grid, target.resized, strict=True)]
        shift_y, shift_x = (
            part / target.stride if reverse else 0.0 for part, reverse in zip(spare, self._reversed(), strict=True)
        )
        return shift_cells(logits, shift_x, shift_y) if shift_x or shift_y else logits

    def _reversed(self) -> tuple[bool, bool]:
        """Whether the image's y and x axis run backwards in the transformed image."""
        probe = Prompt(points=((0, 0), (0, 1), (1, 0)), labels=(1, 1, 1))
        origin, y, x = (sum(point) for point in self.prompt(probe, (1, 1)).points)
        return y < origin, x < origin


@dataclass(frozen=True)
class Intensity:
    """All grey values times `factor`, clipped to 0..255."""

    factor: float

    def image(self, image: np.ndarray) -> np.ndarray:
        """Rounded to uint8."""
        table = np.clip(np.arange(256) * self.factor + 0.5, 0, 255).astype(np.uint8)
        return table[image]

    def prompt(self, prompt: Prompt, size: tuple[int, int]) -> Prompt:
        """Unchanged."""
        return prompt

    def inverse(self, logits: Tensor, source: Frame, target: Frame, fallback: Tensor) -> Tensor:
        """Unchanged."""
        return logits


@dataclass(frozen=True)
class Shrink:
    """The image at `scale` < 1 in the middle of a canvas of its own size, filled with its mean colour.

    (A segmenter of fixed input size would undo a plain resize.)
    """

    scale: float = 0.5

    def _place(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Height, width, top and left of the small image."""
        h, w = (max(1, round(side * self.scale)) for side in size)
        return h, w, (size[0] - h) // 2, (size[1] - w) // 2

    def image(self, image: np.ndarray) -> np.ndarray:
        """Antialiased."""
        h, w, top, left = self._place(image.shape[:2])
        canvas = np.empty_like(image)
        canvas[:] = np.round(image.mean(axis=(0, 1))).astype(np.uint8)
        canvas[top : top + h, left : left + w] = Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR)
        return canvas

    def prompt(self, prompt: Prompt, size: tuple[int, int]) -> Prompt:
        """Scaled and moved with the image."""
        h, w, top, left = self._place(size)
        return map_prompt(prompt, lambda x, y: (x * w / size[1] + left, y * h / size[0] + top))

    def inverse(self, logits: Tensor, source: Frame, target: Frame, fallback: Tensor) -> Tensor:
        """Bilinear."""
        h, w, top, left = self._place(target.original)
        scale = (w / target.original[1], h / target.original[0])
        return resample(logits, source, target, scale, (left, top))[0]


@dataclass(frozen=True)
class Zoom:
    """A crop, `window` = (x0, y0, x1, y1) in whole pixels, which the segmenter then sees enlarged."""

    window: tuple[int, int, int, int]

    @classmethod
    def around(cls, prompt: Prompt, size: tuple[int, int], scale: float = 2.0, room: float = 0.1) -> Zoom:
        """The crop of 1/scale of the sides around the prompt, inside the image and of its aspect.

        It grows (the scale falls, down to 1) until the prompt with `room` of its size on each side fits in,
        so that no part of what is asked for is cut off. Without a prompt it is centred.

        Args:
            prompt: a prompt in pixels of the image.
            size: (h, w) of the image.
            scale: how much larger the crop is seen.
            room: margin around the prompt as a share of its size.

        Returns:
            The crop.
        """
        h, w = size
        corners = [(prompt.box[0], prompt.box[1]), (prompt.box[2], prompt.box[3])] if prompt.box is not None else []
        corners = [*corners, *prompt.points] or [(w / 2, h / 2)]
        (x0, y0), (x1, y1) = np.clip(np.min(corners, 0), 0, (w, h)), np.clip(np.max(corners, 0), 0, (w, h))
        share = max(1 / scale, (1 + 2 * room) * (x1 - x0) / w, (1 + 2 * room) * (y1 - y0) / h)
        share = min(share, 1.0)
        ww, wh = min(w, int(np.ceil(share * w))), min(h, int(np.ceil(share * h)))
        left = int(np.clip(round((x0 + x1 - ww) / 2), 0, w - ww))
        top = int(np.clip(round((y0 + y1 - wh) / 2), 0, h - wh))
        return cls((left, top, left + ww, top + wh))

    def image(self, image: np.ndarray) -> np.ndarray:
        """Exact."""
        x0, y0, x1, y1 = self.window
        return np.ascontiguousarray(image[y0:y1, x0:x1])

    def prompt(self, prompt: Prompt, size: tuple[int, int]) -> Prompt:
        """Moved, and clipped to the crop."""
        x0, y0, x1, y1 = self.window
        return map_prompt(prompt, lambda x, y: (min(max(x, x0), x1) - x0, min(max(y, y0), y1) - y0))

    def inverse(self, logits: Tensor, source: Frame, target: Frame, fallback: Tensor) -> Tensor:
        """Bilinear inside of the crop; `fallback` outside."""
        x0, y0, _, _ = self.window
        inside_logits, inside = resample(logits, source, target, (1.0, 1.0), (-x0, -y0))
        return torch.where(inside, inside_logits, fallback)


@dataclass(frozen=True)
class Chain:
    """Several transforms, the first one first: it may be any, the others must keep the frame (no turn, no scale)."""

    parts: tuple[Dihedral | Intensity | Shrink | Zoom, ...]

    def image(self, image: np.ndarray) -> np.ndarray:
        """Each in turn."""
        for part in self.parts:
            image = part.image(image)
        return image

    def prompt(self, prompt: Prompt, size: tuple[int, int]) -> Prompt:
        """Each in turn."""
        for part in self.parts:
            prompt = part.prompt(prompt, size)
            if isinstance(part, Dihedral) and part.turns % 2:
                size = size[::-1]
            elif isinstance(part, Zoom):
                size = part.window[3] - part.window[1], part.window[2] - part.window[0]
        return prompt

    def inverse(self, logits: Tensor, source: Frame, target: Frame, fallback: Tensor) -> Tensor:
        """Each in turn, backwards."""
        first, *others = self.parts
        for part in reversed(others):
            logits = part.inverse(logits, source, source, fallback)
        return first.inverse(logits, source, target, fallback)
