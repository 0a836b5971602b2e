"""Runs beside each other: rank correlation and error of their models, and of the best free score, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.report.figures import MARKERS, PALETTE, STYLE
from sqp.report.findings import MODEL, best_free_score

SHOWN = {"spearman": "Spearman (right is better)", "mae": "MAE (left is better)"}


def run_figure(table: pd.DataFrame) -> Figure:
    """A row of panels per split and subset, a line per run; 95 % intervals as bars.

    `table` has run, split, subset, dataset, method and the statistics of `SHOWN` with `_low` and `_high`; rows of all
    data sets together are drawn. The free score of a run is `findings.best_free_score`, those fitted on calibration
    records among them, in both panels.
    """
    table = table[table["dataset"] == "all"]
    parts = list(table.groupby(["split", "subset"], sort=False))
    runs = list(dict.fromkeys(table["run"]))
    height = 0.9 + 0.45 * len(runs)
    figure = Figure(figsize=(11, height * max(1, len(parts)) + 0.6), layout="constrained")
    grid = figure.subplots(max(1, len(parts)), 2, squeeze=False)
    for row, ((split, subset), part) in zip(grid, parts, strict=False):
        for axes, (name, heading) in zip(row, SHOWN.items(), strict=True):
            _panel(axes, part, runs, name)
            axes.set_title(f"{split}, {subset}: {heading}", fontsize=STYLE["label"])
    if parts:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=STYLE["text"])
    return figure


def _panel(axes: Axes, part: pd.DataFrame, runs: list[str], name: str) -> None:
    """One statistic of one subset."""
    best = {run: best_free_score(rows.set_index("method")) for run, rows in part.groupby("run", sort=False)}
    chosen = part[part["method"] == part["run"].map(best)]
    kinds = (("quality model", part[part["method"] == MODEL]), ("best free or fitted score by Spearman", chosen))
    for i, (label, rows) in enumerate(kinds):
        at = np.array([runs.index(run) for run in rows["run"]]) + 0.12 * (2 * i - 1)
        value = rows[name].to_numpy(float)
        ends = np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy(float).T - value)
        axes.errorbar(value, at, xerr=ends, fmt=MARKERS[i], color=PALETTE[i], ms=7, lw=1.8, capsize=3, label=label)
        for x, y, method in zip(value, at, rows["method"], strict=True):
            if i and np.isfinite(x):
                axes.annotate(method, (x, y), (0, -4), textcoords="offset points", ha="center", va="top", fontsize=9)
    axes.set_yticks(range(len(runs)), runs, fontsize=STYLE["tick"])
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.margins(x=0.22)  # for the names below the marks
    axes.tick_params(axis="x", labelsize=STYLE["tick"])
    axes.grid(axis="x", alpha=0.3)
