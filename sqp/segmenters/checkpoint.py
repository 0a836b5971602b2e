"""What a plain network is, as its checkpoint says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sqp.networks.checkpoint import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class NetworkSpec:
    """What a plain network is: enough to build it again before its weights are read.

    size: longer side of its input in pixels; dropout: share dropped in its MC-dropout layers; encoder: a timm
    model's name (fpn); width: channels of its narrowest stage (unet, swin_unet) or of its pyramid (fpn), 0 the
    network's own; mean, std: of the pixels in 0-1, by channel. Of a network of volumes: spacing: (d, h, w) in mm at
    which it works, 0 for an axis that stays as it is; patch: (d, h, w) voxels that it sees at once; neighbours: slices
    below and above (2.5D).
    """

    kind: ClassVar[str] = "segmenter"
    name: str
    size: int = 192
    dropout: float = 0.1
    encoder: str = ""
    width: int = 0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    spacing: tuple[float, ...] = ()
    patch: tuple[int, ...] = ()
    neighbours: int = 0
