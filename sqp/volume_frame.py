"""A volume <-> the network's voxels, as `sqp.frame` does it for an image: resampled as a whole, or slice by slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sqp.frame import Frame

Size = tuple[int, int, int]


MOST_CELLS = 2**24  # of a grid: eight samples of it are half a gigabyte


@dataclass(frozen=True)
class VolumeFrame:
    """The geometry between a volume of `original` (d, h, w) voxels, the network's `working` ones, and the `grid`.

    The grid is what the network works on, coarser where that has more than `MOST_CELLS` voxels.

    >>> VolumeFrame.at_spacing((20, 100, 100), (5.0, 0.8, 0.8), (2.5, 1.6, 0)).grid
    (40, 50, 100)
    >>> VolumeFrame.at_spacing((300, 512, 512), (1.0, 0.8, 0.8), (0, 0, 0)).grid
    (179, 305, 305)
    """

    original: Size
    working: Size
    grid: Size

    @classmethod
    def at_spacing(cls, shape: Size, spacing: Sequence[float], working: Sequence[float]) -> VolumeFrame:
        """Resampled from `spacing` to `working` (d, h, w) in mm; an axis whose working spacing is 0 stays as it is."""
        d, h, w = (
            max(1, round(n * own / new)) if new else n for n, own, new in zip(shape, spacing, working, strict=True)
        )
        shrink = min(1.0, (MOST_CELLS / (d * h * w)) ** (1 / 3))
        gd, gh, gw = (max(1, math.floor(n * shrink)) for n in (d, h, w))
        return cls(shape, (d, h, w), (gd, gh, gw))

    def image_to_input(self, voxels: np.ndarray) -> Tensor:
        """float32 `[d, h, w]` -> `[*working]`, linear along each axis, antialiased where it shrinks."""
        return resample_volume(torch.from_numpy(np.require(voxels, np.float32, ["C", "W"])), self.working)

    def output_to_grid(self, logits: Tensor) -> Tensor:
        """The network's `[n, c, *working]` -> `[n, c, *grid]`, by area mean."""
        return logits if self.grid == self.working else F.interpolate(logits, self.grid, mode="area")

    def grid_to_image(self, maps: Tensor) -> Tensor:
        """`[..., *grid]` -> `[..., d, h, w]` at the original size, trilinear."""
        if self.grid == self.original:
            return maps.float()
        flat = maps.reshape(-1, 1, *self.grid).float()
        out = [F.interpolate(one[None], self.original, mode="trilinear", align_corners=False)[0] for one in flat]
        return torch.cat(out).reshape(*maps.shape[:-3], *self.original)

    def image_to_grid(self, maps: Tensor | np.ndarray) -> Tensor:
        """`[..., d, h, w]` at the original size -> float32 `[..., *grid]`, the mean over each cell's voxels."""
        tensor = torch.as_tensor(maps).float()
        if self.grid == self.original:
            return tensor
        flat = tensor.reshape(-1, 1, *self.original)
        return F.interpolate(flat, self.grid, mode="area").reshape(*tensor.shape[:-3], *self.grid)

    def mask_to_grid(self, mask: Tensor | np.ndarray) -> Tensor:
        """bool `[..., d, h, w]` -> bool `[..., *grid]`: mean >= 0.5."""
        return self.image_to_grid(mask) >= 0.5


def resample_volume(x: Tensor, size: Size) -> Tensor:
    """float32 `[d, h, w]` -> `[*size]`, linear along each axis, antialiased where it shrinks."""
    d, h, w = size
    if x.shape[1:] != (h, w):
        x = F.interpolate(x[:, None], (h, w), mode="bilinear", align_corners=False, antialias=True)[:, 0]
    if len(x) != d:
        columns = x.reshape(1, 1, len(x), h * w)
        x = F.interpolate(columns, (d, h * w), mode="bilinear", align_corners=False, antialias=True)
    return x.reshape(size)


def numbers_of(frame: object) -> list[int]:
    """What a record keeps of the frame of its maps: [size, stride]; [] of a `VolumeFrame`, whose grid tells all.

    >>> numbers_of(Frame((300, 600), size=1024, stride=4))
    [1024, 4]
    """
    plane = frame.plane if isinstance(frame, SlicesFrame) else frame
    return [plane.size, plane.stride] if isinstance(plane, Frame) else []


def frame_from(
    numbers: Sequence[int] | None, original: Sequence[int], grid: Sequence[int]
) -> Frame | VolumeFrame | SlicesFrame:
    """The frame of a map on `grid` over an image or a volume of `original` size, from the `numbers_of` it.

    None, of a record that keeps none: the grid is taken to end where the image does. ValueError where a frame of these
    numbers has another grid.
    """
    if len(original) == 2:
        h, w = original
        size, stride = numbers or (max(grid), 1)
        frame: Frame | VolumeFrame | SlicesFrame = Frame((h, w), size, stride)
    else:
        (d, h, w), (gd, gh, gw) = original, grid
        frame = VolumeFrame((d, h, w), (gd, gh, gw), (gd, gh, gw))
        if numbers:
            size, stride = numbers
            frame = SlicesFrame(d, Frame((h, w), size, stride))
    if numbers and frame.grid != tuple(grid):
        raise ValueError(f"a map has {tuple(grid)} cells where its frame has {frame.grid}")
    return frame


@dataclass(frozen=True)
class SlicesFrame:
    """Each of the `slices` of a volume in the frame `plane` of a 2D network; one slice at a time is in memory twice."""

    slices: int
    plane: Frame

    @property
    def original(self) -> Size:
        """(d, h, w)."""
        return self.slices, *self.plane.original

    @property
    def grid(self) -> Size:
        """(d, grid height, grid width)."""
        return self.slices, *self.plane.grid

    def grid_to_image(self, maps: Tensor) -> Tensor:
        """`[..., *grid]` -> `[..., d, h, w]`."""
        return torch.stack([self.plane.grid_to_image(one) for one in maps.unbind(-3)], dim=-3)

    def image_to_grid(self, maps: Tensor | np.ndarray) -> Tensor:
        """`[..., d, h, w]` -> float32 `[..., *grid]`, by area mean."""
        return torch.stack([self.plane.image_to_grid(one) for one in torch.as_tensor(maps).unbind(-3)], dim=-3)

    def mask_to_grid(self, mask: Tensor | np.ndarray) -> Tensor:
        """bool `[..., d, h, w]` -> bool `[..., *grid]`: area mean >= 0.5."""
        return self.image_to_grid(mask) >= 0.5
