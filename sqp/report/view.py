"""A picture of a record: image with contours, uncertainty map and error map, for pages and overlays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageColor
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.measure import find_contours

from sqp.core.errors import CaseError, ConfigError
from sqp.quality.bundle.sources import REFEREE, SELF, SUPERVISED
from sqp.quality.model.channels import UNREADABLE
from sqp.records import RecordSet
from sqp.report.drawing import coloured

MASK_COLOUR, TRUTH_COLOUR = "#FFC107", "#56B4E9"  # apart to all eyes; on a black edge, on any skin
COLOURS = "cividis"  # made for colour-blind readers, monotone in grey
ERROR_COLOURS = "magma"  # monotone in grey too, and not to be taken for the map above
ShownMap = tuple[str, float, np.ndarray | None, tuple[float, float] | None]
SOURCES = (SELF, REFEREE, SUPERVISED)
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
        return coloured(self.uncertainty, COLOURS)

    def wrong(self) -> np.ndarray | None:
        """uint8 `[h, w, 3]`: the error map in colours; None where the model has none."""
        return None if self.error is None else coloured(self.error, ERROR_COLOURS)


def outline(mask: np.ndarray) -> str:
    """The contours of a bool mask as the `d` of an SVG path in its own pixels; empty for an empty mask.

    Examples:
        >>> outline(np.eye(1, dtype=bool))
        'M.5 1L0 .5L.5 0L1 .5Z'
    """
    lines = [
        simplified(line - 0.5, 0.4)[:-1]  # from the padded frame, and from a pixel's centre to its corner
        for line in find_contours(np.pad(mask.astype(np.float32), 1), 0.5)
    ]
    return "".join(f"M{'L'.join(f'{_short(x)} {_short(y)}' for y, x in line)}Z" for line in lines if len(line) > 2)


def simplified(line: np.ndarray, tolerance: float) -> np.ndarray:
    """The points of a line `[n, 2]` without which it would move by more than `tolerance` (Douglas and Peucker, 1973).

    As `skimage.measure.approximate_polygon`, which brings scipy.signal and scipy.stats: a second to import.
    """
    kept = np.zeros(len(line), bool)
    kept[[0, -1]] = True
    parts = [(0, len(line) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        along, points = line[last] - line[first], line[first + 1 : last] - line[first]
        share = np.clip(points @ along / max(along @ along, np.finfo(float).tiny), 0, 1)
        distance = np.hypot(*(points - share[:, None] * along).T)
        if distance.max() > tolerance:
            farthest = first + 1 + int(distance.argmax())
            kept[farthest] = True
            parts += [(first, farthest), (farthest, last)]
    return line[kept]


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


def resized(values: np.ndarray, size: tuple[int, int], covered: tuple[float, float] | None = None) -> np.ndarray:
    """float32 `[h, w]` of a plane, or of its first `covered` (rows, columns), bilinear, antialiased; size (w, h)."""
    image = Image.fromarray(np.nan_to_num(values.astype(np.float32)))
    rows, columns = covered or values.shape
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(0, 0, columns, rows)))


def stored_map(records: RecordSet, record_id: str) -> ShownMap:
    """`shown_map` of a record."""

    def read(key: str) -> tuple[np.ndarray, tuple[float, float] | None]:
        values = records.maps(record_id, [key])[key].astype(np.float32)
        return values, records.covered(record_id, key, values.shape)

    return shown_map(read)


def shown_map(read: Callable[[str], tuple[np.ndarray, tuple[float, float] | None]]) -> ShownMap:
    """Title, top value and map on its grid of the first measure there is, the segmenter's before the referees'.

    Last come the (rows, columns) of the grid that the image takes.
    """
    for source, (name, title, top) in product(SOURCES, SHOWN):
        try:
            values, covered = read(f"{source}/{name}")
        except (KeyError, CaseError, ConfigError, *UNREADABLE):
            continue
        title = title if source == SELF else f"{title} of the referee"
        return title, top, values, covered
    return "no uncertainty map", 1.0, None, None
