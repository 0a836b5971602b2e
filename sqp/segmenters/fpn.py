"""Feature pyramid (Kirillov et al. 2019, arXiv 1901.02446) over any timm encoder that gives features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.networks.timm_models import create, fixed_size
from sqp.segmenters.plain import NetworkSpec

WIDTH = 128
OWN_ENCODER = {"fpn_resnet50": "resnet50"}  # what the name promises
DEFAULT = "tf_efficientnet_lite0"


class FeaturePyramid(nn.Module):
    """Encoder stages of stride 4 to 32, joined from the deepest up, summed at stride 4, one logit a pixel.

    Whole channels are dropped: of each encoder stage and of the sum before the last convolution.
    """

    def __init__(self, encoder: nn.Module, channels: list[int], width: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width))
            for c in channels
        )
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in channels
        )
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[n, 3, h, w]` -> `[n, 1, h, w]`; h and w are multiples of 32.

        Args:
            pixels: normalised pixels.

        Returns:
            logits.
        """
        stages = [lateral(x) for lateral, x in zip(self.lateral, self.encoder(pixels), strict=True)]
        for k in range(len(stages) - 1, 0, -1):
            stages[k - 1] = stages[k - 1] + F.interpolate(stages[k], stages[k - 1].shape[-2:], mode="nearest")
        first = stages[0].shape[-2:]
        smoothed = [smooth(x) for smooth, x in zip(self.smooth, stages, strict=True)]
        total = torch.stack([_resized(x, first) for x in smoothed]).sum(0)
        return _resized(self.head(self.dropout(total)), pixels.shape[-2:])


def build(spec: NetworkSpec, pretrained: bool = False, file: Path | None = None) -> nn.Module:
    """`FeaturePyramid` over the spec's encoder; ConfigError for one that timm does not know or that gives no maps.

    Args:
        spec: what the network is.
        pretrained: whether the encoder starts from timm's hub.
        file: weights of the encoder, in place of the hub.

    Returns:
        The network.

    Raises:
        ConfigError: timm does not know the encoder, or it gives no maps of stride 4 to 32.
    """
    name = encoder_name(spec)
    if fixed_size(name):
        raise ConfigError(f"encoder {name} takes one size of image only; fpn needs a convolutional one")
    encoder = create(name, pretrained, file, features_only=True)
    info: Any = encoder.feature_info
    kept = [k for k, stride in enumerate(info.reduction()) if stride >= 4]
    if [info.reduction()[k] for k in kept] != [4, 8, 16, 32]:
        raise ConfigError(f"encoder {name} has stages of stride {info.reduction()}; fpn needs 4, 8, 16 and 32")
    return FeaturePyramid(_Kept(encoder, kept), [info.channels()[k] for k in kept], spec.width or WIDTH, spec.dropout)


def encoder_name(spec: NetworkSpec) -> str:
    """The timm name of the encoder; ConfigError for another than the one that the network's name promises.

    Args:
        spec: what the network is.

    Returns:
        The name.

    Raises:
        ConfigError: the network's name promises another encoder.
    """
    own = OWN_ENCODER.get(spec.name)
    if own and spec.encoder not in ("", own):
        raise ConfigError(f"{spec.name} has the encoder {own}; for {spec.encoder} take the network fpn")
    return own or spec.encoder or DEFAULT


class _Kept(nn.Module):
    """An encoder's stages by index, channels first."""

    def __init__(self, encoder: nn.Module, kept: list[int]) -> None:
        super().__init__()
        self.body = encoder
        self.kept = kept

    def forward(self, pixels: Tensor) -> list[Tensor]:
        stages = self.body(pixels)
        return [stages[k] for k in self.kept]


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
