"""Fitting a quality model by Lightning: early stopping, best checkpoint, CSV log, resume, any accelerator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader

from sqp.core.errors import SqpError
from sqp.core.seeding import derive_seed
from sqp.networks.weight_files import read_tensors
from sqp.quality.model.batches import BatchPlan, CachedRecords, loader
from sqp.quality.model.module import QualityModel
from sqp.training.trainer import run_trainer

MONITOR = "val/mae"


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


def fit(
    model: QualityModel,
    data: RecordsModule,
    folder: Path,
    epochs: int,
    patience: int,
    *,
    resume: bool = True,
    progress: bool = True,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    trainer_options: Mapping[str, Any] | None = None,
) -> pl.Trainer:
    """Train, then put the best epoch's weights into `model`; returns the trainer.

    Checkpoints lie in `folder/checkpoints`, logs in `folder/logs/N` and in `folder/metrics.csv` (a row an
    epoch). With `resume` a run goes on from `last.ckpt`; without it checkpoints and logs of earlier attempts
    are removed. `trainer_options` are Lightning's own (accelerator,
    devices, strategy, num_nodes, precision). KeyboardInterrupt passes through.
    """
    checkpoints = folder / "checkpoints"
    best = ModelCheckpoint(checkpoints, "best", monitor=MONITOR, save_weights_only=True, enable_version_counter=False)
    trainer = run_trainer(
        model,
        {"datamodule": data},
        folder,
        epochs,
        derive_seed(data.seed, "fit"),
        callbacks=[best, EarlyStopping(MONITOR, patience=patience), *callbacks],
        loggers=loggers,
        resume=resume,
        progress=progress,
        options={"use_distributed_sampler": False, **(trainer_options or {})},
    )
    load_best(model, folder)
    return trainer


def load_best(model: QualityModel, folder: Path) -> None:
    """Put the weights of the best epoch of a run in `folder` into `model`; SqpError where they are not finite."""
    state = read_tensors(folder / "checkpoints" / "best.ckpt", "the checkpoint")
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise SqpError("training diverged in its first epoch (NaN): choose a smaller --learning_rate")
    model.load_state_dict(state)


def plane_statistics(data: CachedRecords, most: int = 2048, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each plane, over at most `most` evenly spaced records; float64 `[c]`."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(int))
    means, squares = [], []
    for start in range(0, len(rows), batch):
        planes = data.cache.planes(data.rows[rows[start : start + batch]]).double()
        means.append(planes.flatten(2).mean(dim=2))
        squares.append(planes.square().flatten(2).mean(dim=2))
    mean, square = (torch.cat(parts).mean(0).numpy() for parts in (means, squares))
    return mean, np.sqrt(np.maximum(square - mean**2, 0))
