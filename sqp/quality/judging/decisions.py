"""What a person decided about masks on the page of `sqp predict`: `decisions.json`, read, checked, joined with masks.

A decision is about a mask, and is known by the hash of its pixels: one of a mask that was made anew since is refused.
Accept means that the Dice is at least the `threshold` that the page named, fix and reject that it is below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.core.untrusted import read_json
from sqp.records import RecordSet
from sqp.records.frozen import mask_hash

SCHEMA = "sqp-decisions/1"
ACCEPT = "accept"
KINDS = (ACCEPT, "fix", "reject")
TEXTS = ("record_id", "mask_hash", "note", "time")


@dataclass(frozen=True)
class Decisions:
    """`table`: record_id, mask_hash, decision, note and time of each decided mask, in the order of the file."""

    path: Path
    threshold: float
    table: pd.DataFrame

    def of(self, predictions: pd.DataFrame, sets: Mapping[str, RecordSet]) -> pd.DataFrame:
        """The rows of the predictions that were decided, with `decision`, in the order of the decisions.

        Args:
            predictions: a predictions table with record_set and record_id.
            sets: its record sets by name.

        Returns:
            The rows.

        Raises:
            ConfigError: a decision is of a mask that is not there, or is another one today.
        """
        rows = predictions.drop_duplicates("record_id").set_index("record_id", drop=False)
        others = []
        for record, stamp in zip(self.table["record_id"], self.table["mask_hash"], strict=True):
            if record not in rows.index or _hash(sets[str(rows.at[record, "record_set"])], record) != stamp:
                others.append(record)
        if others:
            raise ConfigError(
                f"{self.path}: {len(others)} of {len(self.table)} decisions are of other masks than these predictions "
                f"(the first is {others[0]}): give the predictions whose page they were made on, or decide on the "
                "masks as they are today"
            )
        found = rows.loc[self.table["record_id"]].reset_index(drop=True)
        return found.assign(decision=self.table["decision"].to_numpy())


def _hash(records: RecordSet, record: str) -> str:
    """`mask_hash` of a record's mask; empty where it cannot be read."""
    try:
        return mask_hash(records.mask(record))
    except (OSError, ValueError, SyntaxError):
        return ""


def read_decisions(path: str | Path) -> Decisions:
    """The file that "save decisions" of the page wrote; masks with a note alone are left out.

    Args:
        path: decisions.json.

    Returns:
        The decisions.

    Raises:
        ConfigError: there is no such file, it is of an unknown schema, or holds what no page writes.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path} is no file of decisions: save one on the page of `sqp predict` (save decisions)")
    stored = read_json(path)
    schema = stored.get("schema") if isinstance(stored, dict) else None
    if schema != SCHEMA:
        raise ConfigError(
            f"{path} has the schema {schema!r} where {SCHEMA!r} is needed: save the decisions on a page of this sqp"
        )
    threshold, entries = stored.get("threshold"), stored.get("decisions")
    good = isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 < threshold <= 1
    if not good or not isinstance(entries, list):
        raise ConfigError(f"{path} has no threshold in (0, 1], or no list of decisions: save it on the page again")
    rows = [_row(path, number, entry) for number, entry in enumerate(entries, start=1)]
    table = pd.DataFrame(rows, columns=[*TEXTS, "decision"], dtype=object)
    table = table[table["decision"].notna()].reset_index(drop=True)
    twice = table.loc[table["record_id"].duplicated(), "record_id"]
    if len(twice):
        raise ConfigError(f"{path} decides twice on {twice.iloc[0]}: remove one of the two decisions")
    return Decisions(path, float(threshold), table)


def _row(path: Path, number: int, entry: Any) -> dict[str, Any]:
    """An entry of the file as a row. ConfigError where it is no decision."""
    texts = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in TEXTS)
    if not texts or entry.get("decision") not in (*KINDS, None):
        raise ConfigError(
            f"{path}, decision {number}: it needs the texts {', '.join(TEXTS)} and a decision out of "
            f"{', '.join(KINDS)}: save it on the page again"
        )
    return {name: entry[name] for name in (*TEXTS, "decision")}


def dice_bounds(decision: pd.Series, threshold: float, exact: pd.Series | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What a decision says of the Dice: the least and the most that it can be.

    Args:
        decision: accept, fix or reject `[n]`.
        threshold: least Dice of an accepted mask.
        exact: true Dice `[n]` where the mask was redrawn, NaN where not; it stands in place of the decision.

    Returns:
        Least and most `[n]`.

    Examples:
        >>> [bounds.tolist() for bounds in dice_bounds(pd.Series(["accept", "fix"]), 0.8)]
        [[0.8, 0.0], [1.0, 0.8]]
    """
    accepted = decision.eq(ACCEPT).to_numpy()
    least, most = np.where(accepted, threshold, 0.0), np.where(accepted, 1.0, threshold)
    if exact is None:
        return least, most
    known = exact.to_numpy(float)
    return np.where(np.isnan(known), least, known), np.where(np.isnan(known), most, known)
