"""The comparison behind `evaluate`: quality model and every analytic score on the same rows of one subset.

Correlations use a score as it is. Where an error in the target is asked for (R2, MAE, RMSE, limits, ECE) a score goes
through the least-squares line to the target, fitted on the calibration rows and clipped to the target's range; the
quality model speaks in Dice already, and so in IoU. For a distance it needs a line too, and correlations are with the
negative distance, so that above 0 is good for every target. All intervals share one set of bootstrap resamples by
group; the line is not resampled.

What a prediction is compared with: the true Dice, the IoU, or how far the outline is off.

The aggregated scores as columns beside the scores they come from, for the comparison table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqp.evaluation.paired import MODEL, Paired, mean_cells
from sqp.metrics import agreement, weighted
from sqp.metrics.aggregation import AGGREGATES
from sqp.metrics.intervals import covered
from sqp.metrics.nan_reasons import join
from sqp.metrics.paired import PairedTest, paired_tests
from sqp.metrics.stats import Resamples, fit_line
from sqp.records.schema import image_keys

DICE = "dice"


@dataclass(frozen=True)
class Target:
    """`column` of the rows; `sign` -1 where lower is better; values lie in 0..`top`.

    `from_dice` turns a Dice into the target exactly; without it the quality model goes through a line, like a score.
    """

    column: str
    label: str
    sign: int = 1
    top: float = 1.0
    from_dice: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def surface(self) -> bool:
        """Must the outlines be measured for it."""
        return self.sign < 0


def _iou(dice: np.ndarray) -> np.ndarray:
    return dice / (2 - dice)


TARGETS = {
    DICE: Target(DICE, "Dice", from_dice=lambda dice: dice),
    "iou": Target("iou", "IoU", from_dice=_iou),
    "hd95": Target("hd95", "HD95", sign=-1, top=float("inf")),
    "masd": Target("masd", "MASD", sign=-1, top=float("inf")),
}


UNSIGNED = ("area", "references", "references_dice")  # neither higher nor lower is better


def with_aggregates(
    test: pd.DataFrame, calibration: pd.DataFrame, scores: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Both tables with a column an aggregate, fitted on the calibration rows alone, and the scores with their names.

    `area` has no sign and is left out of them; aggregates that are there already are made anew. NaN in every row where
    calibration has no scores to fit on.
    """
    used = [name for name in scores if name not in (*UNSIGNED, *AGGREGATES) and name in calibration]
    fitted_on = calibration[np.isfinite(calibration["dice"])]
    for name, fit in AGGREGATES.items():
        aggregate = fit(fitted_on[used].to_numpy(float), fitted_on["dice"])
        test, calibration = (
            table.assign(**{name: aggregate(table[used].to_numpy(float))}) for table in (test, calibration)
        )
    return test, calibration, list(dict.fromkeys([*scores, *AGGREGATES]))


MEDIAN, MEAN = "predict_the_median", "predict_the_mean"
COMPARED = ("spearman", "mae")  # statistics whose difference to the model stands in the short table
DETAILS = ("kendall", "bias", "limit_low", "limit_high", "ece")  # statistics that the short table leaves out

RANKED: dict[str, Callable[..., np.ndarray]] = {  # of the score itself
    "pearson": agreement.pearson.over,
    "spearman": agreement.spearman.over,
    "kendall": weighted.kendall,
}
IN_TARGET: dict[str, Callable[..., np.ndarray]] = {  # of the score on the scale of the target
    "r2": agreement.r2.over,
    "mae": agreement.mae.over,
    "rmse": agreement.rmse.over,
    "bias": agreement.bias.over,
    "limit_low": agreement.limit_low.over,
    "limit_high": agreement.limit_high.over,
    "ece": weighted.calibration_error,
}


def compare(
    test: pd.DataFrame,
    calibration: pd.DataFrame,
    scores: Sequence[str],
    n_resamples: int = 2000,
    seed: int = 0,
    target: str = DICE,
    details: bool = True,
) -> pd.DataFrame:
    """A row per method: the model, predict-the-median and -mean, scores, aggregates; intervals as `X_low`, `X_high`.

    `test` has the target, predicted_dice, low, high, group, image_id and the scores; `calibration` the target, the
    scores and, for a distance, predicted_dice. Rows without a truth are left out; `n` says how many rows a method has,
    `n_paired` on how many it is compared with the model. Differences are model - method; `p` is of the signed-rank test
    of the two absolute errors on the rows that both have, by group, `p_holm` corrected for all methods. What is
    undefined is NaN and `note` says why. Without `details` the statistics that the short table leaves out are not
    computed: Kendall's tau looks at every pair of rows on every resample.
    """
    kind = TARGETS[target]
    test = test[np.isfinite(test[kind.column])].reset_index(drop=True)
    calibration = calibration[np.isfinite(calibration[kind.column])]
    test, calibration, scores = with_aggregates(test, calibration, scores)
    if test.empty:
        names = [MODEL, MEDIAN, MEAN, *scores]
        return pd.DataFrame({"method": names, "n": 0, "n_groups": 0, "note": f"no row has a true {kind.label}"})
    truth = test[kind.column].to_numpy(float)
    resamples = Resamples.draw(test["group"].astype(str).to_numpy(), n_resamples, seed)
    paired = Paired(_statistics(kind, details), (truth, pd.factorize(image_keys(test))[0]), resamples)
    methods = _methods(test, calibration, scores, kind)
    tests = {test.b: test for test in _tests(methods, truth, resamples.codes)}
    rows = []
    for name, (raw, in_target) in methods.items():
        keep = np.isfinite(raw)
        row: dict[str, object] = dict.fromkeys(("method", "n", "n_groups"), name)
        row["sd_dice"] = float(truth[keep].std()) if keep.any() else np.nan
        row |= paired.row(name, methods)
        row["n_within"] = _n_within(raw[keep], truth[keep], paired.shared[1][keep])
        if name in tests:
            row |= {"p": tests[name].p, "p_holm": tests[name].p_holm}
        if name == MODEL and kind.from_dice and {"low", "high"} <= set(test.columns):
            low, high = (kind.from_dice(test[end].to_numpy(float)) for end in ("low", "high"))
            row |= mean_cells("coverage", covered(low, high, truth), resamples)
            row |= mean_cells("width", high - low, resamples)
        rows.append(row | {"note": _note(raw, in_target, truth, kind, row)})
    return pd.DataFrame(rows)


def short(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of evaluation.csv: without `DETAILS`, and of the differences only `COMPARED`."""
    left_out = {"p", "p_holm", "n_within"} | {f"{name}{end}" for name in DETAILS for end in ("", "_low", "_high")}
    for name in (*RANKED, "within_spearman", *IN_TARGET):
        if name not in COMPARED:
            left_out |= {f"{name}_difference{end}" for end in ("", "_low", "_high")}
    return table[[name for name in table.columns if name not in left_out]]


def _methods(
    test: pd.DataFrame, calibration: pd.DataFrame, scores: Sequence[str], target: Target
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each method's score, and the same on the scale of the target."""
    truth = calibration[target.column].to_numpy(float)
    predicted = test["predicted_dice"].to_numpy(float)
    in_target = through_line(predicted, "predicted_dice", calibration, target)
    methods = {MODEL: (predicted, target.from_dice(predicted) if target.from_dice else in_target)}
    for name, constant in ((MEDIAN, np.median), (MEAN, np.mean)):
        methods[name] = (np.full(len(test), float(constant(truth)) if len(truth) else np.nan),) * 2
    for name in scores:
        raw = test[name].to_numpy(float)
        methods[name] = (raw, through_line(raw, name, calibration, target))
    return methods


def _n_within(score: np.ndarray, truth: np.ndarray, image: np.ndarray) -> int:
    """Images that the within-image Spearman is the mean of."""
    by_image = weighted.spearman_by_group(score, truth, image, int(image.max(initial=-1)) + 1)
    return int(np.isfinite(by_image).sum())


def _tests(methods: dict[str, tuple[np.ndarray, np.ndarray]], truth: np.ndarray, group: np.ndarray) -> list[PairedTest]:
    """Signed-rank test by group of the absolute errors: the model against each, on the rows that both have."""
    return paired_tests({name: np.abs(values - truth) for name, (_, values) in methods.items()}, MODEL, group)


def through_line(raw: np.ndarray, name: str, calibration: pd.DataFrame, target: Target = TARGETS[DICE]) -> np.ndarray:
    """The score on the scale of the target; NaN without two different calibration rows."""
    fit = calibration[name].to_numpy(float) if name in calibration else np.empty(0)
    enough = np.unique(fit[np.isfinite(fit)]).size > 1
    slope, intercept = fit_line(fit, calibration[target.column]) if enough else (np.nan, np.nan)
    return np.clip(slope * raw + intercept, 0, target.top)


def _statistics(target: Target, details: bool) -> Callable[..., dict[str, np.ndarray]]:
    """Every statistic `[b]` under each weighting of the rows `[b, n]`."""
    ranked, in_its_unit = (
        {name: form for name, form in forms.items() if details or name not in DETAILS} for forms in (RANKED, IN_TARGET)
    )
    if target.top != 1:
        in_its_unit.pop("ece", None)

    def statistics(
        weights: np.ndarray, raw: np.ndarray, in_target: np.ndarray, truth: np.ndarray, image: np.ndarray
    ) -> dict[str, np.ndarray]:
        if not len(truth):
            nothing = np.full(len(weights), np.nan)
            return dict.fromkeys((*ranked, *in_its_unit, "within_spearman"), nothing)
        good = target.sign * truth
        result = {name: form(weights, raw, good) for name, form in ranked.items()}
        result |= {name: form(weights, in_target, truth) for name, form in in_its_unit.items()}
        return result | {"within_spearman": weighted.within_group_spearman(weights, raw, good, image)}

    return statistics


def _note(raw: np.ndarray, in_target: np.ndarray, truth: np.ndarray, target: Target, row: Mapping[str, object]) -> str:
    """Why something is missing, in a few words."""
    keep, n_paired = np.isfinite(raw), row.get("n_paired")
    if not keep.any():
        return "not available for these records" if len(keep) else "no rows with truth"
    reasons = [f"undefined for {int((~keep).sum())} of {len(keep)} rows"] if not keep.all() else []
    if keep.sum() == 1:
        reasons.append("one row: no correlation")
    elif np.ptp(raw[keep]) == 0:
        reasons.append("constant: no correlation")
    if row["n_groups"] == 1:
        reasons.append("one group: no intervals, no test")
    if keep.sum() > 1 and np.ptp(truth[keep]) == 0:
        reasons.append(f"true {target.label} constant: no correlation, no R2")
    if np.isnan(in_target[keep]).all():
        reasons.append("no calibration rows to fit a line: no R2, MAE, RMSE")
    if isinstance(n_paired, int) and n_paired < keep.sum():
        reasons.append(
            f"differences on {n_paired} rows" if n_paired else "no row has this and a prediction of the model"
        )
    return join(*reasons)
