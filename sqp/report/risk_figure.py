"""The figure of the risk rule: what was promised, what was kept, how much was accepted."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from sqp.report.figures import MARKERS, PALETTE, STYLE, labelled

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
