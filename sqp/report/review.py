"""What the prediction page needs to keep a review and to move the thresholds: data of the whole run, as JSON."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sqp.quality.judging.decisions import SCHEMA

DIGITS = 4  # of the numbers of a case, by which the page counts, too
STEPS = 100  # a threshold moves by 0.01


@dataclass(frozen=True)
class Review:
    """accept, reject: thresholds of the run, accept infinite where nothing can be accepted; threshold: the least
    Dice of a mask that a person accepts."""

    accept: float
    reject: float
    threshold: float

    def data(self, table: pd.DataFrame) -> dict[str, Any]:
        """What the script reads. `pairs`: [low, high, masks] of those that have a verdict, in hundredths, rounded down,
        so that masks the page shows no case of are counted, too.

        Args:
            table: predictions with record_id, low, high and verdict.
        """
        ids = "\n".join(sorted(table["record_id"].astype(str)))
        judged = table[table["verdict"].ne("abstain") & table["low"].notna() & table["high"].notna()]
        ends = np.column_stack([hundredths(judged[name]) for name in ("low", "high")])
        pairs, counts = np.unique(ends.reshape(-1, 2), axis=0, return_counts=True)
        return {
            "schema": SCHEMA,
            "run": hashlib.sha256(ids.encode()).hexdigest()[:16],
            "accept": self.accept if math.isfinite(self.accept) else None,
            "reject": self.reject,
            "threshold": self.threshold,
            "total": len(table),
            "counts": {str(name): int(count) for name, count in table["verdict"].value_counts().items()},
            "pairs": [[*map(int, pair), int(count)] for pair, count in zip(pairs, counts, strict=True)],
        }


def hundredths(values: pd.Series) -> np.ndarray:
    """Ends of intervals in hundredths, rounded down, as the page's script does.

    Examples:
        >>> hundredths(pd.Series([0.29, 0.579999, 0.5799])).tolist()
        [29, 58, 57]
    """
    return np.floor(values.to_numpy(float).round(DIGITS) * STEPS + 1e-9).astype(int)


def review_json(review: Review | None, table: pd.DataFrame) -> str:
    """For a script element of JSON; null where the page keeps no review."""
    data = None if review is None else review.data(table)
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
