"""The embedding as one self-contained HTML file: hover shows a case, a lasso lists ids. No network."""

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
from matplotlib.colors import to_hex

from sqp.core.files import write_text
from sqp.report.explain_figures import NAMES, NUMBERS, OTHER, short_names
from sqp.report.figures import PALETTE
from sqp.report.inline import asset, document, picture
from sqp.report.view import open_sets
from sqp.report.volume_view import load_view

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
    found: list[dict[str, Any]] = []
    for name, (title, colours, limits) in NUMBERS.items():
        if name not in points or not points[name].notna().any():
            continue
        values = points[name].to_numpy(float)
        low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
        if name == "error":
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        ramp = (mpl.colormaps[colours](np.linspace(0, 1, STOPS))[:, :3] * 255).round().astype(int).tolist()
        told = [round(v, 4) if np.isfinite(v) else None for v in values.tolist()]
        found.append({"title": title, "values": told, "colours": ramp, "low": low, "high": high})
    for name, title in NAMES.items():
        if name in points:
            codes, names = pd.factorize(short_names(points[name]))
            shades = [ON_DARK if n == OTHER else _shade(i) for i, n in enumerate(names)]
            found.append({"title": title, "values": codes.tolist(), "names": list(names), "colours": shades})
    return found


def _shade(i: int) -> str:
    colour = to_hex(PALETTE[i % len(PALETTE)])
    return ON_DARK if colour == "#000000" else colour


def _pictures(points: pd.DataFrame, most: int) -> dict[int, str]:
    """Data URIs by row: the image with the contours of truth and mask."""
    sets = open_sets(points)
    if not sets or most < 1:
        return {}
    rows = np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).astype(int))
    records = points.iloc[rows].to_dict("records")
    return {
        int(i): picture(load_view(sets[row["record_set"]], row, SIDE).outlined())  # type: ignore[index]
        for i, row in zip(rows, records, strict=True)
    }
