"""Figures of promises kept: intervals by level, the segmenter's pixels, the model's error beside the raters'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.metrics import agreement
from sqp.metrics.pooled import PixelCalibration
from sqp.report.figures import MARKERS, PALETTE, STYLE, labelled


class ScaledPixels(Protocol):
    """Pixels of a segmenter before and after temperature scaling."""

    segmenter: str
    before: PixelCalibration
    after: PixelCalibration


def coverage_figure(curves: Mapping[str, pd.DataFrame], by: str) -> Figure:
    """Measured coverage against the level that was asked for, a line a subset; below the diagonal: too narrow."""
    kinds = ["coverage"] + ["coverage_apart"] * any("coverage_apart" in table for table in curves.values())
    figure = Figure(figsize=(5.4 * len(kinds), 5.2), layout="constrained")
    titles = {"coverage": "pooled quantile (the model's way)", "coverage_apart": f"Mondrian, by {by}"}
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        _diagonal(axes, "as asked")
        for i, (name, table) in enumerate(curves.items()):
            colour, shift = PALETTE[i % 7], 0.004 * (i - (len(curves) - 1) / 2)
            x = table["level"] + shift
            axes.plot(x, table[kind], MARKERS[i % 7] + "-", color=colour, ms=6, lw=1.5, label=name)
            axes.vlines(x, table[f"{kind}_low"], table[f"{kind}_high"], color=colour, lw=1.5, alpha=0.55)
        lowest = float(np.fmin.reduce([1.0, *(end for table in curves.values() for end in table[f"{kind}_low"])]))
        axes.set(xlim=(0.45, 1.0), ylim=(min(0.4, lowest - 0.03), 1.01))
        labelled(axes, "coverage that was asked for", "coverage on test records (bar: 95 %)", titles[kind])
        axes.legend(fontsize=STYLE["text"], loc="lower right", framealpha=0.85)
    return figure


def pixel_calibration(fits: Sequence[ScaledPixels], numbers: pd.DataFrame) -> Figure:
    """Left: true share of foreground by probability, all pixels, before and after scaling; right: ECE against Dice."""
    figure = Figure(figsize=(10.6, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    _diagonal(left, "calibrated")
    for i, one in enumerate(fits):
        for pool, style, word in ((one.before, "o-", "as it is"), (one.after, "s--", "scaled by T")):
            table = pool.table()
            colour = PALETTE[(2 * i + (pool is one.after)) % 7]
            label = f"{one.segmenter}, {word}\nECE {pool.ece:.3f}"
            if pool.n_maps:
                left.plot(table["confidence"], table["target"], style, color=colour, ms=6, lw=1.5, label=label)
    left.set(xlim=(0, 1), ylim=(0, 1))
    labelled(
        left, "probability of a pixel (mean of its bin)", "share of these pixels that are foreground", "All test pixels"
    )
    left.legend(fontsize=STYLE["text"], loc="lower right", framealpha=0.85)
    ece, dice = numbers["ece"].to_numpy(float), numbers["dice"].to_numpy(float)
    right.scatter(ece, dice, s=12, alpha=0.5, color=PALETTE[0], linewidths=0)
    rank = agreement.spearman(ece, dice)
    right.set(ylim=(-0.02, 1.02))
    labelled(right, "ECE of an image's pixels", "Dice of its mask", f"Images (Spearman {rank:.3f})")
    return figure


def raters_figure(images: pd.DataFrame) -> Figure:
    """The model's error against the raters' disagreement, a point an image; below the line the model errs less."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    x, y = images["disagreement"].to_numpy(float), images["error"].to_numpy(float)
    keep = np.isfinite(x) & np.isfinite(y)
    right, top = (1.05 * float(values[keep].max(initial=0.1)) for values in (x, y))
    _diagonal(axes, "error = disagreement")
    axes.scatter(x, y, s=26, alpha=0.65, color=PALETTE[0], linewidths=0, label=f"image (n = {int(keep.sum())})")
    axes.set(xlim=(0, right), ylim=(0, top))
    labelled(axes, "disagreement of the raters (1 - their Dice)", "error of the predicted Dice")
    axes.legend(fontsize=STYLE["text"], loc="lower right", framealpha=0.85)
    return figure


def _diagonal(axes: Axes, label: str) -> None:
    axes.plot([0, 1], [0, 1], "--", color="0.25", lw=1.2, label=label)
