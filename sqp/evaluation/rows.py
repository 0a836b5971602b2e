"""The rows that `evaluate` compares: test rows with predictions, and calibration rows."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sqp.bundles import bundle_folder
from sqp.config.evaluate import EvaluateConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.data.split_files import check_no_leakage, check_one_group
from sqp.quality.bundle.provenance import of_known_groups
from sqp.quality.judging.columns import FIRST, OTHER
from sqp.quality.judging.risk import RiskEvidence
from sqp.quality.judging.verdict import judged
from sqp.quality.model.rows import calibrates
from sqp.records import read_record_sets
from sqp.records.frozen import frozen_rows, read_frozen
from sqp.records.reader import check_dice
from sqp.records.schema import NATURAL, kinds
from sqp.report.predictions import read_predictions, whole_table

NOT_PREDICTED = ("image_id", "record_id", "image", "record_set", "prompter_label")
PREDICTED = [name for name in (*FIRST, *OTHER) if name not in NOT_PREDICTED]


class Rows(NamedTuple):
    """Test, calibration and raters rows (indices 0..n-1), and why test records were left out.

    Calibration rows have predictions where there are such; `calibrates` marks those that the model's interval rests on.
    Raters rows have several truths. `alpha` is that of the model's interval, NaN where it is not known; `risk` is what
    the model tests thresholds on, None where that is not known.
    """

    test: pd.DataFrame
    calibration: pd.DataFrame
    raters: pd.DataFrame
    unreadable: dict[str, str]
    alpha: float
    risk: RiskEvidence | None = None


def load_rows(config: EvaluateConfig, others: bool = False) -> Rows:
    """The rows to compare, with verdicts of this config's thresholds; records that cannot be read are left out.

    With `others` a model predicts the calibration and raters rows, too.

    ConfigError where the test split is empty or without truth, where a group or image lies in two splits, or
    where the bundle has seen a test group.
    """
    given = None if config.predictions is None else read_predictions(config.predictions)
    table = read_record_sets([Path(folder) for folder in config.records]) if config.records else given
    if table is None:
        raise ConfigError("no record set given; name at least one with --records DIR")
    _check_columns(table, config)
    check_no_leakage(table[["image_id", "group", "split"]].drop_duplicates())
    check_one_group(table)
    test = table[table["split"] == config.split].reset_index(drop=True)
    calibration = table[table["split"] == config.calibration_split].reset_index(drop=True)
    raters = _with_several_truths(table[table["split"].isin([config.split, config.raters_split])])
    if test.empty:
        splits = ", ".join(sorted(set(table["split"].astype(str)))) or "none"
        raise ConfigError(
            f"no record is in split '{config.split}' (splits found: {splits}); correct --split or --records"
        )
    if config.frozen:
        test = frozen_members(test, config.frozen)
    if not np.isfinite(test["dice"]).any():
        raise ConfigError(f"no record of split '{config.split}' has a ground truth; generate it with --truth DIR")
    alpha, calibrates, risk = np.nan, np.ones(len(calibration), bool), None
    if config.model is not None:
        given, alpha, calibrates, risk = _predicted(config, config.model, (test, calibration, raters), others)
    if given is not None and table is not given:
        test = _join(test, given, config)
        calibration, raters = (_join(rows, given, config, all_of_them=False) for rows in (calibration, raters))
    calibration["calibrates"] = calibrates
    for rows, name in product((test, calibration, raters), ("predicted_dice", "low", "high")):
        if name not in rows:
            rows[name] = np.nan
    for rows in (test, calibration, raters):
        check_dice(rows, ", ".join(map(str, config.records)) or config.predictions)
    lost = test["unreadable"].eq(True) if "unreadable" in test else pd.Series(False, test.index)
    reasons = test["reason"] if "reason" in test else pd.Series("", test.index)
    unreadable = dict(zip(test.loc[lost, "record_id"], reasons[lost].astype(str), strict=True))
    test = test[~lost].reset_index(drop=True)
    if not np.isfinite(test["dice"]).any():
        raise ConfigError(f"no test record can be read: {next(iter(unreadable.values()))}")
    return Rows(judged(test, config.accept, config.reject), calibration, raters, unreadable, alpha, risk)


def _with_several_truths(table: pd.DataFrame) -> pd.DataFrame:
    """The natural rows whose image has more than one truth."""
    if "truth_path" not in table:
        return table.head(0)
    several = table["truth_path"].map(lambda paths: isinstance(paths, list | np.ndarray) and len(paths) > 1)
    return table[several.astype(bool) & (kinds(table) == NATURAL)].reset_index(drop=True)


def frozen_members(test: pd.DataFrame, paths: list[Path]) -> pd.DataFrame:
    """The natural records and the members of the frozen sets."""
    if "record_set" not in test:
        raise ConfigError("--frozen needs the masks: give the record sets with --records DIR")
    masks: dict[str, str] = {}
    for path in paths:
        masks |= read_frozen(path)["masks"]
    return test[frozen_rows({"masks": masks}, test)].reset_index(drop=True)


def check_groups(test: pd.DataFrame, hashes: list[str], model: Path) -> None:
    """ConfigError where a test group is among the hashed groups that a bundle was made from."""
    leaked = test.loc[of_known_groups(test, hashes), "group"].astype(str).unique()
    if len(leaked):
        raise ConfigError(
            f"{model} was trained or calibrated on {len(leaked)} of the groups that are tested, {leaked[0]} "
            "among them; test it on other records, or train it anew with the splits of these"
        )


def _check_columns(table: pd.DataFrame, config: EvaluateConfig) -> None:
    needed = ("image_id", "record_id", "group", "split", "variant", "dataset", "dice")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        whole = whole_table(config.predictions)
        remedy = f"give {whole}, or " if whole else "give "
        raise ConfigError(
            f"{config.predictions or config.records[0]} has no column {missing[0]}; "
            f"{remedy}the record sets that were predicted with --records DIR"
        )


def _predicted(
    config: EvaluateConfig, model: Path, parts: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], others: bool
) -> tuple[pd.DataFrame, float, np.ndarray, RiskEvidence | None]:
    """Predictions of the bundle for test (and `others`) rows, its alpha, which calibration rows it used, its risk.

    First the check that it has seen no group of the test and raters rows.
    """
    from sqp.quality import Bundle, predict_records  # torch and the networks: only where a model runs
    from sqp.segmenters import check_device

    check_device(config.device)
    bundle = Bundle.load(bundle_folder(model))
    test, calibration, raters = parts
    for rows in (test, raters):
        check_groups(rows, bundle.info.get("groups_sha256", []), model)
    wanted = pd.concat(parts) if others else test
    table = predict_records(
        bundle,
        wanted["record_set"].unique().tolist(),
        config.batch_size,
        splits=wanted["split"].unique().tolist(),
        record_ids=set(wanted["record_id"]),
        device=config.device,
        accept=config.accept,
        reject=config.reject,
    )
    calibrate_on = bundle.info.get("training", {}).get("calibrate_on", TrainConfig.calibrate_on)
    return table, bundle.conformal.alpha, calibrates(calibration, calibrate_on), bundle.risk


def _join(
    test: pd.DataFrame, predicted: pd.DataFrame, config: EvaluateConfig, all_of_them: bool = True
) -> pd.DataFrame:
    """The rows with the columns of their predictions; with `all_of_them` every row must have been predicted.

    Joined by record_id; by record_set too only where an id is there more than once, since folders move.
    """
    keys = ["record_id"]
    twice = test.duplicated(keys).any() or predicted.duplicated(keys).any()
    if twice and "record_set" in test and "record_set" in predicted:
        keys.append("record_set")
    columns = [name for name in PREDICTED if name in predicted.columns]
    for rows in (test, predicted):
        twice = rows.loc[rows.duplicated(keys), "record_id"]
        if len(twice):
            raise ConfigError(f"record {twice.iloc[0]} is there twice; give each record set once, with its predictions")
    merged = test.merge(predicted[[*keys, *columns]], on=keys, how="left", indicator=True)
    lost = merged.loc[merged.pop("_merge") != "both", "record_id"]
    if len(lost) and all_of_them:
        raise ConfigError(
            f"{config.predictions or config.model} has no prediction for {len(lost)} of {len(test)} test "
            f"records, {lost.iloc[0]} among them; predict the same record sets again"
        )
    return merged
