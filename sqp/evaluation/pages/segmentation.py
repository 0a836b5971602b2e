"""The segmentation itself, natural masks: overlap, distances, pixel calibration, and what a temperature changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError, ConfigError
from sqp.core.progress import followed
from sqp.evaluation.evidence import Evidence, Page, known
from sqp.evaluation.paired import correlation_rows, mean_cells, mean_rows
from sqp.evaluation.pixels import WORST_SLICE, measured, read_pixels
from sqp.evaluation.subsets import ALL, Subset, with_part
from sqp.metrics.nan_reasons import join
from sqp.metrics.overlap import threshold_iou
from sqp.metrics.pooled import PixelCalibration
from sqp.metrics.stats import Resamples
from sqp.metrics.temperature import Temperature, TemperatureFit, rescale
from sqp.records import RecordSet
from sqp.records.schema import NATURAL, kinds
from sqp.report.evaluation_figures import pixel_calibration

LABELS = {
    "dice": "Dice",
    "worst_slice": "Dice of the worst slice",
    "iou": "IoU",
    "threshold_iou": "ISIC 2018 score (IoU, 0 below 0.65)",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "hausdorff": "Hausdorff",
    "hd95": "HD95",
    "masd": "MASD",
    "ece": "ECE of the pixels",
    "brier": "Brier",
    "nll": "NLL (nats)",
}
MEANS = {
    "quantity": "quantity",
    "unit": "unit",
    "n": "n",
    "mean": "mean",
    "sd": "SD",
    "median": "median",
    "note": "note",
}
CORRELATION = {"quantity": "of a record", "n": "n", "pearson": "Pearson", "spearman": "Spearman", "note": "note"}
SCALED = {
    "segmenter": "segmenter",
    "quantity": "quantity",
    "n": "n",
    "before": "before",
    "after": "after",
    "change": "after - before",
    "pooled_before": "pooled before",
    "pooled_after": "pooled after",
    "temperature": "T",
    "note": "note",
}
QUANTITIES = {"ece": "ECE", "brier": "Brier", "nll": "NLL (nats)"}
READING = (
    "Natural masks of the test split at the image's own size; one value a mask, their mean with a 95 % interval "
    "from bootstrap resamples of whole groups. Distances are MONAI's (outline to outline; MASD the mean of the two "
    "directed means), NaN where a mask is empty. ECE (15 bins), Brier and NLL are of self/probability, bilinearly "
    "from the grid, each pixel against the truth; the map is stored in float16, so it is kept 0.00024 from 0 and 1."
)
SCALING = (
    "One temperature T by which the logits of self/probability are divided, fitted on the natural calibration records "
    "(NLL, every record the same weight); T > 1: the segmenter was too sure. Before, after and change are means over "
    "the test records, pooled ones over all of their pixels. Masks and Dice do not change. p is the mean over the "
    "sampler's prompts, so this is the temperature of that mean."
)
TELLS = (
    "Correlation over records: below 0, those whose pixels are badly calibrated have the worse mask. It takes the "
    "truth to compute these, so they are no score."
)
READ_SETS = "Masks and maps are needed: give the record sets with --records."


def segmentation_page(evidence: Evidence) -> Page:
    """Tables segmentation.csv, temperature.csv and pixel_calibration_dice.csv, and a reliability diagram."""
    page = Page("segmentation", "The segmentation itself", READING)
    for part in evidence.natural():
        rows = known(part.test)
        if not {"record_set", "truth_path"} <= set(rows.columns):
            page.show(part.title, READ_SETS, pd.DataFrame(), MEANS)
            continue
        numbers = measured(rows, evidence.config.out, surface=evidence.config.surface)
        resamples = evidence.resamples(rows)
        table = with_part(means(numbers, resamples, evidence.config.surface), part)
        about = f"{len(rows):,} records, {rows['group'].nunique():,} groups."
        page.show(part.title, about, table, MEANS, "segmentation")
        table = with_part(against_dice(numbers, resamples), part)
        title = f"{part.title}: pixel calibration against Dice"
        page.show(title, TELLS, table, CORRELATION, "pixel_calibration_dice")
        if part.dataset == ALL:
            fits = scaled(rows, natural_calibration(part), resamples)
            table = with_part(temperature_table(fits), part)
            page.show(f"{part.title}: temperature of the segmenter", SCALING, table, SCALED, "temperature")
            page.figures[""] = "Calibration of the segmenter's pixels", pixel_calibration(fits, numbers)
    return page


def natural_calibration(part: Subset) -> pd.DataFrame:
    """The natural calibration records of the part, those with a truth."""
    return known(part.calibration[kinds(part.calibration) == NATURAL])


def means(numbers: pd.DataFrame, resamples: Resamples, surface: bool) -> pd.DataFrame:
    """A row a quantity: unit, n, mean with interval, SD, median, and why values are missing."""
    numbers = numbers.assign(threshold_iou=threshold_iou(numbers["iou"]))
    left_out = [] if surface else ["hausdorff", "hd95", "masd"]
    left_out += [] if numbers[WORST_SLICE].notna().any() else [WORST_SLICE]  # images have no slices
    names = [name for name in LABELS if name not in left_out]
    table = mean_rows({name: numbers[name].to_numpy(float) for name in names}, resamples)
    unit = join(*sorted(numbers["unit"].dropna().unique()))
    distance = table["quantity"].isin(["hausdorff", "hd95", "masd"])
    reasons = [_reasons(numbers[name], numbers["note"]) for name in names]
    return table.assign(
        unit=np.where(distance, unit, ""), note=reasons, quantity=[LABELS[name] for name in table["quantity"]]
    )


def _reasons(values: pd.Series, notes: pd.Series) -> str:
    """`3 x empty prediction: no surface distance`, each reason with its count; that one image has no SD."""
    single = "one image: no SD" if values.notna().sum() == 1 else ""
    counts = (
        notes[values.isna()].replace("", "undefined").str.split(": cannot|: [/.]", regex=True).str[0].value_counts()
    )
    return join(single, *(f"{count} x {reason}" for reason, count in counts.items()))


def against_dice(numbers: pd.DataFrame, resamples: Resamples) -> pd.DataFrame:
    """Correlation over images of ECE, Brier and NLL with the Dice."""
    columns = {LABELS[name]: numbers[name].to_numpy(float) for name in ("ece", "brier", "nll")}
    return correlation_rows(columns, numbers["dice"].to_numpy(float), resamples)


@dataclass
class Scaled:
    """One segmenter: its temperature, all test pixels before and after, and each test row's numbers `[n]` of both."""

    segmenter: str
    fit: Temperature
    resamples: Resamples
    before: PixelCalibration = field(default_factory=PixelCalibration)
    after: PixelCalibration = field(default_factory=PixelCalibration)
    each: dict[str, np.ndarray] = field(default_factory=dict)


def scaled(test: pd.DataFrame, calibration: pd.DataFrame, resamples: Resamples) -> list[Scaled]:
    """For each segmenter of the test rows its temperature and what it changes; `resamples` are of the test rows."""
    names = sorted(test["segmenter"].unique()) if "segmenter" in test else []
    return [_scaled(name, test, calibration[calibration["segmenter"] == name], resamples) for name in names]


def _scaled(segmenter: str, test: pd.DataFrame, calibration: pd.DataFrame, resamples: Resamples) -> Scaled:
    fit = TemperatureFit()
    for _, p, truths in _maps(calibration, "temperature"):
        fit.update_probability(p, truths, weight=1 / p.size)
    result = Scaled(segmenter, fit.fit(), resamples)
    keys = [f"{name}_{when}" for name in QUANTITIES for when in ("before", "after")]
    result.each = {key: np.full(len(test), np.nan) for key in keys}
    temperature = result.fit.value
    for row, p, truths in _maps(test[test["segmenter"] == segmenter], "pixel calibration"):
        changed = rescale(p, temperature) if np.isfinite(temperature) else None
        for when, pool, values in (("before", result.before, p), ("after", result.after, changed)):
            if values is not None:
                own = PixelCalibration()
                own.update(values, truths)
                pool.add(own)
                for name in QUANTITIES:
                    result.each[f"{name}_{when}"][row] = getattr(own, name)
    return result


def _maps(rows: pd.DataFrame, word: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(index, map once a truth, truths `[raters, h, w]`) of each record whose map can be read and holds no NaN."""
    opened = cache(RecordSet)
    for index, row in followed(rows.iterrows(), len(rows), word, "record"):
        try:
            pixels = read_pixels(opened(str(row["record_set"])), row)
        except (CaseError, ConfigError):
            continue  # the table of the segmentation itself says which
        if pixels.probability is not None and np.isfinite(pixels.probability).all():
            yield int(str(index)), np.broadcast_to(pixels.probability, pixels.truths.shape), pixels.truths


def temperature_table(fits: list[Scaled]) -> pd.DataFrame:
    """A row a segmenter and quantity: mean over images before and after, their change, and over all pixels."""
    rows = []
    for fitted in fits:
        for name, label in QUANTITIES.items():
            before, after = fitted.each[f"{name}_before"], fitted.each[f"{name}_after"]
            n = int(np.isfinite(before).sum())
            row: dict[str, object] = {"segmenter": fitted.segmenter, "quantity": label, "n": n}
            for key, values in {"before": before, "after": after, "change": after - before}.items():
                row |= mean_cells(key, values, fitted.resamples)
            row |= {"pooled_before": getattr(fitted.before, name), "pooled_after": getattr(fitted.after, name)}
            row |= {"temperature": fitted.fit.value, "n_calibration": fitted.fit.n_maps}
            rows.append(row | {"note": join(fitted.fit.note, fitted.before.note)})
    return pd.DataFrame(rows)
