"""Tiers of a score, as a clinic would use them: how many masks land in each, how good they are; quality flag."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.config.evaluate import EvaluateConfig
from sqp.evaluation.comparison import with_aggregates
from sqp.evaluation.evidence import Evidence, Page, known
from sqp.evaluation.pages.selective import ordered_scores
from sqp.evaluation.paired import MODEL, Paired, mean_cells
from sqp.evaluation.subsets import ALL, Subset, with_part
from sqp.metrics import weighted
from sqp.metrics.selective import threshold_at_risk
from sqp.metrics.tiers import TIERS, tiers
from sqp.quality.judging.verdict import VERDICTS
from sqp.report.evaluation_figures import tier_boxes

TIER = {
    "method": "method",
    "tier": "tier",
    "threshold": "from",
    "n": "n",
    "share": "share",
    "dice": "Dice",
    "dice_sd": "SD",
    "iou": "IoU",
    "iou_sd": "SD ",
    "dice_difference": "Dice: model - method",
    "note": "note",
}
PAIR = {
    "method": "method",
    "a": "tier",
    "b": "against",
    "n_groups": "groups",
    "p": "p, rank sum",
    "p_holm": "p, Holm",
    "cohens_d": "Cohen's d",
}
FLAG = {
    "flag": "flag",
    "n": "n",
    "share": "share",
    "dice": "Dice",
    "failed_70": "Dice < 0.7",
    "failed_80": "Dice < 0.8",
    "note": "note",
}
READING = (
    "Masks by the score: high, moderate, low; share of all, mean Dice and IoU with 95 % intervals by bootstrap of "
    "whole groups, and the difference of the tier's mean Dice, model - method (tiers of two methods hold different "
    "masks). Rank sum: two-sided, of the Dice of two tiers, a group counting once whatever its number of masks (Datta "
    "and Satten's test for clustered data; Wilcoxon's where no group has two), with Holm's correction over the three "
    "pairs; Cohen's d, of the masks, with the pooled SD. Tables say what is in a tier; that the tiers differ is no "
    "proof that a score is worth its price."
)
FLAGS = (
    "The quality flag is the verdict: accept where the interval's low end reaches {accept:g}, reject where its high "
    "end stays below {reject:g}, abstain for an empty mask or one out of distribution, else review."
)


def tiers_page(evidence: Evidence) -> Page:
    """Tables tiers.csv, tier_pairs.csv and quality_flag.csv; Dice by tier."""
    page, boxes = Page("tiers", "Tiers and the quality flag", READING), {}
    for part in evidence.parts:
        if part.name not in ("natural", ALL) or "iou" not in part.test:
            continue
        table, pairs, dice = of_part(evidence, part)
        about, headings = f"Thresholds: {stated(evidence.config)}.", PAIR | {"note": "note"}
        page.show(part.title, about, with_part(table, part), TIER, "tiers")
        page.show(f"{part.title}: tier against tier", "", with_part(pairs, part), headings, "tier_pairs")
        about = FLAGS.format(accept=evidence.config.accept, reject=evidence.config.reject)
        flags = with_part(quality_flag(evidence, part), part)
        page.show(f"{part.title}: the quality flag", about, flags, FLAG, "quality_flag")
        if part.name == "natural" and part.dataset == ALL:
            boxes = dice
    if boxes:
        page.figures[""] = "Dice by tier, natural masks", tier_boxes(boxes)
    return page


def stated(config: EvaluateConfig) -> str:
    """The thresholds in words."""
    if not config.tier_risk:
        return "{:g} and {:g} for every method".format(*config.tiers)
    moderate, high = config.tier_risk
    return f"a mean 1 - Dice of at most {high:g} in the tier high, {moderate:g} from moderate up, on calibration rows"


def of_part(evidence: Evidence, part: Subset) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, list[np.ndarray]]]:
    """A row a method and tier, a row a method and pair of tiers; of the model and C_lesion the Dice of each tier."""
    rows, calibration, names = with_aggregates(known(part.test), part.calibration, evidence.scores)
    dice, iou = (rows[name].to_numpy(float) for name in ("dice", "iou"))
    scores = ordered_scores(rows, calibration, [name for name in names if name != "area"], constant=False)
    limits = {name: thresholds(evidence.config, calibration, name) for name in scores}
    codes = {name: (coded(score, *limits[name]),) for name, score in scores.items()}
    paired = Paired(_statistics, (dice, iou), evidence.resamples(rows))
    table: list[dict[str, object]] = []
    pairs, boxes = [], {}
    for name, score in scores.items():
        low, high = limits[name]
        if not low < high:
            table.append({"method": name, "note": "no two thresholds keep the risk on calibration rows: no tiers"})
            continue
        own, against = tiers(score, dice, iou, low, high, paired.resamples.codes)
        row = paired.row(name, codes)
        for tier, start in zip(own, (high, low, np.nan), strict=True):
            cells: dict[str, object] = {"method": name, "tier": tier.name, "threshold": start, "n": tier.n}
            for key in ("share", "dice", "iou", "dice_difference"):
                stem = f"{key.removesuffix('_difference')}_{tier.name}"
                stem += "_difference" if key.endswith("_difference") else ""
                cells |= {key + end: row.get(stem + end, np.nan) for end in ("", "_low", "_high")}
            table.append(cells | {"dice_sd": tier.dice_sd, "iou_sd": tier.iou_sd, "note": tier.note})
        pairs += [{"method": name, **vars(pair)} for pair in against]
        if name in (MODEL, "c_lesion"):
            boxes[name] = [dice[codes[name][0] == i] for i in range(len(TIERS))]
    return pd.DataFrame(table), pd.DataFrame(pairs), boxes


def thresholds(config: EvaluateConfig, calibration: pd.DataFrame, name: str) -> tuple[float, float]:
    """The lowest score of moderate and of high; NaN where no threshold keeps the risk."""
    if not config.tier_risk:
        low, high = config.tiers
        return low, high
    score = calibration["predicted_dice" if name == MODEL else name].to_numpy(float)
    low, high = (threshold_at_risk(score, 1 - calibration["dice"].to_numpy(float), limit) for limit in config.tier_risk)
    return low, high


def coded(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 high, 1 moderate, 2 low, as floats; NaN where the score is."""
    code = np.select([score >= high, score >= low], [0.0, 1.0], 2.0)
    return np.where(np.isfinite(score) & (low < high), code, np.nan)


def _statistics(weights: np.ndarray, code: np.ndarray, dice: np.ndarray, iou: np.ndarray) -> dict[str, np.ndarray]:
    """Share, mean Dice and mean IoU of each tier."""
    result, total = {}, weights.sum(axis=1)
    for i, name in enumerate(TIERS):
        inside = weights * (code == i)
        result[f"share_{name}"] = weighted.divide(inside.sum(axis=1), total)
        result |= {f"dice_{name}": weighted.mean(inside, dice), f"iou_{name}": weighted.mean(inside, iou)}
    return result


def quality_flag(evidence: Evidence, part: Subset) -> pd.DataFrame:
    """A row a verdict: n, share, mean Dice, and the shares of its masks below 0.7 and 0.8, with intervals."""
    rows = known(part.test)
    dice, verdict = rows["dice"].to_numpy(float), rows["verdict"].to_numpy(str)
    resamples = evidence.resamples(rows)
    table = []
    for flag in VERDICTS:
        inside = verdict == flag
        columns = {
            "share": inside.astype(float),
            "dice": np.where(inside, dice, np.nan),
            "failed_70": np.where(inside, dice < 0.7, np.nan),
            "failed_80": np.where(inside, dice < 0.8, np.nan),
        }
        row: dict[str, object] = {"flag": flag, "n": int(inside.sum())}
        for key, values in columns.items():
            row |= mean_cells(key, values, resamples)
        table.append(row | {"note": "" if inside.any() else "no masks with this flag"})
    return pd.DataFrame(table)
