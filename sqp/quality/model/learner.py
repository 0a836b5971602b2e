"""What trains the quality model: Lightning's steps, augmentation, batches and optimizer around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from sqp.core.errors import lookup
from sqp.core.seeding import derive_seed, torch_generator
from sqp.quality.model.augment import Augmentation
from sqp.quality.model.batches import BatchPlan, CachedRecords, loader
from sqp.quality.model.module import ModelSpec, QualityModel
from sqp.quality.model.truth_map import truth_loss
from sqp.training.trainer import decayed_groups, one_cycle

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
SCHEDULES = ("one_cycle", "constant")


@dataclass(frozen=True)
class TrainingSpec:
    """How it is trained."""

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    schedule: str = "one_cycle"
    augment: bool = True
    cameras: bool = False
    error_weight: float = 1.0
    seed: int = 0


class QualityLearner(QualityModel, pl.LightningModule):
    """A quality model that Lightning trains: the same network, with the same names of its weights.

    `pretrained` / `pretrained_file` as in `QualityModel`. Raises ConfigError for an unknown name. The batch of a
    training step is a dict: planes, scores, dice `[n]`, weight `[n]`, and truth `[n, s, s]` where the spec asks for an
    error map.
    """

    def __init__(
        self, spec: ModelSpec, training_spec: TrainingSpec | None = None, pretrained: bool = False, file: str = ""
    ) -> None:
        super().__init__(spec, pretrained, file)
        self.training_spec = training_spec or TrainingSpec()
        lookup("optimizer", self.training_spec.optimizer, OPTIMIZERS)
        lookup("schedule", self.training_spec.schedule, dict.fromkeys(SCHEDULES))
        colours = [i for i, name in enumerate(self.spec.planes) if name.startswith("image/")]
        self.augmentation = Augmentation(colours, cameras=self.training_spec.cameras)
        self.val_metrics = MetricCollection(
            {"val/mae": MeanAbsoluteError(), "val/rmse": MeanSquaredError(squared=False)}
        )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Weighted loss of an augmented batch.

        Augmentation and dropout start anew from (seed, step, rank), so a resumed run equals one that was not cut.
        """
        planes = batch["planes"]
        torch.manual_seed(derive_seed(self.training_spec.seed, "dropout", self.global_step, self.global_rank))
        if self.training_spec.augment:
            generator = torch_generator(self.training_spec.seed, "augment", self.global_step, self.global_rank)
            if self.spec.error_map:  # the truth moves with the planes
                planes = torch.cat([planes, batch["truth"][:, None]], dim=1)
            planes = self.augmentation(planes, generator)
        planes, truth = planes[:, : len(self.mean)], planes[:, len(self.mean) :]
        out = self(planes, batch.get("scores"))
        rows = self.loss(out.dice, out.scale, batch["dice"], self.spec.beta)
        if out.truth_logits is not None:
            target = truth[:, 0] if self.training_spec.augment else batch["truth"]
            rows = rows + self.training_spec.error_weight * truth_loss(out.truth_logits, target)
        loss = (rows * batch["weight"]).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(planes))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, MAE and RMSE over the whole split."""
        out = self(batch["planes"], batch.get("scores"))
        self.val_metrics.update(out.dice.float(), batch["dice"])
        loss = self.loss(out.dice, out.scale, batch["dice"], self.spec.beta).mean()
        self.log("val/loss", loss, batch_size=len(out.dice), sync_dist=True)
        self.log_dict(dict(self.val_metrics.items()), prog_bar=True, batch_size=len(out.dice))

    def configure_optimizers(self) -> Any:
        """AdamW with one cycle over the whole run, or Adam at a constant rate, the peer's."""
        t = self.training_spec
        groups = decayed_groups(self, t.weight_decay)
        optimizer = OPTIMIZERS[t.optimizer](groups, lr=t.learning_rate)  # type: ignore[call-arg]
        if t.schedule == "constant":
            return optimizer
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        cycle = one_cycle(optimizer, t.learning_rate, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


@dataclass(eq=False)
class RecordsModule(pl.LightningDataModule):
    """Train and val batches; the order depends on the seed and the epoch, the share on the rank."""

    train: CachedRecords
    val: CachedRecords
    batch_size: int
    seed: int
    workers: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def _loader(self, data: CachedRecords, seed: int | None) -> DataLoader:  # type: ignore[type-arg]
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return loader(data, BatchPlan(len(data), self.batch_size, seed, rank, world), self.workers)

    def train_dataloader(self) -> DataLoader:  # type: ignore[type-arg]
        """Shuffled."""
        return self._loader(self.train, self.seed)

    def val_dataloader(self) -> DataLoader:  # type: ignore[type-arg]
        """In order. Ranks get equally many batches, so that with several of them up to world - 1 batches count twice.

        The val metrics of `metrics.csv`, which early stopping reads, are then those of slightly more rows than the
        split has; those of `run.yaml` come from rank 0 alone over every row once.
        """
        return self._loader(self.val, None)
