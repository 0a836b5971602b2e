"""An image as the input of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sqp.frame import Frame


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
