"""The embedding as still pictures: the same points, coloured by what is known of them.

Figures of `explain`: where maps point, whether they are true to the model, what it needs, what it notices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.report.figures import MARKERS, PALETTE, STYLE

ERRORS = {
    "all": "all errors",
    "boundary": "at the boundary",
    "omission": "omission",
    "false_positive": "false positive",
}
PAD = 0.12  # inches at the sides
GAP = 0.22  # between two subsets of one line


def localisation(table: pd.DataFrame) -> Figure:
    """A panel per kind of error: mean AUROC per record of every map with its interval, chance dashed."""
    maps = list(dict.fromkeys(table["map"]))
    figure = _figure(15, 1.7 + 0.42 * len(maps))
    panels = figure.subplots(1, len(ERRORS), sharey=True)
    for axes, (kind, title) in zip(panels, ERRORS.items(), strict=True):
        of_kind = table[table["error"] == kind]
        _dots(axes, of_kind, maps, "map", "auroc", "subset")
        axes.axvline(0.5, color="0.25", ls="--", lw=1.2)
        counts = ", ".join(f"{s} {int(part['n'].max())}" for s, part in of_kind.groupby("subset", sort=False))
        axes.set_title(f"{title}\nn: {counts}", fontsize=STYLE["label"])
        axes.set_xlim(min(0.2, _lowest(of_kind, "auroc") - 0.03), 1.02)
        axes.set_xlabel("AUROC per record, mean", fontsize=STYLE["label"])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=STYLE["text"])
    return figure


def faithfulness(curves: Mapping[str, Sequence[np.ndarray]], effect: str) -> Figure:
    """Mean deletion and insertion curve `[n, steps]` of every map; the random maps black and dashed."""
    figure = _figure(10.5, 4.8)
    panels = figure.subplots(1, 2, sharey=True)
    explained = "1 - predicted Dice" if effect == "lowers" else "predicted Dice"
    titles = ("deletion: low is faithful", "insertion: high is faithful")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for i, (name, pair) in enumerate(curves.items()):
            mean = np.asarray(pair[place]).mean(axis=0)
            share = np.linspace(0, 100, len(mean))
            plain = name == "random"
            colour, line = ("black", "--") if plain else (PALETTE[i % 6], "-")
            axes.plot(share, mean, line, marker="" if plain else MARKERS[i % 7], color=colour, lw=1.8, ms=5, label=name)
        axes.set_title(title, fontsize=STYLE["title"])
        axes.set_xlabel("pixels taken away (%)" if place == 0 else "pixels put back (%)", fontsize=STYLE["label"])
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=STYLE["tick"])
    panels[0].set_ylabel(f"{explained}, mean", fontsize=STYLE["label"])
    panels[1].legend(fontsize=STYLE["text"])
    return figure


def importance(table: pd.DataFrame) -> Figure:
    """What is lost of Spearman, and what is added to the MAE, when an input is taken from another record."""
    table = table[table["kind"] != ""]
    names = list(dict.fromkeys(table["taken_away"]))
    figure = _figure(12.5, 1.7 + 0.36 * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"spearman_loss": "loss of Spearman", "mae_rise": "rise of MAE (Dice)"}
    for axes, (column, label) in zip(panels, labels.items(), strict=True):
        _dots(axes, table, names, "taken_away", column, "subset")
        axes.axvline(0, color="0.25", ls="--", lw=1.2)
        axes.set_xlabel(label, fontsize=STYLE["label"])
    figure.suptitle("An input is taken from another record ('only': all the others are)", fontsize=STYLE["title"])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=STYLE["text"])
    return figure


def ood(table: pd.DataFrame) -> Figure:
    """AUROC of each distance for each kind of strange image, with its interval."""
    kinds = list(dict.fromkeys(table["images"]))
    figure = _figure(8, 1.9 + 0.5 * len(kinds))
    axes = figure.subplots()
    _dots(axes, table, kinds, "images", "auroc", "distance")
    axes.axvline(0.5, color="0.25", ls="--", lw=1.2)
    axes.set_xlim(min(0.4, _lowest(table, "auroc") - 0.03), 1.02)
    axes.set_xlabel("AUROC of telling it from in-distribution", fontsize=STYLE["label"])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=STYLE["text"])
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", w_pad=PAD)
    return figure


def _dots(axes: Axes, table: pd.DataFrame, names: Sequence[str], by: str, column: str, series: str) -> None:
    """A line per name, a dot with its interval per series, the first name on top."""
    kinds = list(dict.fromkeys(table[series]))
    for i, kind in enumerate(kinds):
        part = table[table[series] == kind].set_index(by).reindex(names)
        place = np.arange(len(names)) + GAP * (i - (len(kinds) - 1) / 2)
        colour = PALETTE[i % 7]
        axes.hlines(place, part[f"{column}_low"], part[f"{column}_high"], lw=2, alpha=0.6, color=colour)
        axes.plot(part[column], place, MARKERS[i % 7], ms=6, ls="", label=str(kind), color=colour)
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(labelsize=STYLE["tick"])
    axes.grid(alpha=0.25)


def _lowest(table: pd.DataFrame, column: str) -> float:
    low = np.nanmin(table[[column, f"{column}_low"]].to_numpy(float), initial=1.0)
    return float(low)


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
