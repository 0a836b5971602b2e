"""An image, or the voxels of a volume, as the input of a network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sqp.core.frame import Frame


def to_device(x: Tensor, device: str | torch.device) -> Tensor:
    """On the device; to a GPU by way of pinned memory, so that the copy does not wait for what the GPU computes."""
    if torch.device(device).type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def normalise(pixels: Tensor, spec: Any) -> Tensor:
    """0-255 `[n, 3, h, w]` -> mean 0 and deviation 1 by the spec's channels (`mean`, `std`, of pixels in 0-1)."""
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return (pixels / 255 - mean) / std


def network_input(image: np.ndarray, spec: Any, divisor: int, stride: int) -> tuple[Tensor, Frame]:
    """uint8 `[h, w, 3]` -> normalised `[1, 3, h', w']`, sides multiples of `divisor`, zeros right and below; the frame.

    The longer side of the image becomes `spec.size`; `stride` is that of the network's output.
    """
    frame = Frame(image.shape[:2], spec.size, stride)
    pixels = normalise(frame.image_to_input(image), spec)
    h, w = frame.resized
    return F.pad(pixels, (0, -w % divisor, 0, -h % divisor)), frame


CLIPPED = (0.5, 99.5)  # percentiles: what lies beyond is an artefact, or metal


def normalised(voxels: np.ndarray) -> np.ndarray:
    """float32 `[d, h, w]` in any units -> clipped at the percentiles `CLIPPED`, mean 0, deviation 1 (constant: 0).

    float64 is taken for sums only, slice by slice: of a large volume no second copy is made in it.
    """
    low, high = np.percentile(voxels, CLIPPED).astype(np.float32)
    scaled = np.clip(voxels.astype(np.float32, copy=False), low, high)
    mean = float(scaled.mean(dtype=np.float64))
    std = math.sqrt(np.mean([np.square(plane - np.float64(mean)).mean() for plane in scaled]))
    scaled -= np.float32(mean)
    scaled /= np.float32(std) if std > 0 else np.float32(np.inf)
    return scaled
