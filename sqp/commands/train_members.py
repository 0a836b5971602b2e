"""The quality models of a training: each built from its seed, fitted, or read back where it was finished before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.core.files import write_text
from sqp.core.seeding import derive_seed
from sqp.quality.model.batches import CachedRecords
from sqp.quality.model.channels import parse_inputs
from sqp.quality.model.fitting import RecordsModule, fit, load_best, plane_statistics
from sqp.quality.model.module import ModelSpec, QualityModel, TrainingSpec
from sqp.quality.model.tabular import Standardizer
from sqp.report.wandb_run import lightning_loggers
from sqp.training.trainer import damaged_checkpoint


@dataclass(frozen=True)
class Member:
    """A trained model, and how its run went."""

    model: QualityModel
    epochs: int
    device: str | torch.device = "cpu"
    is_global_zero: bool = True


@dataclass(frozen=True)
class View:
    """What some of the models of a run read, and learn from."""

    channels: tuple[str, ...]
    standardizer: Standardizer
    data: Mapping[str, CachedRecords]


def views_of(config: TrainConfig, channels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The channels of each view, the run's own first. ConfigError for one that is not a part of these."""
    views = [channels]
    for text in config.views:
        view = parse_inputs(text)
        foreign = [name for name in view if name not in channels]
        if foreign:
            raise ConfigError(f"the view {text} reads {foreign[0]}, which is not among the inputs {config.inputs}")
        if view in views:
            raise ConfigError(f"the view {text} is there already, among the views or as the inputs: leave it out")
        views.append(view)
    return views


def fit_members(config: TrainConfig, views: Sequence[View], out: Path, logged: Any | None = None) -> list[Member]:
    """All models of a run: of every view, in its order, those of seed, seed + 1 ..."""
    several = config.members * len(views) > 1
    members = []
    for number, view in enumerate(views):
        statistics = plane_statistics(view.data["train"])
        home = out / "views" / "+".join(name.replace("/", ".") for name in view.channels) if number else out
        for seed in range(config.seed, config.seed + config.members):
            model = build_model(config, view.channels, view.standardizer, seed)
            model.set_normalization(*statistics)
            folder = home / "members" / str(seed) if several else out
            label = f"member-{seed}" + (f"-view-{number}" if number else "")
            members.append(fit_member(config, model, view.data, folder, seed, logged, label if several else ""))
    return members


def fit_member(
    config: TrainConfig,
    model: QualityModel,
    data: Mapping[str, CachedRecords],
    folder: Path,
    seed: int,
    logged: Any | None = None,
    label: str = "",
) -> Member:
    """One model trained in `folder`; one of several, which has a label, is read back where it was finished before.

    `logged` is a run of W&B that gets its metrics, under the label.
    """
    done = folder / "done"
    if config.resume and done.exists() and not damaged_checkpoint(folder):
        load_best(model, folder)
        return Member(model, int(done.read_text()))
    trainer = fit(
        model,
        RecordsModule(data["train"], data["val"], config.batch_size, seed),
        folder,
        config.epochs,
        config.patience,
        loggers=lightning_loggers(logged, label),
        resume=config.resume,
        progress=config.progress,
        trainer_options={
            k: getattr(config, k) for k in ("accelerator", "devices", "strategy", "num_nodes", "precision")
        },
    )
    if label and trainer.is_global_zero:
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
