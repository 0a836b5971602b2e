"""A frozen set of test masks: which records belong to it, and a hash of each mask, committed before any training.

Numbers on deliberately spread masks mean something only if the set cannot be chosen after the fact. `freeze` writes
the list; whoever evaluates on it compares the hashes of the masks that are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import write_text
from sqp.core.untrusted import read_json
from sqp.records.reader import RecordSet

BINS = 10
MOST_PER_BIN = 0.20
MOST = tuple(round(MOST_PER_BIN - 0.01 * step, 2) for step in range(10))
SD_RANGE = (0.25, 0.28)


def mask_hash(mask: np.ndarray) -> str:
    """16 hex digits of the sha256 of a bool mask's size and pixels.

    Args:
        mask: bool `[h, w]` or `[d, h, w]`.

    Returns:
        16 hex digits.

    Examples:
        >>> mask_hash(np.zeros((2, 3), bool)) == mask_hash(np.zeros((3, 2), bool))
        False
    """
    data = np.array(mask.shape, np.int64).tobytes() + np.packbits(mask).tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def keep_balanced(dice: np.ndarray, rng: np.random.Generator, most: float = MOST_PER_BIN) -> np.ndarray:
    """bool `[n]`: a random subset in which no bin of 0.1 in Dice holds more than the share `most`.

    Rows are only ever left out of the bins that are too full, and no more than needed.

    Args:
        dice: Dice `[n]` in [0, 1].
        rng: what draws.
        most: greatest share of a bin, in (0, 1].

    Returns:
        The rows to keep.

    Examples:
        >>> kept = keep_balanced(np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], [5, 5, 5, 5, 50]), np.random.default_rng(0))
        >>> int(kept.sum())
        25
    """
    bins = np.minimum((np.asarray(dice) * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    cap = int(counts.max(initial=0))
    while cap and cap > most * np.minimum(counts, cap).sum():
        cap -= 1
    kept = np.zeros(len(bins), bool)
    for value in range(BINS):
        rows = np.flatnonzero(bins == value)
        kept[rng.permutation(rows)[:cap]] = True
    return kept


def freeze(records: RecordSet, split: str, unseen: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """The frozen spread set of a split: corrupted records, the seen families balanced over the Dice bins.

    No bin holds over 20 % of them, or less where it takes that to reach the SD(Dice) of `SD_RANGE`. Records of the
    `unseen` families all belong to it, as a part of its own.

    Args:
        records: the record set.
        split: the split to freeze, usually test.
        unseen: families of corruptions that training does not see.
        seed: seed of the draw.

    Returns:
        What `write_frozen` writes.

    Raises:
        ConfigError: the seen part cannot have an SD(Dice) within `SD_RANGE`.
    """
    table = records.table
    table = table[(table["split"] == split) & (table["variant"] != "natural") & table["dice"].notna()]
    table = table.sort_values("record_id", ignore_index=True)
    is_unseen = table["variant"].isin(unseen)
    seen = table[~is_unseen]
    whole, most = seen, MOST_PER_BIN
    for most in MOST:  # the fullest set whose spread is wide enough
        seen = whole[keep_balanced(whole["dice"].to_numpy(), np.random.default_rng(seed), most)]
        sd = float(seen["dice"].std(ddof=0)) if len(seen) else float("nan")
        if sd >= SD_RANGE[0]:
            break
    if not SD_RANGE[0] <= sd <= SD_RANGE[1]:
        raise ConfigError(
            f"SD(Dice) of the spread masks in {records.folder} is {sd:.3f}, outside of {SD_RANGE}; "
            "generate more corrupted test masks, or other targets"
        )
    parts = {"spread": seen, "spread_unseen": table[is_unseen]}
    hashes = {name: mask_hash(records.mask(name)) for part in parts.values() for name in part["record_id"]}
    return {
        "split": split,
        "rule": "corrupted records; seen families thinned at random so that no Dice bin of 0.1 holds over "
        f"{100 * most:.0f} %",
        "seed": seed,
        "counts": {name: len(part) for name, part in parts.items()},
        "sd_dice": {name: round(float(part["dice"].std(ddof=0)), 4) for name, part in parts.items()},
        "families": {name: part["variant"].value_counts().sort_index().to_dict() for name, part in parts.items()},
        "sha256": _digest(hashes),
        "masks": dict(sorted(hashes.items())),
    }


def write_frozen(path: str | Path, frozen: Mapping[str, Any]) -> None:
    """As JSON.

    Args:
        path: the JSON file.
        frozen: what `freeze` made.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(Path(path), json.dumps(frozen, indent=0) + "\n")


def read_frozen(path: str | Path) -> dict[str, Any]:
    """A frozen set; ConfigError where the file is missing, or was edited after it was made.

    Args:
        path: the JSON file.

    Returns:
        The frozen set.

    Raises:
        ConfigError: the file is missing, or was edited after it was made.
    """
    try:
        frozen = read_json(Path(path))
        intact = frozen["sha256"] == _digest(frozen["masks"])
    except (OSError, ConfigError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no frozen set: make it with `sqp freeze`") from error
    if not intact:
        raise ConfigError(f"{path} was edited after it was frozen: its hash does not fit its masks")
    return frozen


def frozen_rows(frozen: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series:
    """bool per row: is it natural, or a member of the frozen set whose mask is the frozen one.

    Args:
        frozen: a frozen set.
        rows: rows with record_id, record_set, variant.

    Returns:
        bool for each row.

    Raises:
        ConfigError: a member is missing, or its mask is another one.
    """
    masks: dict[str, str] = frozen["masks"]
    member = rows["record_id"].isin(masks)
    missing = set(masks) - set(rows["record_id"])
    if missing:
        raise ConfigError(
            f"{len(missing)} of {len(masks)} frozen masks are not among the records, {min(missing)} among them; "
            "generate them with the config of the frozen set"
        )
    sets = {folder: RecordSet(folder) for folder in rows["record_set"].unique()}
    for row in rows[member].itertuples():
        try:
            same = mask_hash(sets[row.record_set].mask(row.record_id)) == masks[row.record_id]
        except CaseError:  # altered since it was written
            same = False
        if not same:
            raise ConfigError(f"the mask of {row.record_id} is not the frozen one; generate the record set again")
    return member | (rows["variant"] == "natural")


def _digest(hashes: Mapping[str, str]) -> str:
    text = "\n".join(f"{name} {value}" for name, value in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()
