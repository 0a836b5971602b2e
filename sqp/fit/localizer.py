"""A small network that finds the lesion: a coarse heatmap, watched by its boxes' IoU on val."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchvision.ops import box_iou

from sqp.config.fit import FitLocalizerConfig
from sqp.core.boxes import tight_box
from sqp.core.types import Case
from sqp.fit.cache import CachedImages
from sqp.fit.losses import dice_bce
from sqp.fit.module import FitModule, Recipe
from sqp.fit.task import FitTask
from sqp.networks.timm_models import DIVISOR, pixels_of
from sqp.prompts.localizer import STRIDE, LocalizerSpec, build_localizer, input_pixels, map_box


class LocalizerModule(FitModule):
    """The network's output is logits `[n, 1, h / 8, w / 8]`; the truth of a cell is the lesion's share of its area."""

    monitor = "val/box_iou"

    def __init__(self, spec: LocalizerSpec, network: nn.Module, recipe: Recipe) -> None:
        super().__init__(spec, network, recipe)
        self.val_iou = MeanMetric()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Soft Dice + BCE against the shares; a cell counts as far as it lies on the image."""
        truth, valid = (F.avg_pool2d(batch[name].float(), STRIDE) for name in ("truth", "valid"))
        return dice_bce(output, truth / valid.clamp(min=1e-6), valid)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, and the mean IoU of the heatmap's box with the truth's, in the network's pixels; no truth, no box."""
        logits = self(batch["image"], batch["valid"])
        self.log("val/loss", self.loss(logits, batch), batch_size=len(logits))
        rows, columns = batch["truth"].shape[-2:]
        maps = input_pixels(torch.sigmoid(logits.float()), (rows, columns)).cpu()
        for heatmap, truth, valid in zip(maps, batch["truth"], batch["valid"], strict=True):
            if truth.any():
                h, w = (int(valid[0].any(axis).sum()) for axis in (1, 0))
                box, _ = map_box(heatmap[:h, :w])
                self.val_iou.update(box_iou(torch.tensor([box]), torch.tensor([tight_box(truth[0].cpu().numpy())])))
        self.log(self.monitor, self.val_iou, prog_bar=True, batch_size=len(logits))


class LocalizerTask(FitTask):
    """A small network that finds the lesion's box."""

    watched = "box_iou"
    config: FitLocalizerConfig

    def spec(self, fitted: Sequence[Case]) -> LocalizerSpec:
        c = self.config
        return LocalizerSpec(c.encoder, c.size, c.width, *pixels_of(c.encoder))

    def network(self, spec: LocalizerSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_localizer(spec, pretrained, file)

    def divisor(self, spec: LocalizerSpec) -> int:
        return DIVISOR

    def module(self, spec: LocalizerSpec, network: nn.Module, recipe: Recipe, fitted: CachedImages) -> FitModule:
        return LocalizerModule(spec, network, recipe)

    def name(self) -> str:
        return f"localizer-{self.config.encoder}"

    def next(self, spec: LocalizerSpec, checkpoint: Path) -> str:
        return f"--prompter localizer --prompter_options.checkpoint {checkpoint}"
