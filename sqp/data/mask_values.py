"""What the pixels of a mask file hold: how many values, whether these fill areas, whether it is a photograph.

Smoothed and compressed masks hold many values as well; `areas` tells them from label maps by where the values lie. Of a
photograph, or a map of probabilities, whole areas are neither dark nor bright (`between`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, maximum_filter, minimum_filter

FEW = 16  # values: so many or fewer are looked at one by one
MOST_FLAT = 0.002  # of the pixels of a smoothed mask may lie in even areas between dark and bright
OFF = 0.1  # of the distance of two colours: further from the line between them lies a third
BLACK = 25.5


@dataclass(frozen=True, eq=False)
class Values:
    """`codes` `[h, w]` are what `--label` names: grey values, the indices of a palette, or 0xRRGGBB.

    `plane` `[h, w]` is how bright the pixels are, of colours how near to the foreground's (0-255). `off`: pixels of a
    colour that lies not between those two. `coloured`: codes are colours. `lossy`: of a format that never keeps them.
    `beside_white`: the code of a colour that shares the file with white, so that either may be the foreground.
    """

    codes: np.ndarray
    plane: np.ndarray
    off: np.ndarray | None = None
    coloured: bool = False
    lossy: bool = False
    beside_white: int | None = None

    @cached_property
    def amid(self) -> np.ndarray:
        """bool `[h, w]`: pixels whose eight neighbours are all equal to them."""
        codes = self.codes
        inner = np.zeros(codes.shape, bool)
        if min(codes.shape) > 2:
            row = (codes[:, 1:-1] == codes[:, :-2]) & (codes[:, 1:-1] == codes[:, 2:])
            same = (codes[1:-1] == codes[:-2]) & (codes[1:-1] == codes[2:])
            inner[1:-1, 1:-1] = row[1:-1] & row[:-2] & row[2:] & same[:, 1:-1]
        return inner

    @cached_property
    def blurred(self) -> bool:
        """Whether more than two values are no longer as drawn: by the format, or since most of many have no area."""
        if len(self.found) <= FEW:
            return self.lossy and len(self.found) > 2
        inside = len(np.unique(self.codes[self.amid]))
        return self.lossy or inside <= 2 or 2 * inside < len(self.found)

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """The values, ascending, and how many pixels have each."""
        if self.codes.dtype == np.uint8:
            counts = np.bincount(self.codes.ravel(), minlength=256)
            return np.flatnonzero(counts), counts[counts > 0]
        return np.unique(self.codes, return_counts=True)

    @property
    def found(self) -> np.ndarray:
        """The values, ascending."""
        return self.counts[0]

    @property
    def few(self) -> int:
        """The number of values, where it is at most `FEW`, else 0."""
        return len(self.found) if len(self.found) <= FEW else 0

    def told(self, most: int = 8) -> str:
        """The values and their shares, as they are typed after --label."""
        found, counts = self.counts
        shares = counts / counts.sum()
        first = sorted(np.argsort(-counts, kind="stable")[:most])
        parts = [f"{said(found[i], self.coloured)} ({shares[i]:.2%})" for i in first]
        return ", ".join(parts) + (f" and {len(found) - most} more" if len(found) > most else "")


def said(code: float, coloured: bool = False) -> str:
    """A value as it is typed.

    Examples:
        >>> said(2), said(255 * 65536, True)
        ('2', '0xff0000')
    """
    return f"0x{int(code):06x}" if coloured else f"{code:g}"


LOSSY = ("JPEG", "MPO")


def of_image(image: Image.Image) -> Values:
    """The values of a mask file; transparent pixels are the background."""
    values = _of_pixels(image)
    return replace(values, lossy=True) if image.format in LOSSY else values


def _of_pixels(image: Image.Image) -> Values:
    if image.mode == "1":
        grey = np.asarray(image).astype(np.uint8)
        return Values(grey, grey)
    if image.mode == "I" or image.mode == "F" or image.mode.startswith("I;"):
        deep = np.asarray(image)
        return Values(deep, deep)
    index = np.asarray(image) if image.mode == "P" else None
    see_through = None
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        rgb, alpha = rgba[..., :3], rgba[..., 3]
        if alpha.size and (alpha >= 128).any() and (alpha < 128).any():
            see_through = alpha < 128
            if np.unique(_packed(rgb[~see_through])).size == 1:
                return Values(np.where(see_through, 0, 255).astype(np.uint8), alpha.copy())
            rgb = np.where(see_through[..., None], 0, rgb).astype(np.uint8)
    elif image.mode in ("L", "LA"):
        grey = np.asarray(image.convert("L"))
        return Values(grey, grey)
    else:
        rgb = np.asarray(image.convert("RGB"))
    if rgb.size and (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all():
        grey = np.ascontiguousarray(rgb[..., 0])
        return Values(grey if index is None else index, grey)
    codes = _packed(rgb)
    plane, off, beside_white = _towards_foreground(rgb, codes)
    return Values(codes if index is None else index, plane, off, index is None, beside_white=beside_white)


def areas(values: Values) -> bool:
    """Whether a file of more than two values has areas of a third, so that it is no smoothed mask.

    Of a few values each is looked at: one between the others is an edge's where most of its pixels touch a darker and a
    brighter one, and one close to the least or the greatest is noise where few of its pixels lie amid equal ones. Of
    many values those that have areas are counted, and even areas in between (`flat_between`).
    """
    plane, codes, found, amid = values.plane, values.codes, values.found, values.amid
    if len(found) > FEW:
        off = values.off is not None and bool((values.off & amid).mean() > MOST_FLAT)
        top = float(plane.max(initial=0))
        even = flat_between(plane, top) > MOST_FLAT or has_level_between(plane, top)
        inside = len(np.unique(codes[amid]))
        return off or even or (inside > 2 and 2 * inside >= len(found))
    if values.off is not None and values.off.any():
        return True
    low, high = float(plane.min()), float(plane.max())
    margin = EDGE * (high - low)
    edge = (minimum_filter(plane, 3) < plane) & (plane < maximum_filter(plane, 3))
    for code in found:
        here = codes == code
        value = float(plane[here][0])
        if value in (low, high):
            continue
        ending = not low + margin < value < high - margin
        if ending and high - value <= 2 and low != high - 2:  # white, as JPEG rounds it
            continue
        share = amid[here].mean() if ending else 1 - edge[here].mean()
        if share > 0.5:
            return True
    return False


def _packed(rgb: np.ndarray) -> np.ndarray:
    """uint8 `[..., 3]` -> 0xRRGGBB."""
    wide = rgb.astype(np.int64)
    return wide[..., 0] * 0x10000 + wide[..., 1] * 0x100 + wide[..., 2]


def _towards_foreground(rgb: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
    """How far each pixel lies from the background's colour to the foreground's (uint8), which lie off that line, and
    the darker colour where it is no grey and the brighter one is white.

    The two are the most frequent colour and the most frequent of those far from it. The foreground is the one that is
    not black, else the brighter one.
    """
    found, counts = np.unique(codes, return_counts=True)
    colours = np.stack([found >> 16, (found >> 8) & 255, found & 255], axis=1).astype(np.float32)
    first = colours[counts.argmax()]
    away = np.linalg.norm(colours - first, axis=1)
    second = colours[np.where(away >= away.max() / 2, counts, 0).argmax()]
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    dark, bright = sorted((first, second), key=lambda c: (float(c.max()) > BLACK, float(c @ weights)))
    line = bright - dark
    length = float(line @ line) or 1.0
    along = np.clip((colours - dark) @ line / length, 0, 1)
    beside = np.linalg.norm(colours - dark - along[:, None] * line, axis=1)
    where = np.searchsorted(found, codes)
    red, green, blue = (int(part) for part in dark)
    doubtful = bright.min() > 255 - BLACK and dark.max() > BLACK and np.ptp(dark) > BLACK
    drawn = red << 16 | green << 8 | blue if doubtful else None
    return np.round(255 * along).astype(np.uint8)[where], (beside > OFF * length**0.5)[where], drawn


EDGE = 0.1  # of the range: nearer to the least or the greatest value is dark or bright
MOST = 0.08  # of the pixels of a mask may lie amid others in between
LEAST_RANGE = 0.25  # of what the file can hold; below it is the noise of a compressed empty or full mask
EVEN = 0.01  # of the range: what one area of JPEG varies
SIDE = 256  # pixels that are looked at along the shorter side


def between(plane: np.ndarray, full: float) -> float:
    """One channel `[h, w]` in 0 to `full` -> share of pixels that, with all eight around them, are in between.

    In between is further than `EDGE` of the plane's own range from its least and its greatest value. The grey edges of
    a smoothed or a JPEG-compressed mask are thin, so hardly a pixel lies amid others: at most 0.011 in the ISIC 2018
    and HAM10000 masks at 64 to 512 pixels and quality 20 to 90; their photographs have 0.11 or more in some colour.

    Examples:
        >>> between(np.array([[0, 90, 255]] * 3), 255), between(np.arange(256).reshape(16, 16), 255) > MOST
        (0.0, True)
    """
    low, high = float(plane.min()), float(plane.max())
    if high - low < LEAST_RANGE * full:
        return 0.0
    step = max(1, min(plane.shape) // SIDE)
    margin = EDGE * (high - low)
    seen = plane[::step, ::step]
    inside = (seen > low + margin) & (seen < high - margin)
    return float(binary_erosion(inside, np.ones((3, 3), bool), border_value=1).mean())


def flat_between(plane: np.ndarray, full: float, edge: float = EDGE) -> float:
    """One channel `[h, w]` in 0 to `full` -> share of pixels in even areas in between.

    Even: no pixel of the 3 x 3 differs by more than `EVEN`. A third value has such areas, even after JPEG; edges that
    were smoothed have none.
    """
    low, high = float(plane.min()), float(plane.max())
    if high - low < LEAST_RANGE * full or min(plane.shape) < 3:
        return 0.0
    step = max(1, min(plane.shape) // (2 * SIDE))
    seen = plane[::step, ::step].astype(np.float32)
    even = maximum_filter(seen, 3) - minimum_filter(seen, 3) <= EVEN * (high - low)
    inside = (seen > low + edge * (high - low)) & (seen < high - edge * (high - low))
    return float((inside & even).mean())


THIRD = (0.2, 0.8)  # of the plane's range: where a third level is looked for
LEVEL = 12  # hundredths of the range that one level fills after JPEG
GATHERED, UNEVEN = 0.55, 0.15


def has_level_between(plane: np.ndarray, full: float) -> bool:
    """Whether the pixels of one channel `[h, w]` that are in between gather at a level, however few they are.

    True where more than `GATHERED` of them lie within `LEVEL` of each other, and some (at least three, and a
    hundredth) amid others that differ by at most `UNEVEN`. Of 4,780 two-level masks (ISIC 2018, HAM10000; 64 to 512
    pixels; sharp, smoothed and enlarged four times; JPEG of quality 20 to 95) none is so; of those with a grey ring of
    3 pixels or a grey core 96 % (quality 50) and 99 % (90) are. A ring of 1 pixel cannot be told from an edge.
    """
    low, high = float(plane.min(initial=0)), float(plane.max(initial=0))
    if high - low < LEAST_RANGE * full or min(plane.shape) < 3:
        return False
    step = max(1, min(plane.shape) // (4 * SIDE))
    seen = (plane[::step, ::step].astype(np.float32) - low) / (high - low)
    inside = (seen > THIRD[0]) & (seen < THIRD[1])
    counts, _ = np.histogram(seen[inside], round(100 * (THIRD[1] - THIRD[0])), THIRD)
    if np.convolve(counts, np.ones(LEVEL), "valid").max() <= GATHERED * counts.sum():
        return False
    even = maximum_filter(seen, 3) - minimum_filter(seen, 3) <= UNEVEN
    return int((inside & even).sum()) >= max(3, 0.01 * counts.sum())


BINARY = (255, 65535)  # alone beside 0 one of these is what tools write for a mask, not the number of a label


def only_binary(found: Iterable[float]) -> bool:
    """Are 0 and 255 (or 65535), or that alone, all the values: a mask of one structure, also beside label maps?"""
    return {*found} - {0} in [{value} for value in BINARY]


GREY_RANGES = (255, 4095, 65535)  # 8 bits, 12 bits in a 16-bit file, 16 bits


def range_of(top: float) -> int | None:
    """The least range of a mask's values that holds `top`."""
    return next((r for r in (1, *GREY_RANGES) if top <= r), None)
