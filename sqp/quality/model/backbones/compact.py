"""The default: a small residual network for 128 px on a CPU, 0.96 M parameters.

Plain 3x3 convolutions (depthwise ones are slow without a GPU), BatchNorm, SiLU; two quick halvings, then
residual stages. Average and maximum are pooled side by side: a share of the area, and whether anything is
wrong anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sqp.quality.model.backbones.base import Backbone, pooled
from sqp.quality.model.channels import plane_names

WIDTHS = (24, 40, 80, 128, 192)  # at 1/2, 1/4, 1/8, 1/16, 1/32


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut; `stride` halves (the shortcut is then average-pooled)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(before, after, stride), nn.SiLU(), _conv(after, after))
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                nn.Conv2d(before, after, 1, bias=False),
                nn.BatchNorm2d(after),
            )
        )
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """`[n, before, h, w]` -> `[n, after, h / stride, w / stride]`."""
        return self.act(self.body(x) + self.shortcut(x))


class Compact(Backbone):
    """Features `[n, 384]`."""

    width = 2 * WIDTHS[-1]
    level_widths = WIDTHS[1:]

    def __init__(self, planes: int) -> None:
        super().__init__()
        w = WIDTHS
        self.stem = nn.Sequential(_conv(planes, w[0], 2), nn.SiLU(), _conv(w[0], w[1], 2), nn.SiLU())
        self.stages = nn.Sequential(
            Residual(w[1], w[1], 1),
            Residual(w[1], w[2], 2),
            Residual(w[2], w[3], 2),
            Residual(w[3], w[4], 2),
        )

    def forward(self, planes: Tensor) -> Tensor:
        """`[n, c, s, s]` -> `[n, 384]`."""
        return self.pyramid(planes)[0]

    def pyramid(self, planes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and the outputs of the four stages at 1/4 to 1/32."""
        x, levels = self.stem(planes), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return pooled(x), levels


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))


def compact(channels: Sequence[str], size: int) -> Compact:
    """Build it; any size of at least 32 works."""
    return Compact(len(plane_names(channels)))
