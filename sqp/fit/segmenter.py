"""The LightningModule that trains a plain network: Dice + BCE, watched by the mean Dice on val."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import MeanMetric

from sqp.fit.losses import dice_bce, hard_dice
from sqp.fit.module import FitModule, Recipe
from sqp.segmenters.plain import NetworkSpec


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
