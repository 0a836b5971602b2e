"""A Lightning run of one network: early stopping, best checkpoint, snapshots, CSV log, resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from sqp.core.errors import SqpError
from sqp.core.seeding import derive_seed
from sqp.fit.module import FitModule
from sqp.networks.weight_files import read_tensors
from sqp.training.trainer import run_trainer


@dataclass
class Fitted:
    """Weights of the network that are worth keeping, by name (best, or cycle1, cycle2 ...), and their value on val."""

    weights: dict[str, dict[str, Tensor]]
    val: dict[str, float]
    epochs: int


def train(
    module: FitModule,
    batches: tuple[DataLoader, DataLoader],  # type: ignore[type-arg]
    folder: Path,
    epochs: int,
    patience: int,
    *,
    resume: bool = True,
    progress: bool = True,
    trainer_options: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train on (train, val) batches. Checkpoints lie in `folder/checkpoints`, a row an epoch in `folder/metrics.csv`.

    Without cycles: the weights of the epoch that is best on val by `module.monitor`, and a stop after `patience` epochs
    without a better one. With the schedule cyclic_cosine: the weights at the end of each cycle, and no early stop. With
    `resume` a run goes on from its last finished epoch. KeyboardInterrupt passes through.
    """
    checkpoints = folder / "checkpoints"
    cycles = module.recipe.cycles if module.recipe.schedule == "cyclic_cosine" else 0
    trainer = run_trainer(
        module,
        {"train_dataloaders": batches[0], "val_dataloaders": batches[1]},
        folder,
        epochs,
        derive_seed(module.recipe.seed, "fit"),
        callbacks=_keepers(checkpoints, module.monitor, epochs, patience, cycles),
        resume=resume,
        progress=progress,
        options={"devices": 1, **(trainer_options or {})},
    )
    log = pd.read_csv(folder / "metrics.csv").set_index("epoch")[module.monitor]
    ends = {f"cycle{k}": k * epochs // cycles - 1 for k in range(1, cycles + 1)}
    files = {name: f"snapshot-{epoch}.ckpt" for name, epoch in ends.items()} or {"best": "best.ckpt"}
    val = {name: float(log[epoch]) for name, epoch in ends.items()} or {"best": float(log.max())}
    weights = {name: _weights(checkpoints / file) for name, file in files.items()}
    return Fitted(weights, val, trainer.current_epoch)


class Snapshots(Callback):
    """Keeps the weights of every `length`-th epoch as `snapshot-EPOCH.ckpt`."""

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self.length = folder, length

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.length == 0:
            trainer.save_checkpoint(self.folder / f"snapshot-{trainer.current_epoch}.ckpt", weights_only=True)


def _keepers(folder: Path, monitor: str, epochs: int, patience: int, cycles: int) -> list[Callback]:
    """What keeps weights and stops: the best epoch, or the end of each cycle."""
    if cycles:
        return [Snapshots(folder, epochs // cycles)]
    best = ModelCheckpoint(
        folder, "best", monitor=monitor, mode="max", save_weights_only=True, enable_version_counter=False
    )
    return [best, EarlyStopping(monitor, mode="max", patience=patience)]


def _weights(file: Path) -> dict[str, Tensor]:
    """The network's own weights out of Lightning's checkpoint; SqpError where they are not finite."""
    state = read_tensors(file, "the checkpoint")
    kept = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    if not all(bool(torch.isfinite(value).all()) for value in kept.values()):
        raise SqpError("training diverged (NaN): choose a smaller --learning_rate")
    return kept
