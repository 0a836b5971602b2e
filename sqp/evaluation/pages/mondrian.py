"""Conformal intervals anew from calibration records: at another level, or for each kind of record apart (Mondrian).

Group-conditional ("Mondrian") conformal prediction takes the quantile within a kind, so that coverage holds within each
kind, if its records are exchangeable. Vovk, Gammerman & Shafer 2005, section 4.5.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.metrics.nan_reasons import join
from sqp.quality.judging.conformal import Conformal

BY = ("area", "diagnosis", "segmenter", "prompter", "natural")
THIRDS = (1 / 3, 2 / 3)


class Calibrated:
    """Intervals from the calibration rows that the model's own rest on, by kind where `by` names a column."""

    def __init__(self, calibration: pd.DataFrame, by: str) -> None:
        needed = ["predicted_dice", "scale", "dice"]
        lacking = not set(needed) <= set(calibration.columns)
        good = calibration.head(0) if lacking else calibration[np.isfinite(calibration[needed]).all(axis=1)]
        self.rows = good[good["calibrates"].to_numpy(bool)] if len(good) else good
        self.by, self.thirds = by, calibration
        self.kinds = labelled(self.rows, by, calibration) if by else None

    def interval(self, rows: pd.DataFrame, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """low, high `[n]` of the rows at 1 - alpha; NaN without predictions, or without calibration rows enough."""
        low, high = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        pooled = self._fit(self.rows, alpha)
        if pooled is None or "scale" not in rows:
            return low, high
        names = labelled(rows, self.by, self.thirds) if self.by else None
        for name in [None] if names is None else names.unique():
            inside = np.ones(len(rows), bool) if names is None else (names == name).to_numpy(bool)
            own = None if self.kinds is None else self._fit(self.rows[(self.kinds == name).to_numpy(bool)], alpha)
            part = rows[inside]
            low[inside], high[inside] = (own or pooled).interval(part["predicted_dice"], part["scale"])
        return low, high

    def note(self, alpha: float) -> str:
        """What is missing, and which kinds have too few calibration groups for a quantile of their own."""
        if not len(self.rows):
            return "no calibration rows with predictions: nothing to calibrate on"
        if self._fit(self.rows, alpha) is None:
            return "too few calibration groups for this level"
        if not self.by:
            return ""
        if self.kinds is None:
            return f"these rows have no {self.by}: pooled"
        few = [str(name) for name, rows in self.rows.groupby(self.kinds.to_numpy()) if self._fit(rows, alpha) is None]
        return join(*(f"{name}: too few calibration groups, pooled" for name in few))

    def _fit(self, rows: pd.DataFrame, alpha: float) -> Conformal | None:
        try:
            if rows.empty:
                return None
            return Conformal.fit(rows["predicted_dice"], rows["scale"], rows["dice"], rows["group"].tolist(), alpha)
        except ConfigError:  # too few groups
            return None


def labelled(rows: pd.DataFrame, by: str, calibration: pd.DataFrame) -> pd.Series | None:
    """The kind of each row as text; areas by thirds of the calibration rows; None where a column is missing."""
    if by not in rows or (by == "area" and by not in calibration):
        return None
    if by != "area":
        return rows[by].astype(str).replace("", "(none)")
    known = calibration["area"].dropna()
    if known.empty:
        return None
    lower, upper = np.quantile(known, THIRDS)
    names = [f"1: below {lower:.3f}", f"2: {lower:.3f} to {upper:.3f}", f"3: above {upper:.3f}"]
    area = rows["area"].to_numpy(float)
    return pd.Series(np.select([area < lower, area <= upper], names[:2], names[2]), rows.index)
