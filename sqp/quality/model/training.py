"""Training a quality model: record sets -> models, each from its seed -> a calibrated bundle. `sqp train` writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError, SqpError
from sqp.core.files import write_text
from sqp.core.seeding import derive_seed
from sqp.networks.checkpoint import rounded
from sqp.networks.weight_files import read_tensors
from sqp.quality.bundle.calibration import Calibrated, calibrate, expected, image_vectors
from sqp.quality.bundle.sources import sources_of
from sqp.quality.model.backbones import check_dims, dims_of
from sqp.quality.model.batches import CachedRecords, outputs_by_split, plane_statistics, split_records
from sqp.quality.model.cache import build_cache
from sqp.quality.model.channels import parse_inputs
from sqp.quality.model.ensemble import one_model
from sqp.quality.model.learner import QualityLearner, RecordsModule, TrainingSpec
from sqp.quality.model.module import ModelSpec, QualityModel
from sqp.quality.model.rows import USED, learned_from, training_rows, without
from sqp.quality.model.tabular import Standardizer, check_features, check_one_network, resolve_scores, with_features
from sqp.records import RecordSet
from sqp.records.schema import FEATURE_PREFIX
from sqp.training.trainer import damaged_checkpoint, run_trainer

MONITOR = "val/mae"
LIGHTNING = ("accelerator", "devices", "strategy", "num_nodes", "precision")
Loggers = Callable[[str], Sequence[Logger]]
"""Label of a member ("" where it is the only one) -> Lightning's loggers of its metrics, beside the CSV file."""


@dataclass(frozen=True)
class Member:
    """A trained model, and how its run went."""

    model: QualityModel
    epochs: int
    device: str | torch.device = "cpu"
    is_global_zero: bool = True


@dataclass(frozen=True)
class View:
    """What some of the models of a run read, and by split the records that they learn from."""

    channels: tuple[str, ...]
    standardizer: Standardizer
    data: Mapping[str, CachedRecords] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained(Calibrated):
    """The bundle of a training, with its rows, how many epochs it took and by record why it was skipped."""

    rows: pd.DataFrame
    epochs: int
    skipped: dict[str, str]


@dataclass(frozen=True)
class Training:
    """A run that is checked and ready: nothing has been decoded or written yet.

    rows: all records, a row a row of the cache; learned: those without what the model does not learn from (`train_on`);
    table: the same with the vectors of `features` as columns; image: the vectors by which a strange image is told.
    """

    config: TrainConfig
    rows: pd.DataFrame
    learned: pd.DataFrame
    table: pd.DataFrame
    image: pd.DataFrame | None
    views: list[View]
    expects: list[dict[str, Any]]
    unreadable: dict[str, str]

    @classmethod
    def of(cls, config: TrainConfig, rows: pd.DataFrame) -> Training:
        """From the config and its `checked_rows`. ConfigError for what a model refuses."""
        learned, expects = learned_from(rows, config.train_on), expected(config)
        unreadable: dict[str, str] = {}
        table = with_features(learned, config.features, unreadable)
        standardizer = standardizer_of(config, table)
        channels = views_of(config, parse_inputs(config.inputs))
        nothing = Standardizer((), (), ())
        views = [View(names, nothing if number else standardizer) for number, names in enumerate(channels)]
        for view in views:
            build_model(config, view, config.seed)
        sources = sources_of((*channels[0], *standardizer.names))
        image = image_vectors(learned, sources, expects, unreadable) if config.ood_images else None
        return cls(config, rows, learned, table, image, views, expects, unreadable)

    def run(self, folder: Path, loggers: Loggers | None = None) -> Trained | None:
        """Decode, fit every model in `folder`, calibrate; None in a process of another rank than 0.

        A record that cannot be read is skipped. ConfigError where too few are left; CaseError for the first of them
        where the config is strict.
        """
        config = self.config
        views, skipped = self._decoded(folder)
        learned = without(self.learned, skipped, config)
        members = fit_members(config, views, folder, loggers)
        if not members[-1].is_global_zero:
            return None
        whole, device = one_model([member.model for member in members]), members[-1].device
        if config.half:
            whole.load_state_dict(rounded(whole.state_dict()))
        outputs = outputs_by_split(whole, views[0].data, 2 * config.batch_size, device)
        done = calibrate(config, whole.cpu(), views[0].standardizer, learned, outputs, self.expects, self.image)
        done.bundle.note_skipped(skipped)
        epochs = max(member.epochs for member in members)
        return Trained(**vars(done), rows=learned, epochs=epochs, skipped=skipped)

    def _decoded(self, folder: Path) -> tuple[list[View], dict[str, str]]:
        """The views with their records, and by record why it cannot be read."""
        config, skipped = self.config, dict(self.unreadable)
        where = (config.size, config.cache or folder / "cache", config.workers, config.progress)
        caches = [
            build_cache(
                *(self.rows, view.channels, *where, getattr(rank_zero_only, "rank", 0)),
                truth=config.error_map,
                hold=(*_held(config), *self.views[0].channels),
                dims=dims_of(config.backbone),
            )
            for view in self.views
        ]
        names = self.rows["record_id"]
        skipped |= {names[row]: why for cache in caches for row, why in cache.broken.items()}
        table = without(self.table, skipped, config)
        views = []
        for view, cache in zip(self.views, caches, strict=True):
            standardizer = standardizer_of(config, table) if view.standardizer.names else view.standardizer
            data = {split: split_records(cache, table, split, standardizer, config.balance) for split in USED}
            views.append(replace(view, standardizer=standardizer, data=data))
        return views, skipped


def train(config: TrainConfig, loggers: Loggers | None = None) -> Trained | None:
    """All of it in one call; checkpoints, logs and cache lie in the config's `out`. None where the rank is not 0.

    Raises:
        ConfigError: The config, or the records, do not fit; nothing has been written.
        CaseError: A record cannot be read, and the config is strict.
    """
    return Training.of(config, checked_rows(config)).run(Path(config.out), loggers)


def checked_rows(config: TrainConfig) -> pd.DataFrame:
    """`training_rows` of record sets that have all that the config asks for; ConfigError where they lack some of it."""
    rows = training_rows(config, (*parse_inputs(config.inputs), *_held(config)))
    learned_from(rows, config.train_on)
    sets = [RecordSet(folder) for folder in config.records]
    for records in sets:
        check_features(records, config.features)
        check_dims(records, config.backbone, "this run")
    check_one_network(sets, config.features)
    return rows


def _held(config: TrainConfig) -> tuple[str, ...]:
    """Channels that are decoded for other runs."""
    return parse_inputs(config.cache_inputs) if config.cache_inputs else ()


def standardizer_of(config: TrainConfig, table: pd.DataFrame) -> Standardizer:
    """Of the scores and features that the config names, fitted on the split train."""
    part = table[table["split"] == "train"]
    features = [name for name in table.columns if name.startswith(FEATURE_PREFIX)]
    return Standardizer.fit(part, [*resolve_scores(part, config.scores), *features])


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


def fit_members(config: TrainConfig, views: Sequence[View], out: Path, loggers: Loggers | None = None) -> list[Member]:
    """All models of a run: of every view, in its order, those of seed, seed + 1 ..."""
    several = config.members * len(views) > 1
    members = []
    for number, view in enumerate(views):
        statistics = plane_statistics(view.data["train"])
        home = out / "views" / "+".join(name.replace("/", ".") for name in view.channels) if number else out
        for seed in range(config.seed, config.seed + config.members):
            model = build_model(config, view, seed)
            model.set_normalization(*statistics)
            folder = home / "members" / str(seed) if several else out
            label = f"member-{seed}" + (f"-view-{number}" if number else "")
            members.append(fit_member(config, model, view.data, folder, seed, loggers, label if several else ""))
    return members


def fit_member(
    config: TrainConfig,
    model: QualityLearner,
    data: Mapping[str, CachedRecords],
    folder: Path,
    seed: int,
    loggers: Loggers | None = None,
    label: str = "",
) -> Member:
    """One model trained in `folder`; one of several, which has a label, is read back where it was finished before."""
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
        loggers=loggers(label) if loggers else (),
        resume=config.resume,
        progress=config.progress,
        trainer_options={name: getattr(config, name) for name in LIGHTNING},
    )
    if label and trainer.is_global_zero:
        write_text(done, str(trainer.current_epoch))
    return Member(model, trainer.current_epoch, trainer.strategy.root_device, trainer.is_global_zero)


def build_model(config: TrainConfig, view: View, seed: int) -> QualityLearner:
    """The untrained model of a view, its weights from the seed."""
    names = {f.name for f in fields(ModelSpec)} - {"channels", "scores"}
    options = {name: getattr(config, name) for name in names}
    inputs = parse_inputs(config.inputs)
    options["compare"] = tuple(name for name in config.compare if name in view.channels or name not in inputs)
    spec = ModelSpec(channels=view.channels, scores=view.standardizer.names, **options)
    how = {f.name: getattr(config, f.name) for f in fields(TrainingSpec)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        file = str(config.pretrained_file) if config.pretrained_file else ""
        return QualityLearner(spec, TrainingSpec(**how | {"seed": seed}), config.pretrained, file)


def fit(
    model: QualityLearner,
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
    """Train with early stopping, then put the best epoch's weights into `model`; returns the trainer.

    Checkpoints lie in `folder/checkpoints`, logs in `folder/logs/N` and in `folder/metrics.csv` (a row an epoch). With
    `resume` a run goes on from `last.ckpt`; without it checkpoints and logs of earlier attempts are removed.
    `trainer_options` are Lightning's own (`LIGHTNING`). KeyboardInterrupt passes through.
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
