"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597): MONAI's `BasicUNet` in 2D, dropout in each convolution."""

from __future__ import annotations

from pathlib import Path

from monai.networks.nets import BasicUNet
from torch import nn

from sqp.segmenters.plain import NetworkSpec, no_encoder

WIDTH = 32


def build(spec: NetworkSpec, pretrained: bool = False, file: Path | None = None) -> nn.Module:
    """Four halvings, 2.0 M parameters at width 32. Batch normalisation, so that a sample does not move another.

    Args:
        spec: what the network is.
        pretrained: refused, as there is no timm encoder.
        file: refused, as there is no timm encoder.

    Returns:
        The network, by MONAI.

    Raises:
        ConfigError: a timm encoder is asked for.
    """
    no_encoder(spec, pretrained, file)
    w = spec.width or WIDTH
    return BasicUNet(2, 3, 1, features=(w, w, 2 * w, 4 * w, 8 * w, w), norm="batch", dropout=spec.dropout)
