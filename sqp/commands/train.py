"""`sqp train`: record sets -> a quality model, calibrated, as a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from pytorch_lightning.utilities import rank_zero_only

from sqp.commands.train_members import View, build_model, fit_members, views_of
from sqp.config.checks import check_ranges
from sqp.config.train import EXECUTION_KEYS, YOUNGER, TrainConfig
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import write_text
from sqp.core.ownership import Owned, owned
from sqp.evaluation.val_report import write_val_report
from sqp.metrics.agreement import agreement
from sqp.metrics.intervals import coverage, mean_width
from sqp.networks.checkpoint import rounded
from sqp.quality.bundle.licences import parts_behind
from sqp.quality.bundle.provenance import expectation, group_hashes
from sqp.quality.bundle.sources import sources_of
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.conformal import Conformal, check_alpha
from sqp.quality.judging.risk import RiskEvidence
from sqp.quality.judging.strangeness import OodStatistics
from sqp.quality.judging.strangeness_features import known_features
from sqp.quality.judging.verdict import judged
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.batches import BatchPlan, CachedRecords, loader
from sqp.quality.model.cache import PlaneCache, build_cache
from sqp.quality.model.channels import parse_inputs
from sqp.quality.model.dims import check_dims
from sqp.quality.model.ensemble import Ensemble, one_model
from sqp.quality.model.features import check_features, check_one_network, with_features
from sqp.quality.model.inference import Outputs, infer
from sqp.quality.model.losses import record_weights
from sqp.quality.model.module import QualityModel
from sqp.quality.model.rows import KINDS, USED, calibrates, learned_from, training_rows
from sqp.quality.model.tabular import Standardizer, resolve_scores
from sqp.records import RecordSet
from sqp.records.run_info import described, earlier_run, fingerprint, plain, versions
from sqp.records.schema import FEATURE_PREFIX
from sqp.report.tables import write_csv
from sqp.report.wandb_run import check_logger, wandb_run


@dataclass
class TrainResult:
    """Where the bundle is, and how the model does on the split val."""

    bundle: Path
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0

    def summary(self) -> str:
        """For the terminal."""
        m = self.metrics
        if not m:
            return "trained; the process of rank 0 reports"
        return (
            f"val: MAE {m['mae']:.3f}, RMSE {m['rmse']:.3f}, Pearson {m['pearson']:.3f}, "
            f"Spearman {m['spearman']:.3f} (n = {m['n']:.0f}, SD(Dice) {m['sd']:.3f}); "
            f"{self.epochs} epochs in {self.seconds:.0f} s\n"
            f"bundle: {self.bundle}"
        )


def run(config: TrainConfig) -> TrainResult:
    """Fit, calibrate and write into OUT: bundle, metrics.csv, run.yaml, predictions_val.csv, comparison_val.csv.

    A finished run of the same config and data is answered from its files; ConfigError where they differ.
    """
    check_numbers(config)
    check_logger(config)
    first = getattr(rank_zero_only, "rank", 0) == 0  # the other ranks start while it trains
    with owned(config.out, "train", locked=first) as own:
        return _run(config, own)


def _run(config: TrainConfig, own: Owned) -> TrainResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    out = Path(config.out)
    channels = parse_inputs(config.inputs)
    for key in ("train_on", "calibrate_on"):
        lookup(f"choice of --{key}", getattr(config, key), dict.fromkeys(KINDS))
    held = parse_inputs(config.cache_inputs) if config.cache_inputs else ()
    kinds = config.calibrate_on, config.calibrate_splits
    rows = training_rows(config.records, (*channels, *held), config.alpha, *kinds)
    learned = learned_from(rows, config.train_on)
    for folder in config.records:
        check_features(RecordSet(folder), config.features)
        check_dims(RecordSet(folder), config.backbone, "this run")
    check_one_network([RecordSet(folder) for folder in config.records], config.features)
    expects = expected(config)
    stored = described(config, EXECUTION_KEYS) | {"data_sha256": fingerprint(rows)["sha256"], "n_records": len(rows)}
    if config.overwrite and getattr(rank_zero_only, "rank", 0) == 0:  # other ranks start while rank 0 trains
        own.clear()
    finished = _check_out(out, stored)
    if finished and config.resume:
        return finished
    table = with_features(learned, config.features)
    train = table[table["split"] == "train"]
    scores = [
        *resolve_scores(train, config.scores),
        *(name for name in table.columns if name.startswith(FEATURE_PREFIX)),
    ]
    standardizer = Standardizer.fit(train, scores)
    nothing = Standardizer((), (), ())
    seen = [(view, nothing if number else standardizer) for number, view in enumerate(views_of(config, channels))]
    for parts in seen:
        build_model(config, *parts, config.seed)  # what it refuses is told before anything is written or decoded
    write_text(out / "run.yaml", yaml.safe_dump({"config": stored}, sort_keys=False))
    rank = getattr(rank_zero_only, "rank", 0)
    cache_folder = config.cache or out / "cache"
    views = []
    for view, scored in seen:
        cache = build_cache(
            *(rows, view, config.size, cache_folder, config.workers, config.progress, rank),
            truth=config.error_map,
            hold=(*held, *channels),
            dims=dims_of(config.backbone),
        )
        data = {split: split_records(cache, table, split, scored, config.balance) for split in USED}
        views.append(View(view, scored, data))
    with nullcontext() if rank else wandb_run(config, "train", out, stored) as logged:
        members = fit_members(config, views, out, logged)
        if not members[-1].is_global_zero:
            return TrainResult(out / "bundle")
        whole, device = one_model([m.model for m in members]), members[-1].device
        epochs = max(m.epochs for m in members)
        if config.half:
            whole.load_state_dict(rounded(whole.state_dict()))
        outputs = all_outputs(whole, views[0].data, config, device)
        bundle, metrics, table = calibrate(config, whole.cpu(), standardizer, learned, outputs, expects)
        bundle.save(out / "bundle")
        write_csv(table, out / "predictions_val.csv")
        write_val_report(config, learned, table, logged)
    seconds = round(time.monotonic() - started, 2)
    run_yaml = {
        "config": stored,
        "execution": {k: plain(getattr(config, k)) for k in EXECUTION_KEYS},
        "versions": versions(),
        "parameters": sum(p.numel() for p in whole.parameters()),
        "epochs": epochs,
        "seconds": seconds,
        "val": metrics,
    }
    write_text(out / "run.yaml", yaml.safe_dump(run_yaml, sort_keys=False))
    return TrainResult(out / "bundle", metrics, epochs, seconds)


def check_numbers(config: TrainConfig) -> None:
    """ConfigError naming an option that is out of its range."""
    check_alpha(config.alpha)
    if config.flips not in (1, 2, 4, 8):
        raise ConfigError(f"flips is {config.flips}; it must be 1, 2, 4 or 8")
    check_ranges(
        config,
        {
            "size": (32, 2048),
            "epochs": (1, 100_000),
            "patience": (1, 100_000),
            "batch_size": (2, 65_536),
            "learning_rate": (1e-8, 10),
            "weight_decay": (0, 10),
            "dropout": (0, 0.95),
            "beta": (0, 1),
            "balance": (0, 1),
            "ood_quantile": (0.5, 1),
            "error_weight": (0, 100),
            "error_skip": (0, 100),
            "members": (1, 100),
        },
    )


def calibrate(
    config: TrainConfig,
    model: QualityModel | Ensemble,
    standardizer: Standardizer,
    rows: pd.DataFrame,
    outputs: dict[str, Outputs],
    expects: list[dict[str, Any]],
) -> tuple[Bundle, dict[str, float], pd.DataFrame]:
    """The bundle, the metrics on val and the table of its predictions: all that follows when the model is fitted."""
    conformal = Conformal.widest(
        [_interval(config, rows[rows["split"] == split], outputs[split]) for split in config.calibrate_splits]
    )
    train, calibration = (rows[rows["split"] == split] for split in ("train", "calibration"))
    sources = sources_of((*model.spec.channels, *standardizer.names))
    features = known_features(rows, outputs, expects, sources)
    ood = OodStatistics.fit(
        *(features["train"], features["calibration"], config.ood_quantile, calibration["group"].to_numpy()),
        image=(train["dataset"].astype(str) + "/" + train["image_id"].astype(str)).to_numpy(),
        seed=config.seed,
    )
    val = rows[rows["split"] == "val"]
    predicted = outputs["val"]
    low, high = conformal.interval(predicted.dice, predicted.scale)
    table = val[["image_id", "record_id", "group", "variant", "natural", "dice"]].assign(
        predicted_dice=predicted.dice, scale=predicted.scale, low=low, high=high
    )
    metrics = agreement(predicted.dice, val["dice"], val["image_id"])
    metrics |= {"coverage": coverage(low, high, val["dice"]), "width": mean_width(low, high)}
    metrics = {name: float(value) for name, value in metrics.items()}
    info = {
        "data": fingerprint(rows),
        "behind": parts_behind(config.records),
        "groups_sha256": group_hashes(rows),
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
        risk = RiskEvidence.fit(tested["low"], tested["dice"], tested["group"], ordering["low"], config.seed)
    return Bundle(model.eval(), standardizer, conformal, ood, expects, info, risk=risk), metrics, table


def _interval(config: TrainConfig, rows: pd.DataFrame, outputs: Outputs) -> Conformal:
    """The half width that one split asks for."""
    kept = calibrates(rows, config.calibrate_on)
    dice, group = rows["dice"].to_numpy(float)[kept], rows["group"].to_numpy()[kept]
    return Conformal.fit(outputs.dice[kept], outputs.scale[kept], dice, group, config.alpha)


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


def split_records(
    cache: PlaneCache, rows: pd.DataFrame, split: str, standardizer: Standardizer, balance: float
) -> CachedRecords:
    """What batches of a split are made of."""
    part = rows[rows["split"] == split]
    dice = torch.tensor(part["dice"].to_numpy(np.float32))
    scores = torch.from_numpy(standardizer(part)) if standardizer.names else None
    weight = record_weights(part["image_id"].tolist(), dice, balance)
    return CachedRecords(cache, part.index.to_numpy(), dice, weight, scores)


def inferred(
    model: QualityModel | Ensemble, data: CachedRecords, config: TrainConfig, device: str | torch.device
) -> Outputs:
    """The model's outputs on a split, in its order."""
    return infer(model, loader(data, BatchPlan(len(data), 2 * config.batch_size)), device)


def all_outputs(
    model: QualityModel | Ensemble, data: Mapping[str, CachedRecords], config: TrainConfig, device: str | torch.device
) -> dict[str, Outputs]:
    """The outputs on all splits. Of train only the features count, which an ensemble's first member gives."""
    first = model.first if isinstance(model, Ensemble) else model
    return {name: inferred(first if name == "train" else model, part, config, device) for name, part in data.items()}


def _check_out(out: Path, stored: dict[str, Any]) -> TrainResult | None:
    """The result of a finished run of the same config; ConfigError where OUT holds another one."""
    told = earlier_run(out, stored, "a model trained", YOUNGER)
    if told is None:
        return None
    if "val" in told and (out / "bundle" / "bundle.json").exists():
        return TrainResult(out / "bundle", told["val"], told["epochs"], told["seconds"])
    return None
