"""No network at all: the prediction rests on scores and features alone, and costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sqp.quality.model.backbones.base import Backbone


class Tabular(Backbone):
    """Features `[n, 0]`: what the model knows is its tabular branch."""

    width = 0

    def forward(self, planes: Tensor) -> Tensor:
        """`[n, c, s, s]`, of which nothing is read, -> `[n, 0]`."""
        return planes.flatten(1)[:, :0]


def tabular(channels: Sequence[str], size: int) -> Tabular:
    """Build it."""
    return Tabular()
