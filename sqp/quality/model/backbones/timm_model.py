"""Any timm model by name; timm adapts its first convolution to the number of planes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sqp.networks.timm_models import create, fixed_size
from sqp.quality.model.backbones.base import Backbone
from sqp.quality.model.channels import IMAGE, plane_names


class TimmModel(Backbone):
    """A timm model without its classifier; features `[n, width]` after its own pooling."""

    def __init__(self, model: Any, planes: int, size: int) -> None:
        super().__init__()
        self.model = model
        self.levels: list[int] = []
        with torch.no_grad():
            nothing = torch.zeros(1, planes, size, size)
            self.width = model.eval()(nothing).shape[1]
            if hasattr(model, "forward_intermediates"):
                maps: Any = model.forward_intermediates(nothing, output_fmt="NCHW")[1]
                last = {tuple(x.shape[-2:]): i for i, x in enumerate(maps)}  # of each size
                self.levels = sorted(last.values())
                self.level_widths = [maps[i].shape[1] for i in self.levels]
        model.train()

    def forward(self, planes: Tensor) -> Tensor:
        """`[n, c, s, s]` -> `[n, width]`."""
        return self.model(planes)

    def pyramid(self, planes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and timm's intermediates, the last one of each size."""
        model: Any = self.model
        final, levels = model.forward_intermediates(planes, indices=self.levels, output_fmt="NCHW")
        return model.forward_head(final), levels


def timm_model(
    name: str, channels: Sequence[str], size: int, pretrained: bool = False, pretrained_file: str = ""
) -> TimmModel:
    """timm's model `name` for these channels.

    Pretrained colour weights are repeated over all planes and scaled by 3 / planes (`timm.adapt_input_conv`),
    so every channel starts from them; the image keeps the normalisation that they were trained with.
    """
    file = Path(pretrained_file) if pretrained_file else None
    planes = len(plane_names(channels))
    options = {"img_size": size} if fixed_size(name) else {}
    model = create(name, pretrained, file, num_classes=0, in_chans=planes, **options)
    backbone = TimmModel(model, planes, size)
    if (pretrained or file) and IMAGE in channels:
        normalisation: Any = model.pretrained_cfg
        backbone.image_mean, backbone.image_std = normalisation["mean"], normalisation["std"]
    return backbone
