"""Figures of agreement: every method with its intervals, and the errors of the model by its prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.metrics import agreement
from sqp.report.figures import PALETTE, STYLE, labelled

BOX = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
_SHOWN = {"spearman": "Spearman with the truth (right is better)", "mae": "MAE (left is better)"}


def forest(table: pd.DataFrame, shown: Mapping[str, str] | None = None) -> Figure:
    """A row a method, best first by the first statistic; a panel a statistic with its interval.

    `table` has method and, of each statistic, X, X_low, X_high; the first row is the quality model's and is set apart.
    """
    shown = shown or _SHOWN
    first = next(iter(shown))
    table = table.sort_values(first, na_position="first", kind="stable", ignore_index=True)
    figure = Figure(figsize=(5.4 * len(shown), 1.2 + 0.34 * len(table)), layout="constrained")
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    own = table["method"] == "quality_model"
    for axes, (name, title) in zip(grid, shown.items(), strict=True):
        labelled(axes, title, "")
        for mask, colour, marker in ((own, PALETTE[1], "D"), (~own, PALETTE[0], "o")):
            rows = table[mask & np.isfinite(table[name].astype(float))]
            axes.hlines(rows.index, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, lw=2)
            axes.plot(rows[name], rows.index, marker, color=colour, ms=7)
        lost = table.index[~np.isfinite(table[name].astype(float))]
        middle = float(np.mean(axes.get_xlim()))
        for row in lost:
            axes.text(middle, row, "undefined", color="0.35", ha="center", va="center", fontsize=STYLE["text"])
    grid[0].set_yticks(range(len(table)), table["method"], fontsize=STYLE["tick"])
    return figure


def bland_altman(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel a subset: predicted less true Dice against their mean, with the bias and the 95 % limits."""
    figure = Figure(figsize=(4.9 * max(1, len(panels)), 4.4), layout="constrained")
    grid = figure.subplots(1, max(1, len(panels)), squeeze=False, sharey=True)[0]
    for axes, (title, rows) in zip(grid, panels.items(), strict=False):
        predicted, true = rows["predicted_dice"].to_numpy(float), rows["dice"].to_numpy(float)
        small = len(rows) > 1_000
        axes.scatter((predicted + true) / 2, predicted - true, s=5 if small else 14, alpha=0.25 if small else 0.5,
                     color=PALETTE[0], linewidths=0, rasterized=True)  # fmt: skip
        lines = {"bias": agreement.bias, "lower limit": agreement.limit_low, "upper limit": agreement.limit_high}
        for name, statistic in lines.items():
            value = statistic(predicted, true)
            if np.isfinite(value):
                axes.axhline(value, color=PALETTE[1], lw=1.6, ls="-" if name == "bias" else "--")
                axes.text(0.02, value, f"{name} {value:+.3f}", fontsize=STYLE["text"], va="center", bbox=BOX)
        axes.set(xlim=(0, 1), ylim=(-1, 1))
        labelled(axes, "mean of predicted and true Dice", "", f"{title} (n = {agreement.count(predicted, true):,})")
    grid[0].set_ylabel("predicted - true Dice", fontsize=STYLE["label"])
    return figure
