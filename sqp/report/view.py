"""A record as a reader sees it: image with contours and uncertainty map, for pages and overlays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image, ImageColor, ImageOps
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.measure import approximate_polygon, find_contours

from sqp.core.errors import CaseError, ConfigError
from sqp.core.untrusted import open_image
from sqp.data.images import read_image
from sqp.data.masks import read_mask
from sqp.quality.bundle.sources import REFEREE, SELF
from sqp.quality.model.channels import UNREADABLE
from sqp.records import RecordSet

MASK_COLOUR, TRUTH_COLOUR = "#FFC107", "#56B4E9"  # told apart by all eyes; on a black edge, on any skin
COLOURS = "cividis"  # made for colour-blind readers, monotone in grey
ERROR_COLOURS = "magma"  # monotone in grey too, and not to be taken for the map above
SOURCES = (SELF, REFEREE)
SHOWN = (  # the first measure that the record set has, its title, and the value of the brightest colour
    ("entropy", "entropy (bits)", 1.0),
    ("mutual_information", "mutual information (bits)", 1.0),
    ("variance", "variance", 0.25),
)


@dataclass(frozen=True)
class View:
    """image uint8 `[h, w, 3]` or None (not readable), mask and truth bool, uncertainty and error in 0-1 `[h, w]`.

    `measure` names the uncertainty map, `top` is the value of its brightest colour; `error` is the quality model's
    error map. A mask that cannot be read is shown as none, and `readable` is False. Of a volume it is one slice,
    `place` says which one, and `elsewhere` whether the mask has anything in any slice.
    """

    image: np.ndarray | None
    mask: np.ndarray
    truth: np.ndarray | None
    uncertainty: np.ndarray | None
    measure: str
    top: float
    readable: bool = True
    error: np.ndarray | None = None
    place: str = ""
    elsewhere: bool = False

    def lacks(self) -> list[str]:
        """What a reader misses, in words."""
        mask = (
            ["mask not readable"] if not self.readable else ["empty mask"] * (not (self.mask.any() or self.elsewhere))
        )
        return mask + ["image not readable"] * (self.image is None)

    def outlined(self) -> np.ndarray:
        """uint8 `[h, w, 3]`: the image (grey where it is gone) with the truth's contour under the mask's."""
        image = self.image if self.image is not None else np.full((*self.mask.shape, 3), 128, np.uint8)
        canvas = image.copy()
        if self.truth is not None:
            _draw(canvas, self.truth, TRUTH_COLOUR)
        _draw(canvas, self.mask, MASK_COLOUR)
        return canvas

    def coloured(self) -> np.ndarray:
        """uint8 `[h, w, 3]`: the uncertainty map in colours; even grey where there is none."""
        if self.uncertainty is None:
            return np.full((*self.mask.shape, 3), 128, np.uint8)
        return mpl.colormaps[COLOURS](self.uncertainty, bytes=True)[..., :3]

    def wrong(self) -> np.ndarray | None:
        """uint8 `[h, w, 3]`: the error map in colours; None where the model has none."""
        return None if self.error is None else mpl.colormaps[ERROR_COLOURS](self.error, bytes=True)[..., :3]


def open_sets(table: pd.DataFrame) -> dict[str, RecordSet] | None:
    """The record sets of a predictions table by name; None where it names none, or one has been moved away."""
    if "record_set" not in table.columns:
        return None
    try:
        return {str(name): RecordSet(name) for name in table["record_set"].unique()}
    except (ConfigError, TypeError):
        return None


def image_view(records: RecordSet, row: Mapping[str, Any], side: int, error: np.ndarray | None = None) -> View:
    """The view of one record, scaled, up or down, to a long side of `side` pixels; a lost file is told, not fatal.

    `error` is its error map over the squashed frame (`quality.error_maps`).
    """
    try:
        mask, readable = records.mask(row["record_id"]), True
    except UNREADABLE:
        mask, readable = np.zeros((int(row.get("height", side)), int(row.get("width", side))), bool), False
    scale = side / max(mask.shape)
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))  # PIL: (w, h)
    name, top, uncertainty, covered = stored_map(records, row["record_id"])
    return View(
        image=_image(row.get("image_path"), size),
        mask=resized(mask, size) >= 0.5,
        truth=_truth(records, row.get("truth_path"), size),
        uncertainty=None if uncertainty is None else np.clip(resized(uncertainty / top, size, covered), 0, 1),
        measure=name,
        top=top,
        readable=readable,
        error=None if error is None else np.clip(resized(error, size), 0, 1),
    )


def outline(mask: np.ndarray) -> str:
    """The contours of a bool mask as the `d` of an SVG path in its own pixels; empty for an empty mask.

    >>> outline(np.eye(1, dtype=bool))
    'M.5 1L0 .5L.5 0L1 .5Z'
    """
    lines = [
        approximate_polygon(line - 0.5, 0.4)[:-1]  # from the padded frame, and from a pixel's centre to its corner
        for line in find_contours(np.pad(mask.astype(np.float32), 1), 0.5)
    ]
    return "".join(f"M{'L'.join(f'{_short(x)} {_short(y)}' for y, x in line)}Z" for line in lines if len(line) > 2)


def _short(number: float) -> str:
    """One decimal at most, no leading zero."""
    text = f"{max(0.0, number):.1f}".removesuffix(".0")
    return text.removeprefix("0") if text.startswith("0.") else text


def _draw(canvas: np.ndarray, mask: np.ndarray, colour: str) -> None:
    """Draw a mask's contour into the canvas, along the image's border too, with a black edge."""
    width = 1 + max(mask.shape) // 160  # 2 pixels in a thumbnail, 5 in an overlay
    line = (mask & ~binary_erosion(mask, iterations=width)) if mask.any() else mask
    canvas[binary_dilation(line)] = 0
    canvas[line] = ImageColor.getrgb(colour)


def _image(path: object, size: tuple[int, int]) -> np.ndarray | None:
    """uint8 `[h, w, 3]`, upright; None where the file is gone or broken by now (the reader is told)."""
    try:
        if isinstance(path, str) and Path(path).suffix.lower() in (".jpg", ".jpeg"):
            with open_image(path) as image:
                image.draft("RGB", size)  # decoded at a fraction of its size: several times as fast
                upright = ImageOps.exif_transpose(image).convert("RGB")
        else:
            upright = Image.fromarray(read_image(str(path)))
    except (CaseError, OSError):
        return None
    return np.asarray(upright.resize(size, Image.Resampling.BILINEAR))


def _truth(records: RecordSet, paths: object, size: tuple[int, int]) -> np.ndarray | None:
    """bool `[h, w]`: the first rater's mask; None where there is none, or its file is gone or broken."""
    if not isinstance(paths, Sequence | np.ndarray) or isinstance(paths, str) or not len(paths):
        return None
    try:
        return resized(read_mask(str(paths[0]), records.labels), size) >= 0.5
    except CaseError:
        return None


def stored_map(records: RecordSet, record_id: str) -> tuple[str, float, np.ndarray | None, tuple[float, float] | None]:
    """Title, top value and map on its grid of the first measure there is, the segmenter's before the referee's.

    Last come the (rows, columns) of the grid that the image takes.
    """
    for source, (name, title, top) in product(SOURCES, SHOWN):
        key = f"{source}/{name}"
        try:
            values = records.maps(record_id, [key])[key].astype(np.float32)
            covered = records.covered(record_id, key, values.shape)
        except (CaseError, ConfigError, *UNREADABLE):
            continue
        title = f"{title} of the referee" if source == REFEREE else title
        return title, top, values, covered
    return "no uncertainty map", 1.0, None, None


def resized(values: np.ndarray, size: tuple[int, int], covered: tuple[float, float] | None = None) -> np.ndarray:
    """float32 `[h, w]` of a plane, or of its first `covered` (rows, columns), bilinear, antialiased; size (w, h)."""
    image = Image.fromarray(np.nan_to_num(values.astype(np.float32)))
    rows, columns = covered or values.shape
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(0, 0, columns, rows)))
