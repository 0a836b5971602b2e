"""The localizer's network: a timm encoder whose deeper stages are joined into one coarse heatmap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqp.errors import ConfigError
from sqp.networks.checkpoint import IMAGENET_MEAN, IMAGENET_STD
from sqp.networks.timm_models import DIVISOR, create, fixed_size

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

    ConfigError for an encoder that timm does not know or that has no stages of stride 8, 16 and 32.
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
