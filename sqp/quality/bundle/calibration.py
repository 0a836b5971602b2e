"""All that follows when a quality model is fitted: its interval, distances and risk, as a bundle; made anew, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.config.train import EXECUTION_KEYS, TrainConfig
from sqp.core.errors import ConfigError
from sqp.metrics.agreement import agreement
from sqp.metrics.intervals import coverage, mean_width
from sqp.quality.bundle.licences import parts_behind
from sqp.quality.bundle.provenance import (
    ENCODERS,
    encoder_of,
    expectation,
    hashes_of,
    image_feature,
    is_hashed,
    of_known_groups,
)
from sqp.quality.bundle.storage import SKIPPED, Bundle
from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.risk import RiskEvidence
from sqp.quality.judging.strangeness import IMAGE, MODEL, OodStatistics
from sqp.quality.judging.verdict import judged
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.batches import outputs_by_split, split_records
from sqp.quality.model.cache import build_cache
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.inference import Outputs
from sqp.quality.model.module import QualityModel
from sqp.quality.model.rows import TASKS, USED, calibrates, learned_from, training_rows, without
from sqp.quality.model.tabular import Standardizer, has_feature, with_features
from sqp.records import RecordSet
from sqp.records.run_info import described, fingerprint, versions
from sqp.records.schema import FEATURE_PREFIX, image_keys


@dataclass(frozen=True)
class Calibrated:
    """A bundle, its metrics on the split val, and the table of its predictions there."""

    bundle: Bundle
    metrics: dict[str, float]
    predictions: pd.DataFrame


def calibrate(
    config: TrainConfig,
    model: QualityModel | Ensemble,
    standardizer: Standardizer,
    rows: pd.DataFrame,
    outputs: Mapping[str, Outputs],
    expects: list[dict[str, Any]],
    image: pd.DataFrame | None = None,
) -> Calibrated:
    """A fitted model -> its bundle.

    Args:
        config: Of `sqp train`: alpha, calibrate_on, calibrate_splits, ood_quantile, seed and the record sets.
        model: The fitted model.
        standardizer: Of its scores and features.
        rows: The records of the three splits with their true Dice.
        outputs: By split the model's outputs on these rows, in their order.
        expects: The `generate` configs that records must match (`expected`).
        image: The rows' `image_vectors`, by their index.
    """
    conformal = Conformal.widest(
        [_interval(config, rows[rows["split"] == split], outputs[split]) for split in config.calibrate_splits]
    )
    train, calibration = (rows[rows["split"] == split] for split in ("train", "calibration"))
    features = {split: {MODEL: out.features} for split, out in outputs.items()}
    if image is not None:
        for split in features:
            index = rows.index[rows["split"] == split]
            if index.isin(image.index).all():
                features[split][IMAGE] = image.loc[index].to_numpy(np.float32)
    ood = OodStatistics.fit(
        *(features["train"], features["calibration"], config.ood_quantile, calibration["group"].to_numpy()),
        image=image_keys(train),
        calibration_image=image_keys(calibration),
        seed=config.seed,
    )
    val = rows[rows["split"] == "val"]
    predicted = outputs["val"]
    low, high = conformal.interval(predicted.dice, predicted.scale)
    table = val[["image_id", "record_id", "group", "variant", "natural", "dice"]].assign(
        predicted_dice=predicted.dice, scale=predicted.scale, low=low, high=high
    )
    metrics = agreement(predicted.dice, val["dice"], image_keys(val))
    metrics |= {"coverage": coverage(low, high, val["dice"]), "width": mean_width(low, high)}
    metrics = {name: float(value) for name, value in metrics.items()}
    info = {
        "data": fingerprint(rows),
        "behind": parts_behind(config.records),
        "groups_sha256": hashes_of(rows["group"]),
        "training": described(config, EXECUTION_KEYS),
        "val": {name: value if np.isfinite(value) else None for name, value in metrics.items()},
        "versions": versions(),
    }
    parts = [
        judge(
            rows[rows["split"] == split], outputs[split], conformal, ood.columns(features[split]), config.calibrate_on
        )
        for split in ("calibration", "val")
    ]
    tested, ordering = (part[part["verdict"] != "abstain"] for part in parts)
    risk = None
    if len(tested) and len(ordering):
        ends = (tested["low"], tested["dice"], tested["group"], ordering["low"])
        risk = RiskEvidence.fit(*ends, config.seed, tested["high"])
    bundle = Bundle(model.eval(), standardizer, conformal, ood, expects, info, risk=risk)
    return Calibrated(bundle, metrics, table)


def _interval(config: TrainConfig, rows: pd.DataFrame, outputs: Outputs) -> Conformal:
    """The half width that one split asks for."""
    kept = calibrates(rows, config.calibrate_on)
    dice, group = rows["dice"].to_numpy(float)[kept], rows["group"].to_numpy()[kept]
    found = (outputs.dice[kept], outputs.scale[kept], dice, group, config.alpha)
    if config.calibrate_over == "tasks":
        return Conformal.fit(*found, rows["dataset"].astype(str).to_numpy()[kept], TASKS)
    return Conformal.fit(*found, makers_of(rows[kept]) if config.calibrate_over == "makers" else None)


def makers_of(rows: pd.DataFrame) -> list[str]:
    """Who made each mask, as finely as records tell: record set (a network, a camera), prompter, and corruption."""
    return rows[["record_set", "prompter", "variant"]].astype(str).agg("\x1f".join, axis=1).tolist()


def judge(
    rows: pd.DataFrame, outputs: Outputs, conformal: Conformal, ood: dict[str, np.ndarray], calibrate_on: str
) -> pd.DataFrame:
    """The rows of the kind that the interval rests on, with low, high and verdict; `ood` are their distances."""
    low, high = conformal.interval(outputs.dice, outputs.scale)
    table = rows.assign(predicted_dice=outputs.dice, low=low, high=high, ood=ood["ood"])
    return judged(table[calibrates(rows, calibrate_on)])


def expected(config: TrainConfig) -> list[dict[str, Any]]:
    """The `generate` configs of the record sets that calibrate, each once.

    The interval holds for masks made like these. From other sets the model only learns, as in cross-fitting, where the
    localizer behind the records of each half of train was fitted on the other half.
    """
    expects: list[dict[str, Any]] = []
    for records in map(RecordSet, config.records):
        one = expectation(records)
        expects += [one] if one not in expects and (records.table["split"] == "calibration").any() else []
    return expects


def image_vectors(
    rows: pd.DataFrame, sources: Sequence[str], expects: Sequence[Mapping[str, Any]], unreadable: dict[str, str]
) -> pd.DataFrame | None:
    """`[m, d]`, by the rows' index: the vectors by which a strange image is told (`image_feature`).

    Of the record sets with the encoder of those that calibrate, so that where networks are cross-fitted those of train
    may be lacking. A record that cannot be read, or holds NaN, has NaN, and its reason in `unreadable`. None where sets
    keep none.
    """
    name = image_feature(sources, expects)
    sets = {str(folder): RecordSet(folder) for folder in rows["record_set"].unique()}
    if name is None or not all(has_feature(records, name) for records in sets.values()):
        return None
    part = ENCODERS[name]
    alike = [
        folder for folder, records in sets.items() if encoder_of(records.config, part) == encoder_of(expects[0], part)
    ]
    known = rows[rows["record_set"].astype(str).isin(alike)]
    table = with_features(known[["record_set", "record_id"]], (name,), unreadable)
    vectors = table[[column for column in table.columns if column.startswith(FEATURE_PREFIX)]]
    for record in known["record_id"][~np.isfinite(vectors).all(axis=1)]:
        unreadable.setdefault(record, f"record {record} has NaN in its {name}: generate it again")
    return vectors


def training_config(bundle: Bundle, records: list[Path], out: Path, **changed: Any) -> TrainConfig:
    """The config that the bundle was trained with, over these records, with what is changed."""
    known = {field.name for field in fields(TrainConfig)} - set(EXECUTION_KEYS)
    stored = {name: value for name, value in bundle.info.get("training", {}).items() if name in known}
    new = {"alpha": bundle.conformal.alpha, "ood_quantile": TrainConfig.ood_quantile}
    return replace(TrainConfig(records, out, **stored), **(new | changed))


def recalibrate(bundle: Bundle, config: TrainConfig) -> tuple[Bundle, dict[str, str]]:
    """The bundle with interval and out-of-distribution statistics of this config, and by record why it was skipped.

    From the records that it was trained on. Groups that it did not have may be added to val and calibration, never to
    train. ConfigError where the records are others, which its groups and splits tell, or do not fit it.
    """
    rows = training_rows(config, bundle.channels)
    rows = rows[~is_hashed(rows["record_id"], bundle.info.get(SKIPPED, []))].reset_index(drop=True)
    for records in map(RecordSet, config.records):
        if (records.table["split"] == "calibration").any():  # from the others it only learned
            bundle.check_records(records)
    if not _grown_from(rows, bundle):
        raise ConfigError(
            f"{bundle.name} was not trained on the images and splits of {', '.join(map(str, config.records))}: give "
            "the record sets that it was trained on (val and calibration may have more groups), or train anew"
        )
    unreadable: dict[str, str] = {}
    learned = learned_from(rows, config.train_on)
    table = with_features(learned, bundle.features, unreadable)
    image = image_vectors(learned, bundle.sources, bundle.expects, unreadable) if config.ood_images else None
    cache = build_cache(
        *(rows, bundle.channels, bundle.size, config.cache or config.out / "cache", config.workers, config.progress),
        truth=bundle.model.spec.error_map,
        dims=dims_of(bundle.model.spec.backbone),
    )
    unreadable |= {rows["record_id"][row]: why for row, why in cache.broken.items()}
    learned, table = (without(part, unreadable, config) for part in (learned, table))
    data = {split: split_records(cache, table, split, bundle.standardizer) for split in USED}
    outputs = outputs_by_split(bundle.model, data, 2 * config.batch_size)
    made = calibrate(config, bundle.model, bundle.standardizer, learned, outputs, bundle.expects, image).bundle
    made.note_skipped(unreadable, bundle.info.get(SKIPPED, []))
    return made, unreadable


def _grown_from(rows: pd.DataFrame, bundle: Bundle) -> bool:
    """Whether the groups that the bundle had are the same images in the same splits, and no other is in train."""
    had = of_known_groups(rows, bundle.info.get("groups_sha256", []))
    same = fingerprint(rows[had])["sha256"] == bundle.info.get("data", {}).get("sha256")
    return same and not (rows["split"] == "train")[~had].any()
