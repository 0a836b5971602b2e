"""A run of Lightning's Trainer as every network of sqp is trained: checkpoints, CSV log, resume, told errors."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import rank_zero_only

from sqp.core.errors import ConfigError
from sqp.core.files import full_disk_told, note_written, write_atomic
from sqp.core.ownership import remove_empty
from sqp.core.progress import EVERY
from sqp.networks.runtime import tell_emulation
from sqp.networks.weight_files import damage_of

EXPECTED = (
    "does not have many workers",  # a memory map is read quicker by the process that needs it
    "Checkpoint directory .* exists and is not empty",  # that is what going on with a run means
    "GPU available but not used",  # the user's choice
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch >= 2.9
)
"""Lightning's warnings that do not apply here."""

LOGGED = ("metrics.csv", "hparams.yaml")  # what Lightning's CSVLogger writes of an attempt


class FiniteLoss(Callback):
    """ConfigError at the end of an epoch whose loss is not finite, before its weights are kept as the last ones."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Reads `train/loss`, the mean over the epoch."""
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None and not torch.isfinite(loss):
            raise ConfigError(
                f"the training loss of epoch {trainer.current_epoch} is {float(loss)}: start anew (--overwrite) with a "
                f"lower --learning_rate, or with --precision 32-true if it is another"
            )


class EpochLines(Callback):
    """A plain line on stderr after an epoch, at most one a minute: progress where there is no terminal."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Epoch, loss, and what is measured on val."""
        if trainer.is_global_zero and time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            numbers = [f"{name} {float(value):.4g}" for name, value in sorted(trainer.callback_metrics.items())]
            epoch = f"train: epoch {trainer.current_epoch + 1} of at most {trainer.max_epochs}"
            print(", ".join([epoch, *numbers]), file=sys.stderr, flush=True)


def run_trainer(
    module: pl.LightningModule,
    data: Mapping[str, Any],
    folder: Path,
    epochs: int,
    seed: int,
    *,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger] = (),
    resume: bool = True,
    progress: bool = True,
    options: Mapping[str, Any] | None = None,
) -> pl.Trainer:
    """Train for at most `epochs`; returns the trainer.

    `data` are the keywords of `Trainer.fit` that name the batches. Checkpoints lie in `folder/checkpoints`, logs in
    `folder/logs/N`, a row an epoch in `folder/metrics.csv`. With `resume` a run goes on from its last finished epoch;
    without it checkpoints and logs of earlier attempts are removed. `options` are the Trainer's own (accelerator,
    devices, strategy, num_nodes, precision). ConfigError where it refuses them, and where the loss is not finite.
    KeyboardInterrupt passes through.
    """
    checkpoints = folder / "checkpoints"
    if getattr(rank_zero_only, "rank", 0) == 0:
        damage = damaged_checkpoint(folder) if resume else ""
        if damage:
            print(f"{damage}: the training starts anew", file=sys.stderr, flush=True)
        if damage or not resume:
            clear_attempts(folder)
    last = ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    attempt = len(_attempts(folder))
    resumed = checkpoints / "last.ckpt" if resume and (checkpoints / "last.ckpt").exists() else None
    csv = CSVLogger(str(folder / "logs"), name="", version=str(attempt), flush_logs_every_n_steps=1)
    for name in LOGGED:
        note_written(folder / "logs" / str(attempt) / name)
    _check_devices(dict(options or {}))
    lines = [] if sys.stderr.isatty() or not progress else [EpochLines()]
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            trainer = pl.Trainer(
                max_epochs=epochs,
                logger=[csv, *loggers],
                callbacks=[*callbacks, FiniteLoss(), *lines, last],
                log_every_n_steps=1,
                num_sanity_val_steps=0,
                enable_model_summary=False,
                enable_progress_bar=progress and sys.stderr.isatty(),  # a log would be flooded with it
                gradient_clip_val=1.0,
                default_root_dir=str(folder),
                plugins=[AtomicCheckpoints()],
                **(options or {}),
            )
        except (ValueError, TypeError, RuntimeError, pl.utilities.exceptions.MisconfigurationException) as error:
            raise ConfigError(f"Lightning refuses the accelerator, devices, strategy or precision: {error}") from error
        if trainer.precision.startswith("bf16"):
            tell_emulation(trainer.strategy.root_device)
        try:
            with full_disk_told(folder):
                trainer.fit(module, **data, ckpt_path=resumed, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from error
    if trainer.is_global_zero:
        _write_metrics(folder)
    return trainer


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, whole or not at all: a full disk leaves the one before, and is told with its folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Beside its place, then renamed; Lightning's own goes through the folder for temporary files."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(checkpoint, content)  # torch tells of a full disk in no word that says so
        write_atomic(Path(path), lambda file: file.write(content.getbuffer()))


def clear_attempts(folder: Path) -> None:
    """Remove the checkpoints and logs that `run_trainer` wrote into a folder, by their names."""
    for name in ("last.ckpt", "best.ckpt"):
        (folder / "checkpoints" / name).unlink(missing_ok=True)
    for attempt in _attempts(folder):
        for name in LOGGED:
            (attempt / name).unlink(missing_ok=True)
        remove_empty(folder, attempt)
    remove_empty(folder, folder / "checkpoints")


def _attempts(folder: Path) -> list[Path]:
    """The folders of logs 0, 1, 2 ... as far as there are such."""
    count = 0
    while (folder / "logs" / str(count)).is_dir():
        count += 1
    return [folder / "logs" / str(number) for number in range(count)]


def damaged_checkpoint(folder: Path) -> str:
    """Why a checkpoint of an earlier run in a folder cannot be read, with its name; "" where all can."""
    for path in sorted((folder / "checkpoints").glob("*.ckpt")):
        if damage := damage_of(path):
            return f"{path} is damaged ({damage})"
    return ""


def _check_devices(options: Mapping[str, Any]) -> None:
    """ConfigError for more devices than there are: on a CPU Lightning would start as many processes."""
    asked, accelerator = str(options.get("devices", "auto")), str(options.get("accelerator", "auto"))
    there = torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 0
    there = there or os.cpu_count() or 1
    if asked.lstrip("-").isdecimal() and not (asked == "-1" or 1 <= int(asked) <= there):
        raise ConfigError(f"devices is {asked}; this machine has {there}: give auto, or 1 to {there}")


def decayed_groups(module: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Its parameters for an optimizer: weights decay, biases and what normalises (one dimension) do not."""
    decayed, plain = ([p for p in module.parameters() if (p.ndim > 1) is many] for many in (True, False))
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def one_cycle(
    optimizer: torch.optim.Optimizer, learning_rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle, a tenth of the steps warm-up; of 10 steps 11 are planned, since torch divides by its length - 1.

    Examples:
        >>> scheduler = one_cycle(torch.optim.SGD([torch.zeros(1)], 1.0), 1.0, 10)
    """
    steps += steps == 10
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)


def _write_metrics(folder: Path) -> None:
    """Fold the logs of all attempts into `folder/metrics.csv`, a row an epoch; a later attempt wins."""
    files = [attempt / "metrics.csv" for attempt in _attempts(folder)]
    parts = [pd.read_csv(path) for path in files if path.is_file() and path.stat().st_size]
    table = pd.concat(parts).groupby("epoch", as_index=False).last() if parts else pd.DataFrame()
    write_atomic(folder / "metrics.csv", lambda file: table.to_csv(file, index=False))


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
