"""The embedding of the records, still and as one HTML file: hover shows a case, a lasso lists ids. No network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sqp.core.files import write_text
from sqp.core.tables import evenly_spaced
from sqp.report.figures import MARKERS, PALETTE, STYLE
from sqp.report.html import asset, document, picture
from sqp.report.predictions import open_sets
from sqp.report.scan import load_view

SIDE = 150  # pixels of a picture's long side
STOPS = 9  # colours of a ramp
ON_DARK = "#8a8a8a"  # black of the palette, which would vanish on a dark page


def write_embedding_page(
    path: str | Path,
    points: pd.DataFrame,
    spaces: Mapping[str, tuple[str, str, str]],
    *,
    title: str,
    notes: str = "",
    pictures: int = 500,
) -> Path:
    """Write the page; returns its path.

    `points`: a row per record with record_id, the columns of `NUMBERS` and `NAMES` that are known, and record_set where
    pictures are wanted; `spaces`: name -> (title, column of x, column of y). `pictures` is the most records that are
    shown as a picture, evenly chosen.
    """
    data = {
        "ids": points["record_id"].astype(str).tolist(),
        "spaces": {
            name: {"title": heading, "points": points[[x, y]].round(4).to_numpy(float).tolist()}
            for name, (heading, x, y) in spaces.items()
        },
        "fields": fields(points),
        "pictures": _pictures(points, pictures),
    }
    body = Template(asset("embedding.html")).substitute(
        title=escape(title),
        notes=escape(notes),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    )
    write_text(Path(path), document(title, asset("embedding.css"), body, asset("embedding.js")))
    return Path(path)


def fields(points: pd.DataFrame) -> list[dict[str, Any]]:
    """What points can be coloured by: numbers with a ramp and limits, names with a colour each; NaN is null."""
    result: list[dict[str, Any]] = []
    for name, (title, colours, limits) in NUMBERS.items():
        if name not in points or not points[name].notna().any():
            continue
        values = points[name].to_numpy(float)
        low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
        if name == "error":
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        ramp = (mpl.colormaps[colours](np.linspace(0, 1, STOPS))[:, :3] * 255).round().astype(int).tolist()
        shown = [round(v, 4) if np.isfinite(v) else None for v in values.tolist()]
        result.append({"title": title, "values": shown, "colours": ramp, "low": low, "high": high})
    for name, title in NAMES.items():
        if name in points:
            codes, names = pd.factorize(short_names(points[name]))
            shades = [ON_DARK if n == OTHER else _shade(i) for i, n in enumerate(names)]
            result.append({"title": title, "values": codes.tolist(), "names": list(names), "colours": shades})
    return result


def _shade(i: int) -> str:
    colour = to_hex(PALETTE[i % len(PALETTE)])
    return ON_DARK if colour == "#000000" else colour


def _pictures(points: pd.DataFrame, most: int) -> dict[int, str]:
    """Data URIs by row: the image with the contours of truth and mask."""
    sets = open_sets(points)
    if not sets or most < 1:
        return {}
    rows = evenly_spaced(len(points), most)
    records = points.iloc[rows].to_dict("records")
    return {
        int(i): picture(load_view(sets[row["record_set"]], row, SIDE).outlined())  # type: ignore[index]
        for i, row in zip(rows, records, strict=True)
    }


NUMBERS = {  # column -> title, colours, limits (None: of the data, symmetric for the error)
    "dice": ("true Dice", "cividis", (0.0, 1.0)),
    "predicted_dice": ("predicted Dice", "cividis", (0.0, 1.0)),
    "error": ("predicted - true Dice", "PuOr", None),
    "area": ("area of the mask", "cividis", None),
}


NAMES = {"variant": "variant", "diagnosis": "diagnosis", "segmenter": "segmenter", "prompter": "prompter"}


MOST_NAMES = 6


LONGEST = 22


OTHER = "other"


def embedding_figure(points: pd.DataFrame, x: str, y: str, title: str) -> Figure:
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

    Examples:
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
