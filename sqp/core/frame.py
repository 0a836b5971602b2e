"""A volume <-> the network's voxels, as `sqp.core.frame` does it for an image: resampled as a whole, or slice by slice.

Original image <-> network pixels: the one place where image, boxes, points, masks and logits change size.

A frame scales the image so that its long side fits the network's square input, puts it into the upper left corner
and pads right and below (SAM's convention). The *grid* is the valid, unpadded part of the network's output.
Coordinates are `xy`; (0, 0) is the corner of the first pixel, so a point at x in the image lies at x * scale in the
network's input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """The geometry between an image of `original` (h, w) pixels and a square network input of side `size`.

    `stride` is input pixels per output pixel (4 for SAM's low-resolution masks, 1 where output = input).

    Examples:
        >>> frame = Frame((300, 600), size=1024, stride=4)
        >>> frame.resized, frame.grid
        ((512, 1024), (128, 256))
        >>> frame.boxes_to_input([[0, 0, 600, 300]]).tolist()
        [[0.0, 0.0, 1024.0, 512.0]]
    """

    original: tuple[int, int]
    size: int
    stride: int = 1

    @property
    def resized(self) -> tuple[int, int]:
        """(h, w) of the image in the network's input, aspect kept, at least one pixel."""
        scale = self.size / max(self.original)
        h, w = (max(1, math.floor(side * scale + 0.5)) for side in self.original)
        return h, w

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the valid part of the network's output."""
        h, w = self.resized
        return -(-h // self.stride), -(-w // self.stride)

    @property
    def covered(self) -> tuple[float, float]:
        """(rows, columns) of the grid that the image takes; the last cells may reach past its border.

        Examples:
            >>> Frame((101, 200), size=1024, stride=4).grid, Frame((101, 200), size=1024, stride=4).covered
            ((130, 256), (129.25, 256.0))
        """
        h, w = self.resized
        return h / self.stride, w / self.stride

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Input pixels per original pixel, along x and y."""
        (h, w), (rh, rw) = self.original, self.resized
        return rw / w, rh / h

    def image_to_input(self, image: np.ndarray) -> Tensor:
        """uint8 or float `[h, w, c]` -> float32 `[1, c, rh, rw]` in the image's range, antialiased, not padded."""
        tensor = torch.from_numpy(_writable(image)).permute(2, 0, 1)[None].float()
        if tensor.shape[-2:] == self.resized:
            return tensor
        return F.interpolate(tensor, self.resized, mode="bilinear", align_corners=False, antialias=True)

    def pad(self, tensor: Tensor) -> Tensor:
        """`[..., rh, rw]` -> `[..., size, size]`, zeros right and below."""
        h, w = tensor.shape[-2:]
        return F.pad(tensor, (0, self.size - w, 0, self.size - h))

    def points_to_input(self, points: Sequence | np.ndarray) -> Tensor:
        """`xy` `[n, 2]` in original pixels -> float32 `[n, 2]` in the network's input."""
        array = torch.from_numpy(_writable(np.asarray(points, dtype=np.float32))).reshape(-1, 2)
        return array * torch.tensor(self.scale_xy)

    def boxes_to_input(self, boxes: Sequence | np.ndarray) -> Tensor:
        """`xyxy` `[n, 4]` in original pixels -> float32 `[n, 4]` in the network's input."""
        array = np.asarray(boxes, dtype=np.float32).reshape(-1, 2, 2)
        return self.points_to_input(array).reshape(-1, 4)

    def crop_to_grid(self, output: Tensor) -> Tensor:
        """`[..., H, W]` padded network output -> its valid part `[..., *grid]`."""
        h, w = self.grid
        return output[..., :h, :w]

    def grid_to_image(self, maps: Tensor) -> Tensor:
        """`[..., *grid]` -> `[..., h, w]` at the original size, bilinear, as SAM's own postprocessing does.

        The grid is brought to the network's input, what lies past the image there is cut off, and the rest is
        resized to the original.
        """
        lead = maps.shape[:-2]
        x = maps.reshape(1, -1, *maps.shape[-2:]).float()
        gh, gw = self.grid
        h, w = self.resized
        if (gh * self.stride, gw * self.stride) != (gh, gw):
            x = F.interpolate(x, (gh * self.stride, gw * self.stride), mode="bilinear", align_corners=False)
        x = x[..., :h, :w]
        if (h, w) != self.original:
            x = F.interpolate(x, self.original, mode="bilinear", align_corners=False)
        return x.reshape(*lead, *self.original)

    def image_to_grid(self, maps: Tensor | np.ndarray) -> Tensor:
        """`[..., h, w]` at the original size -> float32 `[..., *grid]`, the mean over each grid cell's area."""
        tensor = (torch.from_numpy(_writable(maps)) if isinstance(maps, np.ndarray) else maps).float()
        lead = tensor.shape[:-2]
        x = tensor.reshape(1, -1, *tensor.shape[-2:])
        h, w = self.resized
        gh, gw = self.grid
        if (gh * self.stride, gw * self.stride) == (h, w):
            x = F.interpolate(x, self.grid, mode="area")
        else:  # the last cells reach past the image: they take its border
            x = F.interpolate(x.double(), (h, w), mode="area")  # two means in a row: float32 would lose digits
            x = F.pad(x, (0, gw * self.stride - w, 0, gh * self.stride - h), mode="replicate")
            x = F.avg_pool2d(x, self.stride).float()
        return x.reshape(*lead, *self.grid)

    def mask_to_grid(self, mask: Tensor | np.ndarray) -> Tensor:
        """bool `[..., h, w]` -> bool `[..., *grid]`: area mean >= 0.5."""
        return self.image_to_grid(mask) >= 0.5


def _writable(array: np.ndarray) -> np.ndarray:
    """Contiguous, and a copy where it is read-only: torch warns of memory that must not be written."""
    return np.require(array, requirements=["C", "W"])


Size = tuple[int, int, int]


MOST_CELLS = 2**24  # of a grid: eight samples of it are half a gigabyte


@dataclass(frozen=True)
class VolumeFrame:
    """The geometry between a volume of `original` (d, h, w) voxels, the network's `working` ones, and the `grid`.

    The grid is what the network works on, coarser where that has more than `MOST_CELLS` voxels.

    Examples:
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

    Examples:
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
