"""One quality model of a training: built from its seed, fitted, or read back where it was finished before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sqp.config.train import TrainConfig
from sqp.io.atomic import write_text
from sqp.quality.batches import CachedRecords
from sqp.quality.fitting import RecordsModule, fit, load_best
from sqp.quality.module import ModelSpec, QualityModel, TrainingSpec
from sqp.quality.tabular import Standardizer
from sqp.report.wandb_run import lightning_loggers
from sqp.seeding import derive_seed


@dataclass(frozen=True)
class Member:
    """A trained model, and how its run went."""

    model: QualityModel
    epochs: int
    device: str | torch.device = "cpu"
    is_global_zero: bool = True


def fit_member(
    config: TrainConfig,
    model: QualityModel,
    data: Mapping[str, CachedRecords],
    folder: Path,
    seed: int,
    logged: Any | None = None,
) -> Member:
    """One model trained in `folder`; of an ensemble, one that was finished before is read back.

    `logged` is a run of W&B that gets its metrics, those of an ensemble's members under `member-SEED`.
    """
    done = folder / "done"
    if config.resume and done.exists():
        load_best(model, folder)
        return Member(model, int(done.read_text()))
    trainer = fit(
        model,
        RecordsModule(data["train"], data["val"], config.batch_size, seed),
        folder,
        config.epochs,
        config.patience,
        loggers=lightning_loggers(logged, f"member-{seed}" if config.members > 1 else ""),
        resume=config.resume,
        progress=config.progress,
        trainer_options={
            k: getattr(config, k) for k in ("accelerator", "devices", "strategy", "num_nodes", "precision")
        },
    )
    if config.members > 1 and trainer.is_global_zero:
        write_text(done, str(trainer.current_epoch))
    return Member(model, trainer.current_epoch, trainer.strategy.root_device, trainer.is_global_zero)


def build_model(config: TrainConfig, channels: tuple[str, ...], standardizer: Standardizer, seed: int) -> QualityModel:
    """The untrained model, its weights from the seed."""
    names = {f.name for f in fields(ModelSpec)} - {"channels", "scores"}
    spec = ModelSpec(channels=channels, scores=standardizer.names, **{name: getattr(config, name) for name in names})
    told = {f.name: getattr(config, f.name) for f in fields(TrainingSpec)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        file = str(config.pretrained_file) if config.pretrained_file else ""
        return QualityModel(spec, TrainingSpec(**told | {"seed": seed}), config.pretrained, file)
