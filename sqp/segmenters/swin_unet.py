"""Swin U-Net: MONAI's `SwinUNETR` (Hatamizadeh et al. 2022, arXiv 2201.01266) in 2D, from scratch."""

from __future__ import annotations

from pathlib import Path

from monai.networks.nets import SwinUNETR
from torch import nn

from sqp.core.errors import ConfigError
from sqp.segmenters.plain import NetworkSpec, no_encoder

WIDTH = 24


def build(spec: NetworkSpec, pretrained: bool = False, file: Path | None = None) -> nn.Module:
    """Windowed self-attention encoder, convolutional decoder; 6.3 M parameters at width 24. Dropout in the encoder.

    Args:
        spec: what the network is.
        pretrained: refused, as there is no timm encoder.
        file: refused, as there is no timm encoder.

    Returns:
        The network, by MONAI.

    Raises:
        ConfigError: the width is no multiple of 12, or a timm encoder is asked for.
    """
    no_encoder(spec, pretrained, file)
    width = spec.width or WIDTH
    if width % 12:
        raise ConfigError(f"width is {width}; that of swin_unet must be a multiple of 12")
    return SwinUNETR(3, 1, feature_size=width, spatial_dims=2, drop_rate=spec.dropout, norm_name="batch")
