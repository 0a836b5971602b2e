"""The records that `train` reads: the splits train, val and calibration of its record sets, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sqp.config.train import TrainConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.data.split_files import check_no_leakage, check_one_group
from sqp.quality.judging.conformal import check_groups
from sqp.quality.model.channels import check_channels
from sqp.records import RecordSet, read_record_sets
from sqp.records.reader import check_dice

USED = ("train", "val", "calibration")
TASKS = "tasks (data sets)"


def training_rows(config: TrainConfig, channels: Sequence[str]) -> pd.DataFrame:
    """The rows with truth of the three splits, sorted by split, record set and id, indices 0..n-1.

    ConfigError where a record set lacks a channel, a group or image lies in two splits, a split is empty, or a split
    that calibrates has too few groups for alpha among the rows of `calibrate_on`. Rows of other splits are only looked
    at for leakage.
    """
    folders = config.records
    table = read_record_sets(list(folders))
    for folder in folders:
        check_channels(RecordSet(folder), channels)
    check_no_leakage(table[["image_id", "group", "split"]])
    check_one_group(table)
    _check_once(table)
    splits = sorted(set(table["split"].astype(str)))
    table = table[table["split"].isin(USED)]
    with_truth = table[~np.isnan(table["dice"].to_numpy(float))]
    check_dice(with_truth, ", ".join(map(str, folders)))
    for split, why in zip(USED, ("fit", "stop early and choose", "calibrate the interval"), strict=True):
        if not (table["split"] == split).any():
            raise ConfigError(
                f"no record is in split '{split}', which is needed to {why} (splits found: "
                f"{', '.join(name or '(none)' for name in splits)}): generate records of it, with --splits"
            )
        if not (with_truth["split"] == split).any():
            raise ConfigError(f"no record of split '{split}' has a ground truth: generate it with --truth DIR")
    _check_enough(with_truth, config)
    return with_truth.sort_values(["split", "record_id", "record_set"], ignore_index=True)


def _check_once(table: pd.DataFrame) -> None:
    """ConfigError for a record that lies in two record sets, unless these were judged by other references."""
    beside = {folder: RecordSet(folder).config.get("references_sha256", "") for folder in table["record_set"].unique()}
    twice = table.loc[table.assign(beside=table["record_set"].map(beside)).duplicated(["record_id", "beside"])]
    if len(twice):
        name = twice["record_id"].iloc[0]
        raise ConfigError(f"record {name} is in two of the record sets: give each record set once")


def without(rows: pd.DataFrame, unreadable: Mapping[str, str], config: TrainConfig) -> pd.DataFrame:
    """The rows but for records that cannot be read (id -> why); indices are kept. ConfigError where too few are left.

    CaseError for the first of them where the config is strict.
    """
    if not unreadable:
        return rows
    first = next(iter(unreadable.values()))
    if config.strict:
        raise CaseError(first)
    left = rows[~rows["record_id"].isin(list(unreadable))]
    try:
        for split in USED:
            if not (left["split"] == split).any():
                raise ConfigError(f"no record of split '{split}' is left")
        _check_enough(left, config)
    except ConfigError as error:
        raise ConfigError(f"{len(unreadable)} records cannot be read ({first}), and without them {error}") from error
    return left


def _check_enough(rows: pd.DataFrame, config: TrainConfig) -> None:
    """ConfigError where a split that calibrates has too few groups, or tasks, for alpha, or train a single record."""
    for split in config.calibrate_splits:
        held = rows[rows["split"] == split]
        held = held[calibrates(held, config.calibrate_on)]
        check_groups(held["group"].nunique(), config.alpha, split)
        if config.calibrate_over == "tasks":
            check_groups(held["dataset"].nunique(), config.alpha, split, TASKS)
    if (rows["split"] == "train").sum() < 2:
        raise ConfigError("the split 'train' has a single record; at least two are needed")


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
