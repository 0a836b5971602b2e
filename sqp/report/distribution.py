"""How the predicted Dice is spread, by verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sqp.quality.verdict import VERDICTS
from sqp.report.figures import STYLE

DISTRIBUTION = "How many masks have which predicted Dice, by verdict; a mask without a prediction is not drawn."
FILLS = {"accept": "#66c7a8", "review": "#f2c14e", "reject": "#ee8f5e", "abstain": "#b9b9c2"}
HATCHES = {"accept": "", "review": "//", "reject": "xx", "abstain": ".."}  # a verdict is never told by colour alone
BINS = np.linspace(0, 1, 26)


def distribution(table: pd.DataFrame) -> Figure:
    """Histogram of predicted_dice, stacked by verdict, over 0 to 1 in 25 bins."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    known = table[table["predicted_dice"].notna()]
    bottom = np.zeros(len(BINS) - 1)
    for verdict in VERDICTS:
        counts, _ = np.histogram(known.loc[known["verdict"] == verdict, "predicted_dice"].clip(0, 1), BINS)
        axes.bar(
            BINS[:-1], counts, np.diff(BINS), bottom, align="edge", color=FILLS[verdict], hatch=HATCHES[verdict],
            edgecolor="0.25", linewidth=0.6, label=f"{verdict} ({counts.sum():,})",
        )  # fmt: skip
        bottom += counts
    axes.set(xlim=(0, 1), ylim=(0, max(1.0, 1.08 * bottom.max())))
    axes.set_xlabel("predicted Dice", fontsize=STYLE["label"])
    axes.set_ylabel("masks", fontsize=STYLE["label"])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=STYLE["tick"])
    axes.legend(fontsize=STYLE["text"], loc="upper left", framealpha=0.9)
    axes.grid(axis="y", alpha=0.25)
    return figure
