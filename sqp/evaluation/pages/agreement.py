"""How well does a prediction agree with the truth: every statistic for every method, for each target."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.evaluation.comparison import DICE, TARGETS, compare
from sqp.evaluation.evidence import Evidence, Page, known
from sqp.evaluation.pixels import measured
from sqp.evaluation.subsets import ALL, Subset, with_part
from sqp.metrics.calibration import reliability_table
from sqp.metrics.weighted import MIN_RECORDS
from sqp.records.schema import image_keys
from sqp.report.evaluation_figures import bland_altman, forest

VALUES = {
    "method": "method",
    "n": "n",
    "sd": "SD(truth)",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "kendall": "Kendall",
    "within_spearman": "within-image Spearman",
    "r2": "R2",
    "mae": "MAE",
    "rmse": "RMSE",
    "bias": "bias",
    "limit_low": "lower limit",
    "limit_high": "upper limit",
    "ece": "ECE",
    "note": "note",
}
DIFFERENCES = {
    "method": "model - method",
    "n_paired": "n",
    **{f"{name}_difference": VALUES[name] for name in ("pearson", "spearman", "kendall", "within_spearman")},
    **{f"{name}_difference": VALUES[name] for name in ("r2", "mae", "rmse", "ece")},
    "p": "p, signed rank",
    "p_holm": "p, Holm",
}
BINS = {
    "predicted_low": "from",
    "predicted_high": "to",
    "n": "n",
    "confidence": "mean predicted",
    "target": "mean true",
    "gap": "predicted - true",
}
KEYS = ["record_set", "record_id"]
READING = (
    "Every method on the same rows, with 95 % intervals from one set of bootstrap resamples of whole groups. "
    "Correlations are of the score as it is; R2, MAE, RMSE, bias, the Bland-Altman limits (bias ± 1.96 SD of "
    "predicted - true) and the ECE (15 equal bins of the prediction) after a straight line to the target, fitted on "
    "calibration rows; the quality model speaks in Dice itself, so in IoU (Dice / (2 - Dice)), and needs a line only "
    "for a distance. The ECE of few rows is too high, and its interval lies too high with it. For a distance (HD95, "
    "MASD; lower is better) correlations are with its negative: above 0 is good everywhere. Differences are model - "
    "method on the rows that both have; p is Wilcoxon's signed-rank test of the absolute errors on the same rows, "
    "their mean differences by group, with Holm's correction. R2 and Pearson grow with SD(truth): compare them within "
    "a table only."
)
NOT_MEASURED = "Not in these rows, and to measure it the record sets with their truths are needed: give --records."


def agreement_page(evidence: Evidence) -> Page:
    """Tables agreement.csv and calibration.csv; a forest plot, and Bland and Altman's."""
    page, natural = Page("agreement", "Agreement", READING), None
    for target in evidence.config.target:
        parts = with_target(evidence, target)
        if not parts:
            page.show(TARGETS[target].label, NOT_MEASURED, pd.DataFrame(), VALUES)
        for part, about in parts:
            table = evidence.compared[part.title] if target == DICE else compared(evidence, part, target)
            table = with_part(table.rename(columns={"sd_dice": "sd"}), part)
            table.insert(2, "target", target)
            title = f"{TARGETS[target].label}: {part.title}"
            page.show(title, f"{about}{few_records(part)}", table, VALUES, "agreement")
            page.show(f"{title}, differences", "", table.iloc[1:], DIFFERENCES)
            if target == DICE and natural is None:
                natural = part.title, table
    panels = {part.title: known(part.test) for part in evidence.parts if part.dataset == ALL and part.name != ALL}
    for title, rows in panels.items():
        table = with_bins(rows, title)
        page.show(f"Predicted and true Dice by tenths: {title}", "", table, BINS, "calibration")
    if natural:
        page.figures[""] = f"Agreement with the true Dice, {natural[0]}", forest(natural[1])
    page.figures["bland_altman"] = "Bland and Altman: predicted less true Dice", bland_altman(panels)
    return page


def few_records(part: Subset) -> str:
    """A sentence where no image has records enough for a correlation within it; else empty."""
    rows = part.test[part.test["dice"].notna()]
    if len(rows) and np.unique(image_keys(rows), return_counts=True)[1].max() < MIN_RECORDS:
        return f" No image has {MIN_RECORDS} records here: no within-image Spearman."
    return ""


def compared(evidence: Evidence, part: Subset, target: str) -> pd.DataFrame:
    """The comparison of a part for a target other than Dice."""
    config = evidence.config
    return compare(part.test, part.calibration, evidence.scores, config.n_resamples, config.seed, target)


def with_target(evidence: Evidence, target: str) -> list[tuple[Subset, str]]:
    """The parts whose rows carry the target, and what to say of it; distances are measured, or read from the cache."""
    kind = TARGETS[target]
    if not kind.surface:
        return [(part, f"Lines fitted on {part.fit}.") for part in evidence.parts if kind.column in part.test]
    rows = pd.concat([rows for part in evidence.parts for rows in (part.test, part.calibration)])
    if "record_set" not in rows or "truth_path" not in rows:
        return []
    rows = rows[~rows.duplicated(KEYS)].reset_index(drop=True)
    numbers = rows[KEYS].join(measured(rows, evidence.config.out, probability=False)[[kind.column, "unit"]])
    units = ", ".join(sorted(numbers["unit"].dropna().unique())) or "no unit"
    parts = []
    for part in evidence.parts:
        test, calibration = (_joined(rows, numbers, kind.column) for rows in (part.test, part.calibration))
        empty = int(np.isnan(test[kind.column]).sum())
        about = f"In {units}. {empty} of {len(test)} rows have no distance (an empty mask). Lines fitted on {part.fit}."
        parts.append((Subset(part.name, part.dataset, test, calibration, part.fit), about))
    return parts


def _joined(rows: pd.DataFrame, numbers: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with the measured column."""
    return rows.drop(columns=column, errors="ignore").merge(numbers[[*KEYS, column]], on=KEYS, how="left")


def with_bins(rows: pd.DataFrame, title: str) -> pd.DataFrame:
    """The model's reliability by tenths of its prediction."""
    table = pd.DataFrame(reliability_table(rows["predicted_dice"], rows["dice"], bins=10)).drop(columns="weight")
    table = table.rename(columns={"low": "predicted_low", "high": "predicted_high"})
    return pd.DataFrame({"subset": title}, table.index).join(table)
