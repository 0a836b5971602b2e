"""The figures of `sqp evaluate`: agreement, promises kept (intervals, pixels, raters), selective use, tiers, risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.metrics import agreement
from sqp.metrics.pooled import PixelCalibration
from sqp.metrics.tiers import TIERS
from sqp.report.figures import MARKERS, PALETTE, STYLE, diagonal, labelled, line_with_bars

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
        labelled(axes, "mean of predicted and true Dice", "", f"{title} (n = {agreement.count(predicted, true):,.0f})")
    grid[0].set_ylabel("predicted - true Dice", fontsize=STYLE["label"])
    return figure


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
        diagonal(axes, "as asked")
        for i, (name, table) in enumerate(curves.items()):
            ends = table[f"{kind}_low"], table[f"{kind}_high"]
            line_with_bars(axes, i, len(curves), table["level"], table[kind], ends, name)
        lowest = float(np.fmin.reduce([1.0, *(end for table in curves.values() for end in table[f"{kind}_low"])]))
        axes.set(xlim=(0.45, 1.0), ylim=(min(0.4, lowest - 0.03), 1.01))
        labelled(axes, "coverage that was asked for", "coverage on test records (bar: 95 %)", titles[kind])
        axes.legend(fontsize=STYLE["text"], loc="lower right", framealpha=0.85)
    return figure


def pixel_calibration(fits: Sequence[ScaledPixels], numbers: pd.DataFrame) -> Figure:
    """Left: true share of foreground by probability, all pixels, before and after scaling; right: ECE against Dice."""
    figure = Figure(figsize=(10.6, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    diagonal(left, "calibrated")
    for i, fit in enumerate(fits):
        for pool, style, word in ((fit.before, "o-", "as it is"), (fit.after, "s--", "scaled by T")):
            table = pool.table()
            colour = PALETTE[(2 * i + (pool is fit.after)) % 7]
            label = f"{fit.segmenter}, {word}\nECE {pool.ece:.3f}"
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
    diagonal(axes, "error = disagreement")
    axes.scatter(x, y, s=26, alpha=0.65, color=PALETTE[0], linewidths=0, label=f"image (n = {int(keep.sum())})")
    axes.set(xlim=(0, right), ylim=(0, top))
    labelled(axes, "disagreement of the raters (1 - their Dice)", "error of the predicted Dice")
    axes.legend(fontsize=STYLE["text"], loc="lower right", framealpha=0.85)
    return figure


Curve = tuple[np.ndarray, np.ndarray]
"""(coverage, risk), both `[n]`."""

FIRST = 0.05  # coverage from which a curve is drawn: below it a few masks decide
REFERENCES = {"true order": ("0.25", ":"), "no order": ("0.25", "--")}


def risk_curves(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """A panel a subset: mean risk of the best-scored share, a line a method; grey: the true order, and none.

    Curves of one panel must be of the same rows; they begin at a coverage of 0.05.
    """
    figure = Figure(figsize=(5.6 * max(1, len(panels)), 5.6), layout="constrained")
    grid = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    methods = dict.fromkeys(name for curves in panels.values() for name in curves if name not in REFERENCES)
    looks = dict(zip(methods, zip([PALETTE[1], PALETTE[0], *PALETTE[2:]], MARKERS, strict=True), strict=False))
    handles = {}
    for axes, (title, curves) in zip(grid, panels.items(), strict=False):
        for name, (coverage, risk) in curves.items():
            x, y = coverage[coverage >= FIRST], risk[coverage >= FIRST]
            if name in REFERENCES:
                colour, style = REFERENCES[name]
                (handles[name],) = axes.plot(x, y, style, color=colour, lw=1.5, label=name)
            else:
                colour, marker = looks[name]
                width, every = 2.6 if name == "quality_model" else 1.6, max(1, len(x) // 7)
                look = {"color": colour, "lw": width, "marker": marker, "ms": 6, "markevery": every}
                (handles[name],) = axes.plot(x, y, label=name, **look)
        axes.set_xlim(0, 1.01)
        axes.set_ylim(bottom=0)
        labelled(axes, "coverage: share of the masks that is kept", "mean risk of these (1 - Dice)", title)
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, fontsize=STYLE["text"])
    return figure


def tier_boxes(methods: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """A panel a method: the true Dice in its tiers high, moderate, low; box: middle half, whiskers: 5 to 95 %."""
    figure = Figure(figsize=(4.6 * max(1, len(methods)), 4.6), layout="constrained")
    grid = figure.subplots(1, max(1, len(methods)), squeeze=False, sharey=True)[0]
    for axes, (name, tiers) in zip(grid, methods.items(), strict=False):
        shown = [values if len(values) else np.array([np.nan]) for values in tiers]
        boxes = axes.boxplot(shown, whis=(5, 95), widths=0.6, showmeans=True, patch_artist=True, flierprops={"ms": 3},
                             medianprops={"color": "black"}, meanprops={"marker": "D", "markerfacecolor": "white",
                             "markeredgecolor": "black"})  # fmt: skip
        for patch, colour in zip(boxes["boxes"], (PALETTE[2], PALETTE[4], PALETTE[1]), strict=True):
            patch.set(facecolor=colour, alpha=0.55)
        total = max(1, sum(map(len, tiers)))
        labels = [f"{t}\nn = {len(v):,} ({len(v) / total:.0%})" for t, v in zip(TIERS, tiers, strict=True)]
        axes.set_xticks(range(1, 4), labels)
        axes.set_ylim(-0.02, 1.02)
        labelled(axes, "", "", name)
    grid[0].set_ylabel("true Dice (diamond: mean)", fontsize=STYLE["label"])
    return figure


PANELS = {"bad": "share of bad among the accepted", "share": "share of the masks that is accepted"}


def risk_figure(lines: Mapping[str, pd.DataFrame]) -> Figure:
    """Two panels against the asked risk, a line a part with its 95 % band; grey: the promise, at most the asked risk.

    Each table has `asked`, `bad`, `share` and their `_low` and `_high`; where nothing is accepted a line has a gap.
    """
    figure = Figure(figsize=(11.2, 5.4), layout="constrained")
    handles = {}
    for axes, (column, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        most = max((table["asked"].max() for table in lines.values()), default=1.0)
        if column == "bad":
            (handles["promise"],) = axes.plot([0, most], [0, most], "--", color="0.35", lw=1.5)
            axes.fill_between([0, most], [0, most], color="0.92", lw=0)
        for i, (name, table) in enumerate(lines.items()):
            look = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "ms": 6, "lw": 2}
            (handles[name],) = axes.plot(table["asked"], table[column], **look)
            ends = table[f"{column}_low"], table[f"{column}_high"]
            axes.fill_between(table["asked"], *ends, color=look["color"], alpha=0.15, lw=0)
        axes.set_xlim(0, most * 1.03)
        axes.set_ylim(bottom=0)
        labelled(axes, "asked risk", label, "")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, fontsize=STYLE["text"])
    return figure
