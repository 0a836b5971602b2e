"""The cases of the HTML page as data: what a card and the opened case show, pictures and contours included."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sqp.records import RecordSet
from sqp.report.columns import prompter_label, shown_names, worst_first
from sqp.report.inline import data_uri
from sqp.report.predictions import warnings
from sqp.report.view import View, open_sets, outline
from sqp.report.volume_view import load_scan, load_view

SIDE, MAP_SIDE = 256, 128  # pixels of the long side of the image, and of a map, which is smooth
QUALITY = 78  # of WebP
SLICES, ALL_SLICES, FEW_SLICES = 24, 2400, 3  # most of a volume, and about most in a page; but never fewer than so many
THREADS = 2
ErrorMaps = Callable[[pd.DataFrame], Mapping[tuple[str, str], np.ndarray]]
"""Rows of a predictions table -> error maps by (record_set, record_id), as `quality.error_maps` makes them."""


def chosen(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of the gallery, worst first: with more than `most` half of them the worst, the rest evenly spread."""
    table = worst_first(table)
    if len(table) <= most:
        return table
    worst = most - most // 2
    spread = np.linspace(worst, len(table) - 1, most - worst).round().astype(int)
    return table.iloc[[*range(worst), *spread]]


def gallery_cases(rows: pd.DataFrame, error_maps: ErrorMaps | None = None) -> list[dict[str, Any]] | None:
    """A mapping a row, in order, ready for JSON; None where a record set is not named, or not there any more."""
    sets = open_sets(rows)
    if sets is None:
        return None
    wrong = error_maps(rows) if error_maps is not None and len(rows) else {}
    slices = max(FEW_SLICES, min(SLICES, ALL_SLICES // max(1, len(rows))))
    todo = [
        (sets[row["record_set"]], row, wrong.get((row["record_set"], row["record_id"])), slices)
        for row in rows.assign(shown=shown_names(rows)).to_dict("records")
    ]
    with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes outside of Python's lock
        return list(pool.map(lambda job: _case(*job), todo))


def as_json(cases: list[dict[str, Any]]) -> str:
    """JSON that is safe inside of a script element."""
    return json.dumps(cases, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _case(records: RecordSet, row: Mapping[str, Any], error: np.ndarray | None, slices: int) -> dict[str, Any]:
    """Of a volume `slices` holds the pictures of at most so many of its slices, `slice` is the first one shown."""
    if records.volumes:
        scan = load_scan(records, row, error)
        places = scan.chosen(slices)
        views = [scan.slice(z, SIDE) for z in places]
        first = places.index(scan.key)
        drawn: dict[str, Any] = {"slices": [{"place": view.place, **_drawn(view)} for view in views], "slice": first}
        view = views[first]
    else:
        view = load_view(records, row, SIDE, error)
        drawn = _drawn(view)
    numbers = {name: _number(row.get(name, math.nan)) for name in ("predicted_dice", "low", "high", "dice")}
    return {
        "id": str(row["record_id"]),
        "image_id": str(row["image_id"]),
        "name": str(row["shown"]),
        "verdict": str(row["verdict"]),
        **numbers,
        "kind": str(row.get("variant", "")),
        "remarks": list(dict.fromkeys([*warnings(row), *view.lacks()])),
        "facts": _facts(row),
        **drawn,
    }


def _drawn(view: View) -> dict[str, Any]:
    """The pictures and contours of a view."""
    height, width = view.mask.shape
    wrong = view.wrong()
    return {
        "width": width,
        "height": height,
        "image": None if view.image is None else _webp(view.image),
        "mask": outline(view.mask),
        "truth": None if view.truth is None else outline(view.truth),
        "measure": view.measure,
        "uncertainty": None if view.uncertainty is None else _webp(view.coloured(), MAP_SIDE),
        "error": None if wrong is None else _webp(wrong, MAP_SIDE),
    }


def _facts(row: Mapping[str, Any]) -> list[str]:
    """What the record is, in a few words; what is unknown stays away."""
    facts = [str(row.get(name, "")) for name in ("dataset", "segmenter", "diagnosis")]
    label = prompter_label(row.get("prompter", ""))
    return [fact for fact in (*facts, label) if fact and fact != "nan"]


def _number(value: Any) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _webp(pixels: np.ndarray, side: int | None = None) -> str:
    """uint8 `[h, w, 3]` as a data address, at most `side` pixels long."""
    image = Image.fromarray(pixels)
    if side is not None:
        image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY, method=2)
    return data_uri(buffer.getvalue(), "webp")
