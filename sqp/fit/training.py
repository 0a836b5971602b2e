"""A Lightning run of one network: early stopping, best checkpoint, snapshots, CSV log, resume."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from sqp.errors import ConfigError, SqpError
from sqp.fit.segmenter import SegmenterModule
from sqp.io.atomic import write_atomic
from sqp.seeding import derive_seed

MONITOR = "val/dice"
EXPECTED = (
    "does not have many workers",  # a memory map is read quicker by the process that needs it
    "Checkpoint directory .* exists and is not empty",  # that is what going on with a run means
    "GPU available but not used",  # the user's choice
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch >= 2.9
)
"""Lightning's warnings that do not apply here."""


@dataclass
class Fitted:
    """Weights of the network that are worth keeping, by name (best, or cycle1, cycle2 ...), and their Dice on val."""

    weights: dict[str, dict[str, Tensor]]
    dice: dict[str, float]
    epochs: int


def train(
    module: SegmenterModule,
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

    Without cycles: the weights of the epoch of best Dice on val, and a stop after `patience` epochs without a better
    one. With the schedule cyclic_cosine: the weights at the end of each cycle, and no early stop. With `resume` a run
    goes on from its last finished epoch. KeyboardInterrupt passes through.
    """
    checkpoints = folder / "checkpoints"
    if not resume:
        for name in ("checkpoints", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
    cycles = module.recipe.cycles if module.recipe.schedule == "cyclic_cosine" else 0
    last = ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    attempt = len(list((folder / "logs").glob("*"))) if (folder / "logs").exists() else 0
    resumed = checkpoints / "last.ckpt" if resume and (checkpoints / "last.ckpt").exists() else None
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(module.recipe.seed, "fit"))
        try:
            trainer = pl.Trainer(
                max_epochs=epochs,
                logger=CSVLogger(str(folder / "logs"), name="", version=str(attempt), flush_logs_every_n_steps=1),
                callbacks=[*_keepers(checkpoints, epochs, patience, cycles), last],
                log_every_n_steps=1,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                enable_progress_bar=progress,
                gradient_clip_val=1.0,
                default_root_dir=str(folder),
                devices=1,
                **(trainer_options or {}),
            )
        except (ValueError, RuntimeError, pl.utilities.exceptions.MisconfigurationException) as error:
            raise ConfigError(f"Lightning refuses the accelerator or the precision: {error}") from error
        try:
            trainer.fit(module, *batches, ckpt_path=resumed, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from error
    log = write_metrics(folder).set_index("epoch")[MONITOR]
    ends = {f"cycle{k}": k * epochs // cycles - 1 for k in range(1, cycles + 1)}
    files = {name: f"snapshot-{epoch}.ckpt" for name, epoch in ends.items()} or {"best": "best.ckpt"}
    dice = {name: float(log[epoch]) for name, epoch in ends.items()} or {"best": float(log.max())}
    weights = {name: _weights(checkpoints / file) for name, file in files.items()}
    return Fitted(weights, dice, trainer.current_epoch)


def write_metrics(folder: Path) -> pd.DataFrame:
    """Fold the logs of all attempts into `folder/metrics.csv`, a row an epoch; a later attempt wins."""
    files = sorted((folder / "logs").glob("*/metrics.csv"), key=lambda path: int(path.parent.name))
    table = pd.concat([pd.read_csv(path) for path in files if path.stat().st_size])
    table = table.groupby("epoch", as_index=False).last()
    write_atomic(folder / "metrics.csv", lambda file: table.to_csv(file, index=False))
    return table


class Snapshots(Callback):
    """Keeps the weights of every `length`-th epoch as `snapshot-EPOCH.ckpt`."""

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self.length = folder, length

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.length == 0:
            trainer.save_checkpoint(self.folder / f"snapshot-{trainer.current_epoch}.ckpt", weights_only=True)


def _keepers(folder: Path, epochs: int, patience: int, cycles: int) -> list[Callback]:
    """What keeps weights and stops: the best epoch, or the end of each cycle."""
    if cycles:
        return [Snapshots(folder, epochs // cycles)]
    best = ModelCheckpoint(
        folder, "best", monitor=MONITOR, mode="max", save_weights_only=True, enable_version_counter=False
    )
    return [best, EarlyStopping(MONITOR, mode="max", patience=patience)]


def _weights(file: Path) -> dict[str, Tensor]:
    """The network's own weights out of Lightning's checkpoint; SqpError where they are not finite."""
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    kept = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    if not all(bool(torch.isfinite(value).all()) for value in kept.values()):
        raise SqpError("training diverged (NaN): choose a smaller --learning_rate")
    return kept


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
