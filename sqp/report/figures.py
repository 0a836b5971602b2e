"""Figures of predicted against true Dice. Colours by Okabe and Ito, told apart by colour-blind readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.io.atomic import write_atomic
from sqp.metrics.intervals import interval_summary

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
    _identity(axes)
    for i, (name, frame) in enumerate(panels.items()):
        frame, n = frame.loc[_known(frame)], int(_known(frame).sum())
        bins = np.minimum(np.floor(frame["predicted_dice"].clip(0, 1) * BINS), BINS - 1)
        frame = frame.groupby(bins).filter(lambda part: len(part) >= FEWEST)
        groups = frame["dice"].groupby(bins)
        x, mean = frame["predicted_dice"].groupby(bins).mean(), groups.mean()
        low, high = groups.quantile(0.25), groups.quantile(0.75)
        shift = 0.004 * (i - (len(panels) - 1) / 2)  # so that bars of two subsets do not cover each other
        axes.plot(
            x + shift,
            mean,
            MARKERS[i % 7] + "-",
            color=PALETTE[i % 7],
            ms=6,
            lw=1.5,
            label=f"{name} (n = {n:,})",
        )
        axes.vlines(x + shift, low, high, color=PALETTE[i % 7], lw=1.5, alpha=0.55)
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
    _identity(axes)
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


def _identity(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], "--", color="0.25", lw=1.2, label="identity", gid="identity")


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
