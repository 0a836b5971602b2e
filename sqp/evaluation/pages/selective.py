"""Selective use: what is left when the worst-scored masks are turned away, and what finding the failures costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.evaluation.comparison import MEDIAN, with_aggregates
from sqp.evaluation.evidence import Evidence, Page, known
from sqp.evaluation.paired import MODEL, Paired
from sqp.evaluation.subsets import ALL, Subset, with_part
from sqp.metrics import weighted_selective as forms
from sqp.metrics.selective import risk_coverage, selective_row
from sqp.metrics.stats import fit_line
from sqp.report.evaluation_figures import Curve, risk_curves

FAILED_BELOW, COVERAGE = (0.7, 0.8), 0.8
FIGURED = (MODEL, "c_lesion", "pairwise_dice", "soft_dice_confidence", "predicted_iou", "nonneg_regression")
_RISK = {"aurc": "AURC", "excess_aurc": "excess AURC", "augrc": "AUGRC", "risk_at_80": "risk at 80 %"}
_FOUND = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "fpr_at_tpr": "FPR at 95 % TPR",
    "review_share": "reviewed for 95 %",
}


_METHOD, _NOTE = {"method": "method", "n": "n"}, {"note": "note"}
READING = (
    "Risk is 1 - Dice; masks are turned away from the lowest score up. Areas are means over the coverages 1/n … 1; "
    "tied scores are one tie, each of its rows with the tie's mean risk (the expectation over all orders), so a "
    "constant has the mean risk as AURC and half of it as AUGRC. Excess AURC is AURC less that of the true order. "
    "`risk at 80 %` is the mean risk of the best-scored 80 %. Failures are masks with a Dice below 0.7, or 0.8; AUROC "
    "and AUPRC are of finding them by a low score; FPR at 95 % TPR is the share of good masks that are flagged when "
    "95 % of the failures are; `reviewed for 95 %` the share of all masks to look at, worst first, until 95 % of the "
    "failures are found (a tie is looked at whole). Of the area, which has no sign, the direction is that of its line "
    "on calibration rows. Differences are model - method on the same rows and resamples: risks, FPR and reviews below "
    "0, AUROC and AUPRC above 0 are in the model's favour. 95 % intervals, bootstrap by group."
)


def selective_page(evidence: Evidence) -> Page:
    """Table selective.csv; the risk-coverage figure."""
    page, panels = Page("selective", "Selective use", READING), {}
    for part in evidence.parts:
        table, curves = of_part(evidence, part)
        table = with_part(table, part)
        if part.dataset == ALL and part.name in ("natural", ALL):
            panels[part.title] = curves
        page.show(f"{part.title}: risk", "", table, _METHOD | _RISK | _NOTE, "selective")
        for bound in FAILED_BELOW:
            end = f"_{round(100 * bound)}"
            about = f"{table[f'n_failed{end}'].iloc[0]} of {table['n'].iloc[0]} masks of the model have failed."
            headings = {name + end: heading for name, heading in _FOUND.items()}
            page.show(f"{part.title}: finding Dice < {bound}", about, table, _METHOD | headings | _NOTE)
        names = _RISK | {f"{name}_80": heading for name, heading in _FOUND.items()}
        differences = {f"{name}_difference": heading for name, heading in names.items()}
        title = f"{part.title}: model - method (failures: Dice < 0.8)"
        page.show(title, "", table.iloc[1:], {"method": "method", "n_paired": "n"} | differences)
    page.figures[""] = "Risk against coverage", risk_curves(panels)
    return page


def of_part(evidence: Evidence, part: Subset) -> tuple[pd.DataFrame, dict[str, Curve]]:
    """A row a method, and the curves of the figure."""
    rows, calibration, scores = with_aggregates(known(part.test), part.calibration, evidence.scores)
    dice = rows["dice"].to_numpy(float)
    methods = {name: (values,) for name, values in ordered_scores(rows, calibration, scores).items()}
    paired = Paired(_statistics, (dice,), evidence.resamples(rows))
    table = []
    for name, (score,) in methods.items():
        plain = selective_row(score, dice, FAILED_BELOW)
        counts = {key: plain[key] for key in plain if key.startswith("n_failed")}
        table.append({"method": name} | paired.row(name, methods) | counts | {"note": plain["note"]})
    whole = [name for name in FIGURED if name in methods and np.isfinite(methods[name][0]).all()]
    curves = {name: risk_coverage(methods[name][0], 1 - dice) for name in whole}  # the same rows for every curve
    curves |= {"true order": risk_coverage(dice, 1 - dice), "no order": risk_coverage(0 * dice, 1 - dice)}
    return pd.DataFrame(table), curves


def ordered_scores(
    rows: pd.DataFrame, calibration: pd.DataFrame, scores: list[str], constant: bool = True
) -> dict[str, np.ndarray]:
    """Each method's score `[n]`, higher = better: the model, a constant, every score, `area` turned by its line."""
    methods = {MODEL: rows["predicted_dice"].to_numpy(float)} | ({MEDIAN: np.zeros(len(rows))} if constant else {})
    for name in scores:
        values = rows[name].to_numpy(float)
        if name == "area" and name in calibration:
            values = values * (np.sign(fit_line(calibration[name], calibration["dice"])[0]) or 1)
        methods[name] = values
    return methods


def _statistics(weights: np.ndarray, score: np.ndarray, dice: np.ndarray) -> dict[str, np.ndarray]:
    """Every statistic `[b]` under each weighting of the rows `[b, n]`."""
    result = forms.risk_statistics(weights, score, 1 - dice, COVERAGE)
    result["risk_at_80"] = result.pop("risk_at_coverage")
    for bound in FAILED_BELOW:
        detection = forms.failure_statistics(weights, score, (dice < bound).astype(float))
        result |= {f"{name}_{round(100 * bound)}": values for name, values in detection.items()}
    return result
