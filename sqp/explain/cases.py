"""The records that `explain` draws: the best, the worst and the most wrong, one of an image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.config.explain import ExplainConfig
from sqp.core.ownership import remove_written
from sqp.explain.cams import Layer
from sqp.explain.data import Material
from sqp.explain.localisation import error_kinds
from sqp.explain.maps import config_cams, error_maps, input_maps
from sqp.records import RecordSet
from sqp.records.schema import image_keys
from sqp.report.explain_figures import case_figure, contact_sheet
from sqp.report.figures import save
from sqp.report.scan import Cut, cuts_of
from sqp.report.view import View

NEEDED = 1e-9
SHEET, ERROR_MAP = "contact_sheet", "error_map"


def choose_cases(rows: pd.DataFrame, most: int) -> dict[str, list[int]]:
    """Heading -> places of the records: by true Dice where it is known, else by the predicted one."""
    dice = rows["dice"].to_numpy(float)
    predicted = rows["predicted_dice"].to_numpy(float)
    known = np.isfinite(dice).any()
    order = dice if known else predicted
    word = "true" if known else "predicted"
    chosen = {
        f"best: highest {word} Dice": _first(rows, np.argsort(-order, kind="stable"), order, most),
        f"worst: lowest {word} Dice": _first(rows, np.argsort(order, kind="stable"), order, most),
    }
    if known:
        wrong = np.abs(predicted - dice)
        chosen["most wrong: predicted furthest from true"] = _first(
            rows, np.argsort(-np.nan_to_num(wrong, nan=-1.0), kind="stable"), wrong, most
        )
    return {heading: places for heading, places in chosen.items() if places}


def draw_cases(
    config: ExplainConfig, material: Material, layers: dict[str, Layer], layer: Layer | None
) -> list[tuple[str, Path]]:
    """OUT/contact_sheet.png, one of each further map, OUT/cases/RECORD.png; those of an earlier run are removed.

    The sheets with their captions; none without cases.
    """
    folder = config.out / "cases"
    remove_written(lambda path: path.parent == folder or path.name.startswith(SHEET))
    chosen = choose_cases(material.rows, config.cases)
    places = np.array(sorted({place for places_of in chosen.values() for place in places_of}), int)
    if not len(places):
        return []
    maps, groups = _maps(config, material, layers, layer, places)
    records = material.rows.to_dict("records")
    views: dict[int, View] = {}
    cuts: dict[int, Cut] = {}
    for i, place in enumerate(places.tolist()):
        leading = maps.get(ERROR_MAP, next(iter(maps.values())))[i]  # a CAM's highest cell may lie far from the mask
        views[place], cuts[place] = cuts_of(RecordSet(records[place]["record_set"]), records[place], leading)
        kinds = error_kinds(material.masks[place], material.truths[place]) if material.known[place] else None
        figure = case_figure(
            views[place],
            records[place],
            {name: cuts[place](values[i]) for name, values in maps.items()},
            {name: cuts[place](values[i]) for name, values in groups.items()},
            None if kinds is None else cuts[place](kinds),
            {name: float(np.abs(values[i]).sum()) for name, values in groups.items()},
        )
        save(figure, folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', str(records[place]['record_id']))}.png", dpi=90)
    index = {place: i for i, place in enumerate(places.tolist())}
    drawn: list[tuple[str, Path]] = []
    for shown, values in maps.items():
        sheet: dict[str, list[tuple[View, np.ndarray, dict[Any, Any]]]] = {
            heading: [(views[place], cuts[place](values[index[place]]), records[place]) for place in places_of]
            for heading, places_of in chosen.items()
        }
        name = f"{SHEET}_{shown}" if drawn else SHEET
        what = _told(config, layer, shown)
        path = save(contact_sheet(sheet, what), config.out / f"{name}.png", dpi=90)  # type: ignore[arg-type]
        drawn.append((f"Best, worst and most wrong records. {what}", path))
    return drawn


def _told(config: ExplainConfig, layer: Layer | None, shown: str) -> str:
    """What a sheet shows."""
    if shown == ERROR_MAP:
        return "error_map: where the model expects the mask to be wrong"
    at = f" at {layer.name}" if layer and shown in config.cams else ""
    return f"{shown}{at}: what {config.effect} the predicted Dice"


def _maps(
    config: ExplainConfig, material: Material, layers: dict[str, Layer], layer: Layer | None, places: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Maps in 0-1 of the chosen records, the CAMs first, and their input groups' maps."""
    model = material.bundle.model.to(config.device)
    parts: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    for start in range(0, len(places), config.batch_size):
        index = places[start : start + config.batch_size]
        planes, scores = material.batch(index, config.device)
        maps = config_cams(config, model, planes, scores, layer)
        if model.spec.error_map:
            maps[ERROR_MAP] = error_maps(model, planes, scores)
        groups = input_maps(config, material, layers, index)
        if not maps:  # nothing but attributions: their absolute sum stands in
            total = np.abs(np.stack(list(groups.values()))).sum(axis=0)
            space = tuple(range(1, total.ndim))
            maps[config.attribution] = total / np.maximum(total.max(axis=space, keepdims=True), NEEDED)
        parts.append((maps, groups))
    joined = [
        {name: np.concatenate([part[side][name] for part in parts]) for name in parts[0][side]} for side in (0, 1)
    ]
    return joined[0], joined[1]


def _first(rows: pd.DataFrame, order: np.ndarray, values: np.ndarray, most: int) -> list[int]:
    """The first places of an order whose value is known, one of an image."""
    images = image_keys(rows)
    seen: set[object] = set()
    first: list[int] = []
    for place in order.tolist():
        if len(first) < most and np.isfinite(values[place]) and images[place] not in seen:
            seen.add(images[place])
            first.append(place)
    return first
