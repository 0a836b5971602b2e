"""`sqp recalibrate`: a bundle -> one with all that follows its training made anew: intervals, distances, no weight.

For bundles that are older than a part of it (the neighbours, the distances of the image's features), for another
level, quantile or kind of calibration record, and for more images of val and calibration than there were.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from sqp.bundles import bundle_folder
from sqp.commands.train import all_outputs, calibrate, check_numbers, split_records
from sqp.config.recalibrate import RecalibrateConfig
from sqp.config.train import EXECUTION_KEYS, TrainConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.expected_config import LOCALIZER
from sqp.quality.bundle.provenance import of_known_groups
from sqp.quality.bundle.storage import Bundle
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.cache import build_cache
from sqp.quality.model.features import with_features
from sqp.quality.model.rows import USED, learned_from, training_rows
from sqp.records import RecordSet
from sqp.records.run_info import fingerprint

CHANGED = ("alpha", "calibrate_on", "calibrate_splits", "ood_quantile")  # options that are as in the bundle by default


@dataclass
class RecalibrateResult:
    """The bundle as it was and as it is."""

    before: Bundle
    after: Bundle
    folder: Path

    def summary(self) -> str:
        """For the terminal: what has changed."""
        before, after = self.before, self.after
        rows = {
            "half width of the interval, in scales": (before.conformal.quantile, after.conformal.quantile),
            "distances are of the features of": (", ".join(before.ood.spaces), ", ".join(after.ood.spaces)),
            "quantile of the distances": (before.ood.quantile, after.ood.quantile),
        }
        lines = [f"{name}: {old} -> {new}" for name, (old, new) in rows.items()]
        return "\n".join([*lines, f"bundle: {self.folder}"])


def run(config: RecalibrateConfig) -> RecalibrateResult:
    """Read, recalibrate, write into OUT, with the localizer of the referee where there is one.

    ConfigError where OUT holds anything but a bundle that may be replaced, and for records that it was not trained on.
    """
    source = bundle_folder(config.model)
    check_out(config.out, config.overwrite)
    bundle = Bundle.load(source)
    told = {name: value for name in CHANGED if (value := getattr(config, name)) is not None}
    with TemporaryDirectory() as folder:
        own = {"cache": config.cache or Path(folder), "workers": config.workers, "progress": config.progress}
        made = recalibrate(bundle, training_config(bundle, config.records, config.out, **own, **told))
    made.save(config.out)
    localizer = config.out / LOCALIZER
    if (source / LOCALIZER).is_file() and source.resolve() != config.out.resolve():
        shutil.copyfile(source / LOCALIZER, localizer)
    return RecalibrateResult(bundle, made, config.out)


def check_out(out: Path, overwrite: bool) -> None:
    """ConfigError for a file, and for a folder that holds anything but a bundle that is to be replaced."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file where the folder of the new bundle is needed: choose another name")
    if out.is_dir() and any(out.iterdir()):
        if not (out / "bundle.json").is_file():
            raise ConfigError(f"{out} holds other files and no bundle: choose another folder for the new one")
        if not overwrite:
            raise ConfigError(f"{out} is a bundle already; choose another folder, or --overwrite")


def training_config(bundle: Bundle, records: list[Path], out: Path, **changed: Any) -> TrainConfig:
    """The config that the bundle was trained with, over these records, with what is changed."""
    known = {field.name for field in fields(TrainConfig)} - set(EXECUTION_KEYS)
    told = {name: value for name, value in bundle.info.get("training", {}).items() if name in known}
    new = {"alpha": bundle.conformal.alpha, "ood_quantile": TrainConfig.ood_quantile}
    return replace(TrainConfig(records, out, **told), **(new | changed))


def recalibrate(bundle: Bundle, config: TrainConfig) -> Bundle:
    """The bundle with interval and out-of-distribution statistics of this config, from the records it was trained on.

    Groups that it did not have may be added to val and calibration, never to train. ConfigError where the records are
    others, which its groups and splits tell, or do not fit it.
    """
    check_numbers(config)
    kinds = config.calibrate_on, config.calibrate_splits
    rows = training_rows(config.records, bundle.channels, config.alpha, *kinds)
    for records in map(RecordSet, config.records):
        if (records.table["split"] == "calibration").any():  # from the others it only learned
            bundle.check_records(records)
    if not _grown_from(rows, bundle):
        raise ConfigError(
            f"{bundle.name} was not trained on the images and splits of {', '.join(map(str, config.records))}: give "
            "the record sets that it was trained on (val and calibration may have more groups), or train anew"
        )
    learned = learned_from(rows, config.train_on)
    cache = build_cache(
        *(rows, bundle.channels, bundle.size, config.cache or config.out / "cache", config.workers, config.progress),
        truth=bundle.model.spec.error_map,
        dims=dims_of(bundle.model.spec.backbone),
    )
    table = with_features(learned, bundle.features)
    data = {split: split_records(cache, table, split, bundle.standardizer, 0) for split in USED}
    outputs = all_outputs(bundle.model, data, config, "cpu")
    made, _, _ = calibrate(config, bundle.model, bundle.standardizer, learned, outputs, bundle.expects)
    return made


def _grown_from(rows: pd.DataFrame, bundle: Bundle) -> bool:
    """Whether the groups that the bundle had are the same images in the same splits, and no other is in train."""
    had = of_known_groups(rows, bundle.info.get("groups_sha256", []))
    same = fingerprint(rows[had])["sha256"] == bundle.info.get("data", {}).get("sha256")
    return same and not (rows["split"] == "train")[~had].any()
