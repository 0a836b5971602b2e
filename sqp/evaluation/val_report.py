"""How a model that was just trained does on val beside the analytic scores: a table, a figure, and for W&B overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sqp.config.train import TrainConfig
from sqp.evaluation.subsets import compare_subsets
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.verdict import judged
from sqp.report.figures import predicted_vs_true, save
from sqp.report.tables import write_csv
from sqp.report.wandb_run import log_results

N_RESAMPLES = 500  # enough for an interval of a table that only guides choices
TABLE, FIGURE = "comparison_val.csv", "predicted_vs_true_val.png"


def write_val_report(config: TrainConfig, rows: pd.DataFrame, predicted: pd.DataFrame, run: Any | None) -> None:
    """Write OUT/comparison_val.csv and its figure; log them to a run of W&B where there is one.

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
