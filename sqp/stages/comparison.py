"""The comparison behind `evaluate`: quality model and every analytic score on the same rows of one subset.

Correlations use a score as it is. Where an error in Dice is asked for (R2, MAE, RMSE) a score goes through
the least-squares line from score to Dice, fitted on the calibration rows and clipped to 0-1; the quality
model speaks in Dice already. All intervals share one set of bootstrap resamples by group; the line is not
resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sqp.metrics import weighted
from sqp.metrics.intervals import covered
from sqp.metrics.stats import Resamples, fit_line, percentiles
from sqp.stages.aggregates import with_aggregates

MODEL, MEDIAN = "quality_model", "predict_the_median"
RANKED = ("pearson", "spearman", "within_spearman")  # of the score itself
IN_DICE = ("r2", "mae", "rmse")  # of the score on the scale of Dice
COMPARED = ("spearman", "mae")  # statistics whose difference to the model is given

_FORMS: dict[str, Callable[..., np.ndarray]] = {
    "pearson": weighted.pearson,
    "spearman": weighted.spearman,
    "r2": weighted.r2,
    "mae": weighted.mae,
    "rmse": weighted.rmse,
}


@dataclass
class Comparison:
    """Statistics of methods on one subset: truth `[n]`, image codes `[n]`, resamples by group."""

    truth: np.ndarray
    image: np.ndarray
    resamples: Resamples
    _cache: dict[tuple[str, bytes], tuple[dict[str, float], dict[str, np.ndarray]]] = field(default_factory=dict)

    def statistics(
        self, name: str, raw: np.ndarray, in_dice: np.ndarray, keep: np.ndarray
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Each statistic of one method on the rows `keep`, and its value on each resample `[b]`."""
        key = (name, keep.tobytes())
        if key not in self._cache:
            columns = (raw[keep], in_dice[keep], self.truth[keep], self.image[keep])
            point = {k: float(v[0]) for k, v in _statistics(np.ones((1, int(keep.sum()))), *columns).items()}
            blocks = [_statistics(w, *columns) for w in self.resamples.weights(keep)] if keep.any() else []
            spread = {k: np.concatenate([block[k] for block in blocks]) if blocks else np.empty(0) for k in point}
            self._cache[key] = point, spread
        return self._cache[key]


def compare(
    test: pd.DataFrame,
    calibration: pd.DataFrame,
    scores: Sequence[str],
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per method: the model, predict-the-median, scores, aggregates; 95 % intervals as `X_low`, `X_high`.

    `test` has dice, predicted_dice, low, high, group, image_id and the scores; `calibration` dice and scores.
    Rows without a true Dice are left out; `n` says how many rows a method has, `n_paired` on how many it is
    compared with the model. Differences are model - method. What is undefined is NaN and `note` says why.
    """
    test = test[np.isfinite(test["dice"])].reset_index(drop=True)
    calibration = calibration[np.isfinite(calibration["dice"])]
    test, calibration, scores = with_aggregates(test, calibration, scores)
    comparison = Comparison(
        test["dice"].to_numpy(float),
        pd.factorize(test["image_id"])[0],
        Resamples.draw(test["group"].astype(str).to_numpy(), n_resamples, seed),
    )
    predicted = test["predicted_dice"].to_numpy(float)
    median = float(calibration["dice"].median()) if len(calibration) else np.nan
    methods = {MODEL: (predicted, predicted), MEDIAN: (np.full(len(test), median),) * 2}
    for name in scores:
        raw = test[name].to_numpy(float)
        fit = calibration[name].to_numpy(float) if name in calibration else np.empty(0)
        enough = np.unique(fit[np.isfinite(fit)]).size > 1
        slope, intercept = fit_line(fit, calibration["dice"]) if enough else (np.nan, np.nan)
        methods[name] = (raw, np.clip(slope * raw + intercept, 0, 1))
    return pd.DataFrame([_row(name, methods, comparison, test) for name in methods])


def _row(
    name: str, methods: dict[str, tuple[np.ndarray, np.ndarray]], comparison: Comparison, test: pd.DataFrame
) -> dict[str, object]:
    """One row of the table."""
    raw, in_dice = methods[name]
    keep = np.isfinite(raw)
    point, spread = comparison.statistics(name, raw, in_dice, keep)
    row: dict[str, object] = {
        "method": name,
        "n": int(keep.sum()),
        "n_groups": int(test["group"][keep].nunique()),
    }
    row["sd_dice"] = float(comparison.truth[keep].std()) if keep.any() else np.nan
    for key, value in point.items():
        row |= {key: value} | _ends(key, spread[key])
    shared = keep & np.isfinite(methods[MODEL][0])
    if name != MODEL:
        mine = comparison.statistics(name, raw, in_dice, shared)
        model = comparison.statistics(MODEL, *methods[MODEL], shared)
        row["n_paired"] = int(shared.sum())
        for key in COMPARED:
            row |= {f"{key}_difference": model[0][key] - mine[0][key]}
            row |= _ends(f"{key}_difference", model[1][key] - mine[1][key])
    elif {"low", "high"} <= set(test.columns):
        row |= _coverage(test, comparison)
    note = _note(raw, in_dice, keep, comparison.truth)
    if name != MODEL and 0 < row["n_paired"] < row["n"]:  # type: ignore[operator]
        note = "; ".join(filter(None, [note, f"differences on {row['n_paired']} rows"]))
    return row | {"note": note}


def _statistics(
    weights: np.ndarray, raw: np.ndarray, in_dice: np.ndarray, truth: np.ndarray, image: np.ndarray
) -> dict[str, np.ndarray]:
    """Every statistic `[b]` under each weighting of the rows `[b, n]`."""
    if not len(truth):
        return dict.fromkeys((*RANKED, *IN_DICE), np.full(len(weights), np.nan))
    with np.errstate(invalid="ignore"):  # NaN in, NaN out: a score without a line has no error in Dice
        result = {name: form(weights, in_dice if name in IN_DICE else raw, truth) for name, form in _FORMS.items()}
        result["within_spearman"] = weighted.within_group_spearman(weights, raw, truth, image)
    return result


def _coverage(test: pd.DataFrame, comparison: Comparison) -> dict[str, float]:
    """Share of the rows whose interval holds the truth, and the mean width, with intervals by group."""
    low, high = test["low"].to_numpy(float), test["high"].to_numpy(float)
    columns = {"coverage": covered(low, high, comparison.truth), "width": high - low}
    row: dict[str, float] = {}
    for key, values in columns.items():
        keep = ~np.isnan(values)
        blocks = [weighted.bias(w, values[keep], 0 * values[keep]) for w in comparison.resamples.weights(keep)]
        mean = float(values[keep].mean()) if keep.any() else np.nan
        row |= {key: mean} | _ends(key, np.concatenate(blocks) if keep.any() else np.empty(0))
    return row


def _ends(name: str, values: np.ndarray) -> dict[str, float]:
    """The percentile interval of a statistic as two cells."""
    return dict(zip((f"{name}_low", f"{name}_high"), percentiles(values), strict=True))


def _note(raw: np.ndarray, in_dice: np.ndarray, keep: np.ndarray, truth: np.ndarray) -> str:
    """Why something is missing, in a few words."""
    reasons = []
    if not keep.any():
        return "not available for these records" if len(keep) else "no rows with truth"
    if not keep.all():
        reasons.append(f"undefined for {int((~keep).sum())} of {len(keep)} rows")
    if keep.sum() == 1:
        reasons.append("one row: no correlation")
    elif np.ptp(raw[keep]) == 0:
        reasons.append("constant: no correlation")
    if keep.sum() > 1 and np.ptp(truth[keep]) == 0:
        reasons.append("true Dice constant: no correlation, no R2")
    if np.isnan(in_dice[keep]).all():
        reasons.append("no calibration rows to fit a line: no R2, MAE, RMSE")
    return "; ".join(reasons)
