"""How a model that was just trained does on val beside the analytic scores: a table, a figure, and for W&B overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.config.train import TrainConfig
from sqp.evaluation.comparison import MEAN, MODEL
from sqp.evaluation.subsets import ALL, compare_subsets
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.verdict import judged
from sqp.records.schema import image_keys
from sqp.report.figures import predicted_vs_true, save
from sqp.report.tables import write_csv
from sqp.report.wandb_run import log_results

N_RESAMPLES = 500  # enough for an interval of a table that only guides choices
TABLE, FIGURE = "comparison_val.csv", "predicted_vs_true_val.png"


def write_val_report(config: TrainConfig, rows: pd.DataFrame, predicted: pd.DataFrame, run: Any | None) -> list[str]:
    """Write OUT/comparison_val.csv and its figure; log them to a run of W&B where there is one.

    Returns what must be known of the model, in sentences: `reservations`.

    `rows` are the training rows of all splits, `predicted` those of val with predicted_dice, low and high.
    """
    columns = ("predicted_dice", "low", "high")
    val = rows[rows["split"] == "val"].reset_index(drop=True)
    val = judged(val.assign(**{name: predicted[name].to_numpy() for name in columns}))
    calibration = rows[rows["split"] == "calibration"].reset_index(drop=True)
    comparison = compare_subsets(val, calibration, score_names(val), n_resamples=N_RESAMPLES, seed=config.seed)
    write_csv(comparison.table, Path(config.out) / TABLE)
    figure = save(predicted_vs_true(comparison.panels()), Path(config.out) / FIGURE)
    log_results(run, comparison.table, [figure], val, config.wandb_images)
    return reservations(comparison.table)


FEW = 300
"""Images with truth below which a model often learns nothing that the mean does not know."""
FITTED = "nonneg_regression"


def expectation(rows: pd.DataFrame) -> str:
    """What a training on so few images can become, in a sentence; "" where there are enough."""
    images = len(set(image_keys(rows)))
    if images >= FEW:
        return ""
    return (
        f"{images} images: below some {FEW} a model is often no better than the mean, and its intervals are wide; "
        f"{TABLE} will say whether this one is"
    )


def reservations(table: pd.DataFrame) -> list[str]:
    """What a comparison on val says against a model: that the mean, or the fitted free scores, err less.

    Args:
        table: of `compare_subsets`; all subsets together count, where they are there.

    Returns:
        Sentences; none where the model is better.
    """
    whole = table[table["dataset"] == ALL]
    rows = whole[whole["subset"] == (ALL if (whole["subset"] == ALL).any() else whole["subset"].iloc[0])]
    mae = rows.set_index("method")["mae"]
    own, mean, fitted = (float(mae.get(name, np.nan)) for name in (MODEL, MEAN, FITTED))
    found = []
    if not own < mean and np.isfinite(mean):
        found.append(
            f"on val this model is no better than the mean: MAE {own:.3f}, {mean:.3f} where every mask gets the mean "
            "Dice of the calibration masks. Do not rely on it: it needs more images"
        )
    if fitted < own:
        found.append(
            f"on val the free scores, fitted on calibration ({FITTED}), err less: MAE {fitted:.3f}, this model "
            f"{own:.3f}. `sqp evaluate` tests both; `sqp train --backbone tabular` learns from scores alone"
        )
    return found
