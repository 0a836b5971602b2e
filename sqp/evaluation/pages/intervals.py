"""Do the intervals hold what they promise, for whom, at which level, and would calibrating each kind apart help."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.evaluation.pages.mondrian import Calibrated, labelled
from sqp.evaluation.pages.page import Evidence, Page, known, with_part
from sqp.evaluation.paired import mean_cells
from sqp.evaluation.subsets import ALL, Subset
from sqp.metrics.intervals import covered
from sqp.metrics.nan_reasons import join
from sqp.metrics.stats import Resamples
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
        page.add("intervals", table)
        page.show(part.title, "", table, GROUPS)
        if part.dataset == ALL and part.name != ALL:
            table = with_part(by_level(evidence, rows, pooled, apart), part)
            page.add("coverage_by_level", table)
            asked = "an unknown level" if np.isnan(evidence.alpha) else f"{1 - evidence.alpha:.2f}"
            page.show(f"{part.title}: coverage against the asked level", LEVEL.format(asked=asked), table, NOMINAL)
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
