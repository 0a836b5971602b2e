"""Any timm model by name; timm adapts its first convolution to the number of planes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from sqp.errors import ConfigError, unknown_name
from sqp.quality.backbones.base import Backbone
from sqp.quality.channels import IMAGE, plane_names


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
    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    file = Path(pretrained_file) if pretrained_file else None
    if file is not None and not file.is_file():
        raise ConfigError(f"pretrained_file {file} does not exist: check the path")
    planes = len(plane_names(channels))
    options: dict[str, Any] = {"num_classes": 0, "in_chans": planes}
    told = timm.get_pretrained_cfg(name)
    if told is not None and told.fixed_input_size:  # ViT, Swin ...: positions are laid out for one size
        options["img_size"] = size
    try:
        model = timm.create_model(
            name,
            pretrained=pretrained or file is not None,
            pretrained_cfg_overlay={"file": str(file)} if file else None,
            **options,
        )
    except (RuntimeError, KeyError, OSError, ValueError) as error:
        what = f"weights of {file}" if file else "pretrained weights from timm's hub" if pretrained else "model"
        raise ConfigError(f"timm:{name}: cannot load the {what}: {_first_line(error)}") from error
    if file:
        _check_keys(model, file, name)
    backbone = TimmModel(model, planes, size)
    if (pretrained or file) and IMAGE in channels:
        normalisation: Any = model.pretrained_cfg
        backbone.image_mean, backbone.image_std = normalisation["mean"], normalisation["std"]
    return backbone


def _check_keys(model: nn.Module, file: Path, name: str) -> None:
    """timm loads what it finds when there is no classifier; a file that lacks a weight is of another model."""
    found = load_state_dict(str(file), weights_only=True)
    lacking = [key for key in model.state_dict() if key not in found and "num_batches_tracked" not in key]
    if lacking:
        raise ConfigError(f"{file} holds no weights of timm:{name} in timm's keys: no {lacking[0]} in it")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
