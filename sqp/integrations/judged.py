"""What every writer needs of a prediction: the image's name, the mask, and what is said of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError
from sqp.core.volume import Geometry
from sqp.records import RecordSet


@dataclass(frozen=True)
class Judged:
    """One prediction. `image` is the file's name below the folder of all images, `group` 0, 1 … tells images apart.

    `mask` bool `[h, w]`, of a volume `[d, h, w]` with its `geometry`. `attributes`: predicted_dice, low, high (None
    where there is none), verdict, reason, record_id.
    """

    image: str
    group: int
    mask: np.ndarray
    attributes: dict[str, Any]
    geometry: Geometry | None = None

    @property
    def score(self) -> float | None:
        """The predicted Dice; None where there is none."""
        return self.attributes["predicted_dice"]


def judged_rows(table: pd.DataFrame) -> Iterator[Judged]:
    """The predictions of a table one by one, image by image; a record whose mask cannot be read is left out.

    Args:
        table: predictions with record_set, record_id, image_path, predicted_dice, low, high, verdict and reason.

    Yields:
        A prediction with its mask, read when it is its turn.
    """
    paths = table["image_path"].astype(str)
    names = short_names(list(dict.fromkeys(paths)))
    numbers = {path: number for number, path in enumerate(names)}
    sets = {name: RecordSet(name) for name in table["record_set"].unique()}
    order = np.argsort([numbers[path] for path in paths], kind="stable")
    for row in table.iloc[order].to_dict("records"):
        records, name = sets[row["record_set"]], str(row["record_id"])
        try:
            mask, geometry = records.volume_mask(name) if records.volumes else (records.mask(name), None)
        except (CaseError, OSError, ValueError):  # its row says unreadable, and why
            continue
        attributes: dict[str, Any] = {key: number(row[key]) for key in ("predicted_dice", "low", "high")}
        attributes |= {"verdict": str(row["verdict"]), "reason": str(row["reason"] or ""), "record_id": name}
        path = str(row["image_path"])
        yield Judged(names[path], numbers[path], mask, attributes, geometry)


def short_names(paths: list[str]) -> dict[str, str]:
    """Path -> its name below the folder that all share.

    Examples:
        >>> short_names(["/in/a/1.png", "/in/b/1.png"])
        {'/in/a/1.png': 'a/1.png', '/in/b/1.png': 'b/1.png'}
        >>> short_names(["/in/1.png"])
        {'/in/1.png': '1.png'}
    """
    top = os.path.commonpath([str(Path(path).parent) for path in paths])
    return {path: Path(os.path.relpath(path, top)).as_posix() for path in paths}


def number(value: Any) -> float | None:
    """A finite number rounded to six places, else None: JSON has no NaN.

    Examples:
        >>> number(0.12345678), number(float("nan"))
        (0.123457, None)
    """
    return round(float(value), 6) if value is not None and math.isfinite(value) else None
