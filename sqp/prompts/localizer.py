"""A small network that was fitted on masks says where the lesion lies: the box of its heatmap.

The localizer's network: a timm encoder whose deeper stages are joined into one coarse heatmap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from sqp.core.boxes import Box, margin_box, tight_box
from sqp.core.errors import ConfigError
from sqp.core.types import Prompt
from sqp.networks.checkpoint import IMAGENET_MEAN, IMAGENET_STD
from sqp.networks.inputs import network_input
from sqp.networks.timm_models import DIVISOR, create, fixed_size
from sqp.prompts.fitted import check_threshold, checkpoint_file, fitted_network

STRIDE = 8  # input pixels a cell of the heatmap
WIDTH = 64


@dataclass(frozen=True)
class LocalizerSpec:
    """What a localizer is.

    encoder: a timm model's name; size: longer side of its input in pixels; width: channels of the join; mean, std: of
    the pixels in 0-1, by channel.
    """

    kind: ClassVar[str] = "localizer"
    encoder: str
    size: int = 224
    width: int = WIDTH
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


class HeatmapNetwork(nn.Module):
    """Stages of stride 8, 16 and 32, each by a 1 x 1 convolution, joined at stride 8 (SegFormer's head, 2105.15203)."""

    def __init__(self, encoder: nn.Module, kept: list[int], channels: list[int], width: int) -> None:
        super().__init__()
        self.encoder, self.kept = encoder, kept
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.join = nn.Sequential(
            nn.Conv2d(width * len(channels), width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 1, 1),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        """`[n, 3, h, w]` -> logits `[n, 1, h / 8, w / 8]`; h and w are multiples of 32."""
        maps = self.encoder(pixels)
        stages = [lateral(maps[k]) for lateral, k in zip(self.lateral, self.kept, strict=True)]
        size = stages[0].shape[-2:]
        joined = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in stages[1:]]
        return self.join(torch.cat([stages[0], *joined], dim=1))


def build_localizer(spec: LocalizerSpec, pretrained: bool = False, file: Path | None = None) -> nn.Module:
    """The network of a spec; its encoder starts from timm's hub or a file, else at random.

    Args:
        spec: what the localizer is.
        pretrained: whether its encoder starts from timm's hub.
        file: weights of the encoder, in place of the hub.

    Returns:
        The network.

    Raises:
        ConfigError: timm does not know the encoder, it has no stages of stride 8, 16 and 32, or the size does not suit
            it.
    """
    if spec.size < DIVISOR or spec.size % DIVISOR:
        raise ConfigError(f"size is {spec.size}; the input of a localizer must be a multiple of {DIVISOR}")
    if fixed_size(spec.encoder):
        raise ConfigError(f"encoder {spec.encoder} takes one size of image only; a localizer needs a convolutional one")
    encoder = create(spec.encoder, pretrained, file, features_only=True)
    info: Any = encoder.feature_info
    kept = [k for k, stride in enumerate(info.reduction()) if stride >= STRIDE]
    if [info.reduction()[k] for k in kept] != [8, 16, 32]:
        raise ConfigError(
            f"encoder {spec.encoder} has stages of stride {info.reduction()}; a localizer needs 8, 16 and 32"
        )
    network = HeatmapNetwork(encoder, kept, [info.channels()[k] for k in kept], spec.width)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


FLIPS = ((), (1,), (0,), (0, 1))
"""Axes of an image that are flipped: none, left-right, upside down, both."""


def localizer(
    image: np.ndarray,
    *,
    checkpoint: str = "",
    margin: float = 0.0,
    threshold: float = 0.5,
    flips: int = 4,
) -> list[Prompt]:
    """The box of the heatmap of `checkpoint` (a file of `sqp fit localizer`), grown by `margin` of its size.

    The heatmap is averaged over `flips` flips of the image: 1 (as it is), 2 (left-right too) or 4 (all). Where it
    nowhere reaches `threshold` half of its peak is taken, and the prompter is `localizer_fallback`.

    Args:
        image: uint8 `[h, w, 3]`.
        checkpoint: a file of `sqp fit localizer`.
        margin: growth of each side as a share of the box's size.
        threshold: of the heatmap, 0 to 1.
        flips: 1 (as it is), 2 (left-right too) or 4 (all).

    Returns:
        One prompt.

    Raises:
        ConfigError: no checkpoint is given, or an option is out of range.
    """
    check_threshold(threshold)
    if flips not in (1, 2, 4):
        raise ConfigError(f"localizer: flips is {flips}; it must be 1, 2 or 4")
    file = checkpoint_file("localizer", checkpoint, "localizer")
    spec, network = fitted_network(file, LocalizerSpec, build_localizer, "localizer")
    views = [network_input(np.flip(image, axes).copy(), spec, DIVISOR, STRIDE) for axes in FLIPS[:flips]]
    frame = views[0][1]
    with torch.no_grad():
        heatmaps = torch.sigmoid(network(torch.cat([pixels for pixels, _ in views])))
    maps = input_pixels(heatmaps, frame.resized)
    box, sure = map_box(torch.stack([m.flip(axes) for m, axes in zip(maps, FLIPS, strict=False)]).mean(0), threshold)
    at_image = tuple(float(v) for v in np.asarray(box) / np.tile(frame.scale_xy, 2))
    name = "localizer" if sure else "localizer_fallback"
    return [Prompt(box=margin_box(at_image, margin, frame.original), prompter=name)]


def input_pixels(heatmaps: Tensor, size: tuple[int, int]) -> Tensor:
    """Heatmaps `[n, 1, h', w']`, a cell 8 x 8 pixels, bilinearly at the pixels `[n, h, w]` of inputs of `size`."""
    h, w = size
    return F.interpolate(heatmaps.float(), scale_factor=STRIDE, mode="bilinear", align_corners=False)[:, 0, :h, :w]


def map_box(heatmap: Tensor, threshold: float = 0.5) -> tuple[Box, bool]:
    """(box `xyxy` of the heaviest part of a heatmap `[h, w]` in 0-1, in its pixels; did it reach the threshold).

    Args:
        heatmap: `[h, w]` in 0-1.
        threshold: 0 to 1.

    Returns:
        The box, and whether the threshold was reached.
    """
    part, sure = heaviest_part(heatmap.numpy(), threshold)
    return tight_box(part), sure


def heaviest_part(p: np.ndarray, threshold: float) -> tuple[np.ndarray, bool]:
    """(bool mask of a part of a heatmap in 0-1, of any dimensions; did it reach the threshold).

    Of the components above the threshold, or above half of the peak where there is none, that of most weight.

    Args:
        p: heatmap in 0-1.
        threshold: 0 to 1.

    Returns:
        The mask, and whether the threshold was reached.
    """
    peak = float(p.max())
    sure = peak >= threshold
    labels, n = ndimage.label(p >= (threshold if sure else peak / 2))
    weight = np.bincount(labels.ravel(), p.ravel(), minlength=n + 1)
    weight[0] = -1
    return labels == weight.argmax(), sure
