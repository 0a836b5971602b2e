"""Figures of selective use: risk against coverage, and the Dice of each tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sqp.report.figures import MARKERS, PALETTE, STYLE, labelled

Curve = tuple[np.ndarray, np.ndarray]
"""(coverage, risk), both `[n]`."""

FIRST = 0.05  # coverage from which a curve is drawn: below it a few masks decide
REFERENCES = {"true order": ("0.25", ":"), "no order": ("0.25", "--")}
TIERS = ("high", "moderate", "low")


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
