"""Where several people have drawn the truth: the prediction beside their disagreement, after CURVAS."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError, ConfigError
from sqp.evaluation.evidence import Evidence, Page
from sqp.evaluation.paired import correlation_rows, mean_rows
from sqp.evaluation.pixels import read_pixels
from sqp.metrics.nan_reasons import join
from sqp.metrics.raters import rater_row
from sqp.metrics.stats import Resamples
from sqp.records import RecordSet
from sqp.report.evaluation_figures import raters_figure

IDS = ("image_id", "record_id")
LABELS = {
    "rater_dice": "Dice of the raters with each other",
    "disagreement": "their disagreement, 1 - that Dice",
    "dice_mean": "Dice of the mask with a rater, mean",
    "consensus_dice": "Dice where they agree",
    "dissensus_dice": "Dice where they do not",
    "dissensus_share": "share of the marked pixels without agreement",
    "ece": "ECE against the raters' mean",
    "consensus_confidence": "confidence where they agree",
    "area_crps": "CRPS of the area",
    "area_crps_share": "CRPS of the area / mean area of the raters",
    "error": "|predicted - mean true Dice| of the quality model",
    "inside": "the model's interval holds the mean Dice",
    "error_less_disagreement": "error - disagreement",
}
MEANS = {"quantity": "quantity", "n": "n", "mean": "mean", "sd": "SD", "median": "median", "note": "note"}
CORRELATIONS = {"quantity": "with the raters' disagreement", "n": "n", "pearson": "Pearson", "spearman": "Spearman"}
READING = (
    "Images whose truth was drawn more than once, natural masks, none of them in the training or calibration of the "
    "model. Consensus is where all raters say the same, dissensus the other pixels (with two raters 0.5 is good "
    "there). The CRPS is of the area (in pixels, of a volume in mm³; Σp of the map) under the normal law of the "
    "raters' areas; of two equal areas it is the absolute error. The quality model is asked for one Dice; what the "
    "raters do not agree on it cannot know, so its error stands beside their disagreement. In ISIC 2018 the two truths "
    "are two official releases of one mask, and these images were chosen because the releases differ: they are no "
    "ceiling for ISIC as a whole."
)
NONE = "No natural record of the test split or of the split '{split}' has more than one truth."


def raters_page(evidence: Evidence) -> Page:
    """Tables raters.csv, raters_correlations.csv and raters_images.csv; error beside disagreement."""
    page = Page("raters", "Raters", READING)
    rows = evidence.raters
    if rows.empty or "record_set" not in rows:
        page.show("Raters", NONE.format(split=evidence.config.raters_split), pd.DataFrame(), MEANS)
        return page
    images = by_image(rows)
    resamples = evidence.resamples(rows)
    table = mean_rows({name: images[name].to_numpy(float) for name in LABELS}, resamples)
    notes = [_note(images, name) for name in table["quantity"]]
    table = table.assign(note=notes, quantity=[LABELS[name] for name in table["quantity"]])
    most = rows["truth_path"].map(len).max()
    about = f"{len(images)} records, {rows['group'].nunique()} groups, at most {most} truths an image."
    page.show("Mask, map and prediction against the raters", about, table, MEANS, "raters")
    correlations = with_disagreement(images, resamples)
    title, headings = "What goes with the raters' disagreement", CORRELATIONS | {"note": "note"}
    page.show(title, "", correlations, headings, "raters_correlations")
    page.add("raters_images", images)
    page.figures[""] = "The model's error beside the raters' disagreement", raters_figure(images)
    return page


def by_image(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a record: ids, `rater_row`, the prediction, its error, and the raters' disagreement."""
    sets = {name: RecordSet(name) for name in rows["record_set"].unique()}
    table = []
    for row in rows.to_dict("records"):
        ids = {name: row[name] for name in IDS}
        try:
            pixels = read_pixels(sets[row["record_set"]], row)
        except (CaseError, ConfigError) as error:
            table.append(ids | {"note": str(error)})
            continue
        cell = float(np.prod(row["spacing"])) if pixels.mask.ndim == 3 else 1.0  # mm³ of a voxel
        mean_area = cell * float(pixels.truths.sum()) / len(pixels.truths)
        numbers = rater_row(pixels.mask, pixels.truths, pixels.probability, pixel_area=cell)
        share = float(numbers["area_crps"]) / mean_area if mean_area else np.nan
        note = join(pixels.note, str(numbers["note"]))
        table.append(ids | numbers | {"area_crps_share": share, "note": note})
    result = pd.DataFrame(table).reindex(columns=[*IDS, "n_raters", *LABELS, "dice_sd", "note"])
    for name in ("predicted_dice", "low", "high"):
        result[name] = rows[name].to_numpy(float)
    truth, bounds = result["dice_mean"].astype(float), result[["low", "high", "dice_mean"]].astype(float)
    result["disagreement"] = 1 - result["rater_dice"].astype(float)
    result["error"] = (result["predicted_dice"] - truth).abs()
    result["inside"] = ((truth >= result["low"]) & (truth <= result["high"])).where(bounds.notna().all(axis=1))
    result["error_less_disagreement"] = result["error"] - result["disagreement"]
    return result.assign(inside=result["inside"].astype(float), note=result["note"].fillna(""))


def _note(images: pd.DataFrame, name: str) -> str:
    """How many images lack a quantity, and the most frequent reason."""
    lost = images.loc[images[name].isna(), "note"].replace("", "undefined")
    return f"{len(lost)} of {len(images)}: {lost.mode().iloc[0]}" if len(lost) else ""


def with_disagreement(images: pd.DataFrame, resamples: Resamples) -> pd.DataFrame:
    """Correlation over images of error, prediction, mask Dice and ECE with the raters' disagreement."""
    names = {name: LABELS.get(name, "predicted Dice") for name in ("error", "predicted_dice", "dice_mean", "ece")}
    columns = {label: images[name].to_numpy(float) for name, label in names.items()}
    return correlation_rows(columns, images["disagreement"].to_numpy(float), resamples)
