"""Lightning: a callback that logs how good the masks of unlabelled images are, each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from sqp.integrations.unlabelled import Assessor, Image, Segment, Unlabelled, segment


class PredictedDice(Callback):
    """Log NAME/predicted_dice, NAME/accepted and NAME/abstained of unlabelled images after each training epoch.

    `ModelCheckpoint(monitor="unlabelled/predicted_dice", mode="max")` and `EarlyStopping` find them there. It costs an
    encoding of every image an epoch, so a few dozen images are enough.

    Args:
        model: what judges: `sqp.load()`.
        images: files or arrays without ground truth.
        segment: (LightningModule, image uint8 `[h, w, 3]`) -> mask bool `[h, w]`; by default `unlabelled.segment`.
        every_n_epochs: how often, at least 1.
        name: what the logged names begin with.

    Raises:
        ConfigError: there is no image.
        ValueError: every_n_epochs is below 1.
    """

    def __init__(
        self,
        model: Assessor,
        images: Sequence[Image],
        segment: Segment = segment,
        *,
        every_n_epochs: int = 1,
        name: str = "unlabelled",
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs is {every_n_epochs}; it must be at least 1")
        self.unlabelled = Unlabelled(model, images, segment)
        self.every_n_epochs = every_n_epochs
        self.name = name

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge and log; the first process alone segments, the others are given its numbers."""
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        found: Any = self.unlabelled.judge(pl_module) if trainer.is_global_zero else None
        found = trainer.strategy.broadcast(found)
        pl_module.log_dict({f"{self.name}/{key}": value for key, value in found.items()}, sync_dist=False)
