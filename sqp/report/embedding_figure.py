"""The embedding as still pictures: the same points, coloured by what is known of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.report.figures import MARKERS, PALETTE, STYLE

NUMBERS = {  # column -> title, colours, limits (None: of the data, symmetric for the error)
    "dice": ("true Dice", "cividis", (0.0, 1.0)),
    "predicted_dice": ("predicted Dice", "cividis", (0.0, 1.0)),
    "error": ("predicted - true Dice", "PuOr", None),
    "area": ("area of the mask", "cividis", None),
}
NAMES = {"variant": "variant", "diagnosis": "diagnosis", "segmenter": "segmenter", "prompter": "prompter"}
MOST_NAMES, LONGEST = 6, 22
OTHER = "other"


def embedding(points: pd.DataFrame, x: str, y: str, title: str) -> Figure:
    """A panel per column of `NUMBERS` and `NAMES` that the points have with more than one value."""
    numbers = [name for name in NUMBERS if name in points and points[name].notna().any()]
    names = [name for name in NAMES if name in points and points[name].astype(str).nunique() > 1]
    panels = [*numbers, *names]
    columns = min(4, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.5 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(grid, panels, strict=False):
        draw = _numbers if name in numbers else _names
        draw(axes, points, x, y, name)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=STYLE["title"])
    return figure


def short_names(values: pd.Series) -> pd.Series:
    """The most frequent names, the last part of a path-like one, the rest as `other`; empty is `not said`.

    >>> short_names(pd.Series(["Benign / Nevus", "mel", ""])).tolist()
    ['Nevus', 'mel', 'not said']
    """
    named = values.fillna("").astype(str).str.split("/").str[-1].str.strip().replace("", "not said")
    named = named.where(named.str.len() <= LONGEST, named.str[: LONGEST - 1] + "…")
    frequent = named.value_counts().index[:MOST_NAMES]
    return named.where(named.isin(frequent), OTHER)


def _numbers(axes: Axes, points: pd.DataFrame, x: str, y: str, name: str) -> None:
    title, colours, limits = NUMBERS[name]
    values = points[name].to_numpy(float)
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    if name == "error":
        high = max(abs(low), abs(high), 1e-6)
        low = -high
    order = np.argsort(np.abs(values) if name == "error" else values, kind="stable")  # what is rare lies on top
    drawn = axes.scatter(
        points[x].iloc[order], points[y].iloc[order], c=values[order], cmap=colours, vmin=low, vmax=high,
        s=_size(points), linewidths=0, rasterized=True,
    )  # fmt: skip
    axes.figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02).ax.tick_params(labelsize=STYLE["tick"])  # type: ignore[union-attr]
    axes.set_title(title, fontsize=STYLE["label"])


def _names(axes: Axes, points: pd.DataFrame, x: str, y: str, name: str) -> None:
    shown = short_names(points[name])
    for i, value in enumerate(shown.value_counts().index):
        part = points[shown == value]
        colour = "0.6" if value == OTHER else PALETTE[i % 7]
        marker = MARKERS[i % 7]
        axes.scatter(
            part[x], part[y], s=1.2 * _size(points), marker=marker, color=colour, alpha=0.8, linewidths=0,
            label=f"{value} ({len(part):,})", rasterized=True,
        )  # fmt: skip
    axes.set_title(NAMES[name], fontsize=STYLE["label"])
    axes.legend(fontsize=9, markerscale=1.6, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False)


def _size(points: pd.DataFrame) -> float:
    """Area of a dot."""
    return float(np.clip(12_000 / len(points), 5, 40))
