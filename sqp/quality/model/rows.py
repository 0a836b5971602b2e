"""The records that `train` reads: the splits train, val and calibration of its record sets, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.data.split_files import check_no_leakage
from sqp.quality.judging.conformal import check_groups
from sqp.quality.model.channels import check_channels
from sqp.records import RecordSet, read_record_sets
from sqp.records.reader import check_dice

USED = ("train", "val", "calibration")
KINDS = ("all", "natural")
CALIBRATION = "calibration"
CALIBRATE_SPLITS = (CALIBRATION, "val")


def training_rows(
    folders: Sequence[str | Path],
    channels: Sequence[str],
    alpha: float,
    calibrate_on: str = "all",
    calibrate_splits: Sequence[str] = (CALIBRATION,),
) -> pd.DataFrame:
    """The rows with truth of the three splits, sorted by split, record set and id, indices 0..n-1.

    ConfigError where a record set lacks a channel, a group or image lies in two splits, a split is empty, or
    a split that calibrates is none that may, or has too few groups for alpha among the rows of `calibrate_on`. Rows of
    other splits are only looked at for leakage.
    """
    _check_calibrate_splits(calibrate_splits)
    table = read_record_sets(list(folders))
    for folder in folders:
        check_channels(RecordSet(folder), channels)
    check_no_leakage(table[["image_id", "group", "split"]])
    twice = table.loc[table.duplicated("record_id"), "record_id"]
    if len(twice):
        raise ConfigError(f"record {twice.iloc[0]} is in two of the record sets: give each record set once")
    found = sorted(set(table["split"].astype(str)))
    table = table[table["split"].isin(USED)]
    with_truth = table[~np.isnan(table["dice"].to_numpy(float))]
    check_dice(with_truth, ", ".join(map(str, folders)))
    for split, why in zip(USED, ("fit", "stop early and choose", "calibrate the interval"), strict=True):
        if not (table["split"] == split).any():
            raise ConfigError(
                f"no record is in split '{split}', which is needed to {why} (splits found: "
                f"{', '.join(name or '(none)' for name in found)}): generate records of it, with --splits"
            )
        if not (with_truth["split"] == split).any():
            raise ConfigError(f"no record of split '{split}' has a ground truth: generate it with --truth DIR")
    for split in calibrate_splits:
        held = with_truth[with_truth["split"] == split]
        check_groups(held.loc[calibrates(held, calibrate_on), "group"].nunique(), alpha, split)
    if (with_truth["split"] == "train").sum() < 2:
        raise ConfigError("the split 'train' has a single record; at least two are needed")
    return with_truth.sort_values(["split", "record_id"], ignore_index=True)


def _check_calibrate_splits(splits: Sequence[str]) -> None:
    if CALIBRATION not in splits or len(set(splits)) != len(splits) or not set(splits) <= set(CALIBRATE_SPLITS):
        raise ConfigError(
            f"calibrate_splits is [{', '.join(splits)}]: give [calibration], or [calibration, val] for an interval "
            "that is as wide as the harder of the two asks"
        )


def learned_from(rows: pd.DataFrame, train_on: str) -> pd.DataFrame:
    """The rows without those of the split train that the model does not learn from; indices are kept."""
    learned = (rows["split"] != "train") | calibrates(rows, train_on)
    if (learned & (rows["split"] == "train")).sum() < 2:
        raise ConfigError(f"fewer than two records of the split train are {train_on}: choose --train_on all")
    return rows[learned]


def calibrates(held: pd.DataFrame, calibrate_on: str) -> np.ndarray:
    """bool per row: is it of the kind that the interval rests on (or, of the split train, that is learned from).

    `natural`: the natural records whose prompter is the one that their record set's config names (given masks count),
    so masks as they will come: none of a further prompter, none of a jittered simulated manual box.
    """
    if calibrate_on == "all":
        return np.ones(len(held), bool)
    named = {folder: RecordSet(folder).config.get("prompter") for folder in held["record_set"].unique()}
    own = (held["prompter"] == held["record_set"].map(named)) | (held["segmenter"] == "given")
    return (held["natural"].astype(bool) & own).to_numpy(bool)
