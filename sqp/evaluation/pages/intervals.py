"""Do the intervals hold what they promise, for whom, at which level, and would calibrating each kind apart help.

Group-conditional ("Mondrian") conformal prediction takes the quantile within a kind, so that coverage holds within each
kind, if its records are exchangeable. Vovk, Gammerman & Shafer 2005, section 4.5.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.evaluation.evidence import Evidence, Page, known
from sqp.evaluation.paired import mean_cells
from sqp.evaluation.subsets import ALL, Subset, with_part
from sqp.metrics.intervals import covered
from sqp.metrics.nan_reasons import join
from sqp.metrics.stats import Resamples
from sqp.quality.judging.conformal import Conformal
from sqp.report.evaluation_figures import coverage_figure

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
GROUPED = ("area", "diagnosis", "segmenter", "prompter")
CELLS = {"coverage": "coverage", "width": "width"}
APART = {
    "coverage_apart": "coverage, Mondrian",
    "width_apart": "width, Mondrian",
    "coverage_change": "coverage: Mondrian - model",
}
GROUPS = {"by": "by", "value": "value", "n": "n", "n_groups": "groups"} | CELLS | APART | {"note": "note"}
NOMINAL = {"level": "asked", "n": "n"} | CELLS | APART | {"note": "note"}
THIRDS = (1 / 3, 2 / 3)
READING = (
    "Coverage is the share of the records whose interval holds the true Dice, width the mean of high - low; 95 % "
    "intervals by bootstrap of whole groups. An interval covers as asked only where test and calibration are alike, "
    "and on average, not for each kind of image. Mondrian: the quantile is taken from the calibration records of the "
    "same kind ({by}) alone, at the model's own level; a kind with too few groups keeps the pooled quantile. Areas "
    "are thirds of the calibration records' mask areas."
)
Interval = tuple[np.ndarray, np.ndarray]
LEVEL = "The same residuals of the calibration records at other levels; the model itself was asked for {asked}."


def intervals_page(evidence: Evidence) -> Page:
    """Tables intervals.csv and coverage_by_level.csv; coverage against level."""
    by = evidence.config.mondrian
    page = Page("intervals", "Intervals", READING.format(by=by or "not asked for"))
    pooled, apart = Calibrated(evidence.calibration, ""), Calibrated(evidence.calibration, by) if by else None
    curves = {}
    for part in evidence.parts:
        rows = known(part.test)
        table = with_part(by_kind(evidence, part, rows, apart), part)
        page.show(part.title, "", table, GROUPS, "intervals")
        if part.dataset == ALL and part.name != ALL:
            table = with_part(by_level(evidence, rows, pooled, apart), part)
            asked = "an unknown level" if np.isnan(evidence.alpha) else f"{1 - evidence.alpha:.2f}"
            title, about = f"{part.title}: coverage against the asked level", LEVEL.format(asked=asked)
            page.show(title, about, table, NOMINAL, "coverage_by_level")
            curves[part.title] = table
    page.figures[""] = "Coverage against the level that was asked for", coverage_figure(curves, by)
    return page


def by_kind(evidence: Evidence, part: Subset, rows: pd.DataFrame, apart: Calibrated | None) -> pd.DataFrame:
    """A row for all, and of natural and all rows one for each kind by area, diagnosis, segmenter, prompter."""
    kinds = [("all", "", np.ones(len(rows), bool))]
    for by in GROUPED if part.name in ("natural", ALL) else ():
        names = labelled(rows, by, evidence.calibration)
        if names is not None:
            kinds += [(by, value, (names == value).to_numpy(bool)) for value in sorted(names.unique())]
    interval = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
    alpha = 0.1 if np.isnan(evidence.alpha) else evidence.alpha
    other = None if apart is None else apart.interval(rows, alpha)
    note = "" if apart is None else apart.note(alpha)
    table, resamples = [], evidence.resamples(rows)
    for by, value, inside in kinds:
        cells = _cells(rows, resamples, interval, other, inside)
        names = {"by": by, "value": value, "n": int(inside.sum()), "n_groups": int(rows["group"][inside].nunique())}
        table.append(names | cells | {"note": join(_lacking(interval, inside), note if by == "all" else "")})
    return pd.DataFrame(table)


def _lacking(interval: Interval, inside: np.ndarray) -> str:
    """Why coverage is NaN, or of how few rows it is."""
    n, known_ends = int(inside.sum()), int((np.isfinite(interval).all(axis=0) & inside).sum())
    if not n or known_ends < n:
        return f"{n - known_ends} of {n} rows have no interval" if n else "no rows"
    return "one row" if n == 1 else ""


def by_level(evidence: Evidence, rows: pd.DataFrame, pooled: Calibrated, apart: Calibrated | None) -> pd.DataFrame:
    """A row a level: coverage and width of intervals at that level."""
    everything, resamples = np.ones(len(rows), bool), evidence.resamples(rows)
    table = []
    for level in LEVELS:
        interval = pooled.interval(rows, 1 - level)
        other = None if apart is None else apart.interval(rows, 1 - level)
        cells = _cells(rows, resamples, interval, other, everything)
        table.append({"level": level, "n": len(rows)} | cells | {"note": pooled.note(1 - level)})
    return pd.DataFrame(table)


def _cells(
    rows: pd.DataFrame, resamples: Resamples, interval: Interval, other: Interval | None, inside: np.ndarray
) -> dict[str, float]:
    """Coverage and width of one interval, of the other one, and the change of coverage, over the rows `inside`."""
    dice = rows["dice"].to_numpy(float)

    def both(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.where(inside, values, np.nan) for values in (covered(low, high, dice), high - low))  # type: ignore[return-value]

    coverage, width = both(*interval)
    cells = mean_cells("coverage", coverage, resamples) | mean_cells("width", width, resamples)
    if other is not None:
        coverage_apart, width_apart = both(*other)
        cells |= mean_cells("coverage_apart", coverage_apart, resamples)
        cells |= mean_cells("width_apart", width_apart, resamples)
        cells |= mean_cells("coverage_change", coverage_apart - coverage, resamples)
    return cells


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
        return rows[by].fillna("").astype(str).replace("", "(none)")
    known = calibration["area"].dropna()
    if known.empty:
        return None
    lower, upper = np.quantile(known, THIRDS)
    names = [f"1: below {lower:.3f}", f"2: {lower:.3f} to {upper:.3f}", f"3: above {upper:.3f}"]
    area = rows["area"].to_numpy(float)
    return pd.Series(np.select([area < lower, area <= upper, area > upper], names, "(none)"), rows.index)
