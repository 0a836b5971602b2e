"""Backbones of volumes `[n, c, d, h, w]`: a small 3D encoder, and a 2.5D one that pools the features of the slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sqp.quality.model.backbones.base import Backbone, pooled
from sqp.quality.model.backbones.compact import Compact
from sqp.quality.model.channels import plane_names

WIDTHS = (16, 32, 64, 128)


class Compact3d(Backbone):
    """MONAI's `ResNet` in 3D, one basic block a stage at 1/2, 1/4, 1/8 and 1/16; features `[n, 256]`."""

    width = 2 * WIDTHS[-1]
    level_widths = WIDTHS

    def __init__(self, planes: int) -> None:
        super().__init__()
        from monai.networks.nets import ResNet

        network: Any = ResNet(
            "basic",
            [1] * len(WIDTHS),
            list(WIDTHS),
            spatial_dims=3,
            n_input_channels=planes,
            conv1_t_size=3,
            conv1_t_stride=2,
            no_max_pool=True,
            feed_forward=False,
            bias_downsample=False,
        )
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        """`[n, c, d, h, w]` -> `[n, 256]`: a share of the volume, and whether anything is wrong anywhere."""
        return self.pyramid(planes)[0]

    def pyramid(self, planes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and the outputs of the four stages at 1/2 to 1/16."""
        net, levels = self.network, []
        x = net.act(net.bn1(net.conv1(planes)))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            levels.append(x)
        return pooled(x), levels


class Slices(Backbone):
    """`Compact` on every slice, then over the slices the mean, the maximum and an attention-weighted mean.

    Attention as in Ilse et al. 2018 (arXiv 1802.04712), so that the slices which matter can weigh more.
    """

    width = 3 * Compact.width

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.slices = Compact(planes)
        self.attention = nn.Sequential(nn.Linear(Compact.width, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """`[n, c, d, h, w]` -> `[n, 1152]`; the order of the slices does not matter."""
        n, _, d = planes.shape[:3]
        x = self.slices(planes.transpose(1, 2).flatten(0, 1)).unflatten(0, (n, d))
        weights = self.attention(x).softmax(dim=1)
        return torch.cat([x.mean(1), x.amax(1), (weights * x).sum(1)], dim=1)


def compact3d(channels: Sequence[str], size: int) -> Compact3d:
    """Build it; any size of at least 32 works."""
    return Compact3d(len(plane_names(channels, 3)))


def slices(channels: Sequence[str], size: int) -> Slices:
    """Build it; any size of at least 32 works."""
    return Slices(len(plane_names(channels, 3)))
