"""Runs beside each other: rank correlation and error of their models, and of the best free score, with intervals.

Figures of predicted against true Dice. Colours by Okabe and Ito, told apart by colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.core.files import write_atomic
from sqp.metrics.intervals import interval_summary
from sqp.report.findings import MODEL, best_free_score

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BINS = 10
FEWEST = 3  # rows in a bin that is drawn
STYLE = {"title": 13, "label": 12, "tick": 11, "text": 10.5}


def predicted_vs_true(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel per subset: true against predicted Dice, identity, interval band, n, Pearson, MAE, coverage.

    Each frame has dice, predicted_dice and, for the band, low and high; rows without a Dice are left out.
    The band joins the mean ends of the intervals over ten equally filled bins of the prediction.
    """
    columns = min(3, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    figure = Figure(figsize=(4.9 * columns, 5.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, frame) in zip(grid, panels.items(), strict=False):
        _scatter(axes, frame.loc[_known(frame)])
        axes.set_title(name, fontsize=STYLE["title"])
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def calibration(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """True Dice by tenths of the predicted one, a line per subset; the bars span the middle half.

    A tenth with fewer than three rows is left out.
    """
    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    axes = figure.subplots()
    diagonal(axes)
    for i, (name, frame) in enumerate(panels.items()):
        frame, n = frame.loc[_known(frame)], int(_known(frame).sum())
        bins = np.minimum(np.floor(frame["predicted_dice"].clip(0, 1) * BINS), BINS - 1)
        frame = frame.groupby(bins).filter(lambda part: len(part) >= FEWEST)
        groups = frame["dice"].groupby(bins)
        x, mean = frame["predicted_dice"].groupby(bins).mean(), groups.mean()
        ends = groups.quantile(0.25), groups.quantile(0.75)
        line_with_bars(axes, i, len(panels), x, mean, ends, f"{name} (n = {n:,})")
    _dress(axes, "mean predicted Dice of the bin", "mean true Dice (bar: middle half)")
    axes.legend(fontsize=STYLE["text"], loc="upper left", framealpha=0.9)
    return figure


def save(figure: Figure, path: str | Path, dpi: int = 130) -> Path:
    """Write a PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=dpi))
    return path


def _known(frame: pd.DataFrame) -> pd.Series:
    """Rows with a true and a predicted Dice."""
    return np.isfinite(frame["dice"]) & np.isfinite(frame["predicted_dice"])


def _scatter(axes: Axes, frame: pd.DataFrame) -> None:
    """Points, identity, band and the figures of one subset."""
    true, predicted = frame["dice"].to_numpy(float), frame["predicted_dice"].to_numpy(float)
    if {"low", "high"} <= set(frame.columns):
        _band(axes, frame[["predicted_dice", "low", "high"]].dropna())
    size, alpha = (5, 0.25) if len(frame) > 1_000 else (16, 0.6)
    axes.scatter(predicted, true, s=size, alpha=alpha, color=PALETTE[0], linewidths=0, rasterized=True)
    diagonal(axes)
    _dress(axes, "predicted Dice", "true Dice")
    axes.text(
        0.03, 0.97, _facts(frame), transform=axes.transAxes, va="top", fontsize=STYLE["text"],
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "0.8"},
    )  # fmt: skip
    axes.legend(fontsize=STYLE["text"], loc="lower right", framealpha=0.85)


def _band(axes: Axes, frame: pd.DataFrame) -> None:
    """The interval's mean ends over equally filled bins of the prediction; nothing where rows are few."""
    if len(frame) < 2 * BINS:
        return
    frame = frame.sort_values("predicted_dice", ignore_index=True)
    means = frame.groupby(np.arange(len(frame)) * BINS // len(frame)).mean()
    ends = pd.concat([frame.head(1), means, frame.tail(1)])  # so that the band spans all predictions
    x, low, high = (ends[name] for name in ("predicted_dice", "low", "high"))
    axes.fill_between(x, low, high, color=PALETTE[4], alpha=0.3, lw=0, label="interval (mean ends)")


def _facts(frame: pd.DataFrame) -> str:
    """n, SD, Pearson, MAE and coverage, one a line."""
    true, predicted = frame["dice"].to_numpy(float), frame["predicted_dice"].to_numpy(float)
    if not len(frame):
        return "no rows with a true Dice"
    lines = [f"n = {len(frame):,}", f"SD(Dice) = {true.std():.3f}"]
    if len(frame) > 1 and true.std() > 0 and predicted.std() > 0:
        lines.append(f"Pearson = {np.corrcoef(true, predicted)[0, 1]:.3f}")
    lines.append(f"MAE = {np.abs(true - predicted).mean():.3f}")
    if {"low", "high"} <= set(frame.columns):
        ends = interval_summary(frame["low"], frame["high"], frame["dice"])
        if ends["n"]:
            lines.append(f"covered {ends['coverage']:.1%}, width {ends['mean_width']:.3f}")
    return "\n".join(lines)


def diagonal(axes: Axes, label: str = "identity") -> None:
    """The line on which y is x."""
    axes.plot([0, 1], [0, 1], "--", color="0.25", lw=1.2, label=label, gid=label)


def line_with_bars(
    axes: Axes, place: int, of: int, x: pd.Series, y: pd.Series, ends: tuple[pd.Series, pd.Series], label: str
) -> None:
    """Line number `place` of `of`, a bar at each point, moved a little so that no bar covers that of another line."""
    x, colour = x + 0.004 * (place - (of - 1) / 2), PALETTE[place % 7]
    axes.plot(x, y, MARKERS[place % 7] + "-", color=colour, ms=6, lw=1.5, label=label)
    axes.vlines(x, *ends, color=colour, lw=1.5, alpha=0.55)


def _dress(axes: Axes, x: str, y: str) -> None:
    """Square axes over 0 to 1 with readable labels."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    labelled(axes, x, y)


def labelled(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Readable labels, ticks, a title and a grid."""
    axes.set_title(title, fontsize=STYLE["title"])
    axes.set_xlabel(x, fontsize=STYLE["label"])
    axes.set_ylabel(y, fontsize=STYLE["label"])
    axes.tick_params(labelsize=STYLE["tick"])
    axes.grid(alpha=0.25)


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
