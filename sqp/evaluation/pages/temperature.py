"""Temperature scaling of the segmenter: fitted on calibration records, its pixels' calibration before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from tqdm import tqdm

from sqp.core.errors import CaseError, ConfigError
from sqp.evaluation.pages.pixels import read_pixels
from sqp.evaluation.paired import mean_cells
from sqp.metrics.calibration import PixelCalibration
from sqp.metrics.nan_reasons import join
from sqp.metrics.stats import Resamples
from sqp.metrics.temperature import Temperature, TemperatureFit, rescale
from sqp.records import RecordSet

QUANTITIES = {"ece": "ECE", "brier": "Brier", "nll": "NLL (nats)"}


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
    sets: dict[str, RecordSet] = {}
    for index, row in tqdm(rows.iterrows(), total=len(rows), unit="record", desc=word, disable=None):
        try:
            where = str(row["record_set"])
            if where not in sets:
                sets[where] = RecordSet(where)
            pixels = read_pixels(sets[where], row)
        except (CaseError, ConfigError):
            continue  # the table of the segmentation itself says which
        if pixels.probability is not None and np.isfinite(pixels.probability).all():
            yield int(str(index)), np.broadcast_to(pixels.probability, pixels.truths.shape), pixels.truths


def temperature_table(fits: list[Scaled]) -> pd.DataFrame:
    """A row a segmenter and quantity: mean over images before and after, their change, and over all pixels."""
    rows = []
    for one in fits:
        for name, label in QUANTITIES.items():
            before, after = one.each[f"{name}_before"], one.each[f"{name}_after"]
            row: dict[str, object] = {
                "segmenter": one.segmenter,
                "quantity": label,
                "n": int(np.isfinite(before).sum()),
            }
            for key, values in {"before": before, "after": after, "change": after - before}.items():
                row |= mean_cells(key, values, one.resamples)
            row |= {"pooled_before": getattr(one.before, name), "pooled_after": getattr(one.after, name)}
            row |= {"temperature": one.fit.value, "n_calibration": one.fit.n_maps}
            rows.append(row | {"note": join(one.fit.note, one.before.note)})
    return pd.DataFrame(rows)
