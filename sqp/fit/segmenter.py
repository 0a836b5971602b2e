"""A plain network that segments: Dice + BCE, watched by the mean Dice on val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn
from torchmetrics import MeanMetric

from sqp.config.fit import FitSegmenterConfig
from sqp.core.types import Case
from sqp.fit.cache import CachedImages
from sqp.fit.losses import dice_bce, hard_dice
from sqp.fit.module import FitModule, Recipe
from sqp.fit.task import FitTask
from sqp.networks.timm_models import pixels_of
from sqp.segmenters.fpn import encoder_name
from sqp.segmenters.plain import NETWORKS, NetworkSpec, build_network


class SegmenterModule(FitModule):
    """The network's output is logits `[n, 1, h, w]` at the size of its input."""

    monitor = "val/dice"

    def __init__(self, spec: NetworkSpec, network: nn.Module, recipe: Recipe) -> None:
        super().__init__(spec, network, recipe)
        self.val_dice = MeanMetric()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Soft Dice + BCE."""
        return dice_bce(output, batch["truth"], batch["valid"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, and the mean over images of the Dice at the network's size."""
        logits = self(batch["image"], batch["valid"])
        self.val_dice.update(hard_dice(logits, batch["truth"], batch["valid"]))
        self.log("val/loss", self.loss(logits, batch), batch_size=len(logits))
        self.log("val/dice", self.val_dice, prog_bar=True, batch_size=len(logits))


class SegmenterTask(FitTask):
    """A plain network that segments."""

    watched = "dice"
    config: FitSegmenterConfig

    def spec(self, fitted: Sequence[Case]) -> NetworkSpec:
        """A timm encoder brings the normalisation of its pretrained weights."""
        c = self.config
        spec = NetworkSpec(c.network, c.size, c.dropout, c.encoder, c.width)
        if spec.name not in ("fpn", "fpn_resnet50"):
            return spec
        mean, std = pixels_of(encoder_name(spec))
        return replace(spec, encoder=encoder_name(spec), mean=mean, std=std)

    def network(self, spec: NetworkSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_network(spec, pretrained, file)

    def divisor(self, spec: NetworkSpec) -> int:
        return NETWORKS[spec.name].divisor

    def module(self, spec: NetworkSpec, network: nn.Module, recipe: Recipe, fitted: CachedImages) -> FitModule:
        return SegmenterModule(spec, network, recipe)

    def cycles(self) -> int:
        return self.config.cycles

    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.members)

    def name(self) -> str:
        return self.config.network

    def next(self, spec: NetworkSpec, checkpoint: Path) -> str:
        return f"--segmenter {spec.name} --checkpoint {checkpoint}"
