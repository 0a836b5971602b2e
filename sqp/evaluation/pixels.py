"""Masks and maps of records against their truths, at the image's own size; kept in OUT/pixels.csv for the next run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import sha256_of, write_text
from sqp.core.frame import frame_from
from sqp.core.progress import followed
from sqp.core.tables import csv_text, read_own_csv
from sqp.data.reading import read_structure_or_mask
from sqp.metrics import OVERLAP, PIXEL_CALIBRATION
from sqp.metrics.nan_reasons import join
from sqp.metrics.segmentation import SurfaceDistances, segmentation_row
from sqp.quality.model.channels import UNREADABLE
from sqp.records import RecordSet

FILE = "pixels.csv"
KEYS = ["record_set", "record_id", "digest"]
PROBABILITY = "self/probability"
STEP = 2.0**-12  # half of float16's step below 1: a probability that is stored as 1 is known no closer
UNFRAMED = "made before records kept how their maps lie over the image: a network of stride 4 may be 2 pixels off"
WORST_SLICE = "worst_slice"
NUMBERS = (*OVERLAP, *SurfaceDistances._fields, *PIXEL_CALIBRATION, WORST_SLICE)
COLUMNS = [*NUMBERS, "unit", "note"]


class Pixels(NamedTuple):
    """mask bool `[h, w]`, truths bool `[raters, h, w]`, probability float32 `[h, w]`, or None; `note` a reservation."""

    mask: np.ndarray
    truths: np.ndarray
    probability: np.ndarray | None
    note: str = ""


def read_pixels(records: RecordSet, row: Mapping[Any, Any], probability: bool = True) -> Pixels:
    """One record at the image's size, its map bilinearly from the grid. CaseError where a file cannot be read."""
    try:
        mask = records.mask(row["record_id"])
        grid = records.maps(row["record_id"], [PROBABILITY])[PROBABILITY] if probability else None
    except ConfigError:  # a record set without this map
        grid = None
    except UNREADABLE as error:
        raise CaseError(f"record {row['record_id']} in {records.folder} cannot be read ({error})") from error
    labels = records.labels
    truths = [read_structure_or_mask(path, labels) for path in row["truth_path"]]
    shapes = {truth.shape for truth in truths} | {mask.shape}
    if len(shapes) > 1:
        raise CaseError(f"record {row['record_id']}: mask and truth differ in size ({shapes})")
    if grid is None:
        return Pixels(mask, np.stack(truths), None)
    numbers = records.frame_numbers(row["record_id"], PROBABILITY)
    try:
        at_image = _at_image(grid, mask.shape, numbers)
    except ValueError as error:
        raise CaseError(f"record {row['record_id']} in {records.folder}: {error}; generate it again") from error
    (h, w), (gh, gw) = mask.shape[-2:], grid.shape[-2:]
    doubtful = numbers is None and gh * w != gw * h  # else the image fills its grid, whatever the stride
    return Pixels(mask, np.stack(truths), at_image, UNFRAMED if doubtful else "")


def _at_image(grid: np.ndarray, shape: tuple[int, ...], numbers: Sequence[int] | None) -> np.ndarray:
    """A map on the grid `[*grid]` -> float32 `[*shape]`, as masks are made from it; kept `STEP` from 0 and 1."""
    import torch

    frame = frame_from(numbers, shape, grid.shape)
    return frame.grid_to_image(torch.from_numpy(grid.astype(np.float32))).clamp(STEP, 1 - STEP).numpy()


def measured(rows: pd.DataFrame, out: Path, probability: bool = True, surface: bool = True) -> pd.DataFrame:
    """`segmentation_row` of each row, on its index: mean over the truths, NaN and a note where nothing can be read.

    What was measured before and has the same files (by hash) is taken from OUT/pixels.csv; what is new is added to it.
    `probability`: read the maps, too; `surface`: measure distances. Rows need record_set, record_id and truth_path.
    """
    path = out / FILE
    before = _kept(path)
    results: dict[Any, dict[Any, Any]] = {}
    opened = cache(RecordSet)
    known = len(before)
    for index, row in followed(rows.iterrows(), len(rows), "measure", "record"):
        try:
            records = opened(str(row.get("record_set", "")))
            key = (str(records.folder), str(row["record_id"]), _digest(records, row, probability, surface))
            if key not in before:
                numbers = _row(read_pixels(records, row, probability), row, surface)
                before[key] = dict(zip(KEYS, key, strict=True)) | numbers
            results[index] = before[key]
        except (CaseError, ConfigError, *UNREADABLE) as error:
            results[index] = {"note": f"cannot be measured: {error}"}
    if len(before) > known:
        out.mkdir(parents=True, exist_ok=True)
        write_text(path, csv_text(pd.DataFrame(list(before.values()))))
    table = pd.DataFrame.from_dict(results, orient="index").reindex(index=rows.index, columns=COLUMNS)
    return table.assign(note=table["note"].fillna("").astype(str))


def _kept(path: Path) -> dict[tuple[str, ...], dict[Any, Any]]:
    """What was measured before, by its keys; nothing where the file is not there or is of another making."""
    try:
        old = read_own_csv(path, "measure again", dtype=str, keep_default_na=False)
        for name in NUMBERS:
            old[name] = [float(text or "nan") for text in old[name]]  # exact, as no option of read_csv is everywhere
    except (ConfigError, OSError, ValueError, KeyError):
        return {}
    if list(old.columns) != [*KEYS, *COLUMNS]:
        return {}
    return {tuple(row[name] for name in KEYS): row for row in old.to_dict("records")}


def _row(pixels: Pixels, row: Mapping[Any, Any], surface: bool) -> dict[str, float | str]:
    """The numbers of one record, averaged over its truths."""
    spacing = list(row.get("spacing", ()))
    mask, map_ = pixels.mask, pixels.probability
    each = [segmentation_row(mask, truth, map_, spacing, surface=surface) for truth in pixels.truths]
    mean = {name: float(np.mean([r.get(name, np.nan) for r in each])) for name in NUMBERS}
    return mean | {"unit": each[0]["unit"], "note": join(pixels.note, *(str(r["note"]) for r in each))}


def _digest(records: RecordSet, row: Mapping[Any, Any], probability: bool, surface: bool) -> str:
    """What the numbers depend on, in 16 letters: the bytes of mask, truths and map, its frame, and the spacing."""
    files = [records.mask_file(row["record_id"]), *row["truth_path"]]
    files += [records.folder / "maps" / f"{row['record_id']}.npz"] * probability
    frame = [records.frame_numbers(row["record_id"], PROBABILITY)] * probability
    parts = [probability, surface, list(row.get("spacing", ())), *frame, *map(sha256_of, files)]
    return hashlib.sha256(str(parts).encode()).hexdigest()[:16]
