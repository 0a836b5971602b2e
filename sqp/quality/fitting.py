"""Fitting a quality model by Lightning: early stopping, best checkpoint, CSV log, resume, any accelerator."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from sqp.errors import ConfigError, SqpError
from sqp.io.atomic import write_atomic
from sqp.quality.batches import BatchPlan, CachedRecords, loader
from sqp.quality.module import QualityModel
from sqp.seeding import derive_seed

MONITOR = "val/mae"
EXPECTED = (
    "does not have many workers",  # a memory map is read quicker by the process that needs it
    "Checkpoint directory .* exists and is not empty",  # that is what going on with a run means
    "GPU available but not used",  # the user's choice
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch >= 2.9
)
"""Lightning's warnings that do not apply here."""


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
    if not resume and getattr(rank_zero_only, "rank", 0) == 0:
        for name in ("checkpoints", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
    best = ModelCheckpoint(checkpoints, "best", monitor=MONITOR, save_weights_only=True, enable_version_counter=False)
    last = ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    stop = EarlyStopping(MONITOR, patience=patience)
    attempt = len(list((folder / "logs").glob("*"))) if (folder / "logs").exists() else 0
    resumed = checkpoints / "last.ckpt" if resume and (checkpoints / "last.ckpt").exists() else None
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(data.seed, "fit"))
        try:
            trainer = pl.Trainer(
                max_epochs=epochs,
                logger=[
                    CSVLogger(str(folder / "logs"), name="", version=str(attempt), flush_logs_every_n_steps=1),
                    *loggers,
                ],
                callbacks=[best, last, stop, *callbacks],
                log_every_n_steps=1,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                enable_progress_bar=progress,
                use_distributed_sampler=False,
                gradient_clip_val=1.0,
                default_root_dir=str(folder),
                **(trainer_options or {}),
            )
        except (ValueError, RuntimeError, pl.utilities.exceptions.MisconfigurationException) as error:
            raise ConfigError(f"Lightning refuses the accelerator, devices, strategy or precision: {error}") from error
        try:
            trainer.fit(model, datamodule=data, ckpt_path=resumed, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from error
    state = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise SqpError("training diverged in its first epoch (NaN): choose a smaller --learning_rate")
    model.load_state_dict(state)
    if trainer.is_global_zero:
        write_metrics(folder)
    return trainer


def write_metrics(folder: Path) -> pd.DataFrame:
    """Fold the logs of all attempts into `folder/metrics.csv`, a row an epoch; a later attempt wins."""
    files = sorted((folder / "logs").glob("*/metrics.csv"), key=lambda path: int(path.parent.name))
    parts = [pd.read_csv(path) for path in files if path.stat().st_size]
    table = pd.concat(parts).groupby("epoch", as_index=False).last() if parts else pd.DataFrame()
    write_atomic(folder / "metrics.csv", lambda file: table.to_csv(file, index=False))
    return table


def plane_statistics(data: CachedRecords, most: int = 2048, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each plane, over at most `most` evenly spaced records; float64 `[c]`."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(int))
    means, squares = [], []
    for start in range(0, len(rows), batch):
        planes = data.cache.planes(data.rows[rows[start : start + batch]]).double()
        means.append(planes.mean(dim=(2, 3)))
        squares.append(planes.square().mean(dim=(2, 3)))
    mean, square = (torch.cat(parts).mean(0).numpy() for parts in (means, squares))
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that do not apply, and without Lightning's advertisements."""
    log = logging.getLogger("pytorch_lightning")
    levels = {logger: logger.level for logger in (log, logging.getLogger("pytorch_lightning.utilities.rank_zero"))}
    with warnings.catch_warnings():
        for text in EXPECTED:
            warnings.filterwarnings("ignore", f".*{text}")
        for logger in levels:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)
