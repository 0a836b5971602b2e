"""Which pixels of a mask file are the structure: two values, or one of several that `--label` chooses.

A file of three or more values (a void border, optic disc and cup, a trimap, a class a colour) is never cut at half its
range: it is refused with its values and their shares, unless labels choose among them. Smoothed and compressed masks
hold many values as well; `areas` tells them by where the values lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from sqp.core.errors import CaseError
from sqp.data.photographs import EDGE, LEAST_RANGE, MOST, between, flat_between, has_level_between, range_of

FEW = 16  # values: so many or fewer are looked at one by one
MOST_FLAT = 0.002  # of the pixels of a smoothed mask may lie in even areas between dark and bright
OFF = 0.1  # of the distance of two colours: further from the line between them lies a third
BLACK = 25.5
BINARY = 255  # alone beside 0 it is what tools write for a mask, not the number of a label


@dataclass(frozen=True, eq=False)
class Values:
    """`codes` `[h, w]` are what `--label` names: grey values, the indices of a palette, or 0xRRGGBB.

    `plane` `[h, w]` is how bright the pixels are, of colours how near to the foreground's (0-255). `off`: pixels of a
    colour that lies not between those two. `coloured`: codes are colours.
    """

    codes: np.ndarray
    plane: np.ndarray
    off: np.ndarray | None = None
    coloured: bool = False

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

    >>> said(2), said(255 * 65536, True)
    ('2', '0xff0000')
    """
    return f"0x{int(code):06x}" if coloured else f"{code:g}"


def of_image(image: Image.Image) -> Values:
    """The values of a mask file; transparent pixels are the background."""
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
    plane, off = _towards_foreground(rgb, codes)
    return Values(codes if index is None else index, plane, off, coloured=index is None)


def labelled(values: Values, what: str, labels: Sequence[int], given: bool) -> np.ndarray | None:
    """The structure of `labels`, bool `[h, w]`; None where the file is a mask of one structure whatever its labels.

    That is one that is `given` to be judged and holds 255 alone, or was smoothed or compressed. One that lacks labels
    is empty, or without these: its maker missed the structure. A truth must hold all `labels`: else CaseError.
    """
    wanted = set(labels)
    smooth = len(values.found) > 2 and not areas(values)
    alone = smooth or (BINARY in values.found and set(values.found.tolist()) <= {0, BINARY})
    if alone and not values.coloured and BINARY in wanted - {0}:
        return None
    if alone and not values.coloured and given and 0 not in wanted and max(labels) <= BINARY:
        return None
    if smooth:
        if wanted == {0}:
            return values.plane <= float(values.plane.max()) / 2
        raise CaseError(
            f"{what} is smoothed or compressed, so that it holds no exact labels ({values.told(4)}): "
            "save label maps as PNG, resized by the nearest neighbour"
        )
    codes = values.codes
    if not values.coloured and max(labels) > 0xFFFF and codes.max(initial=0) <= 255:  # grey among files of colours
        codes = codes.astype(np.int64) * 0x010101
    missing = sorted(wanted - set(np.unique(codes).tolist()))
    if missing and not given:
        names = ", ".join(said(m, values.coloured) for m in missing)
        raise CaseError(f"label {names} is not in {what}, which holds {values.told()}: correct --label")
    return np.isin(codes, list(labels))


def refuse_several(values: Values, what: str) -> None:
    """CaseError naming the values and their shares, where a file holds more than a structure and its background."""
    found, counts = values.counts
    if len(found) > 2 and areas(values):
        example = found[np.argsort(-counts, kind="stable")[1]]
        lossy = "" if values.few else "; JPEG blurs values, so save label maps as PNG"
        raise CaseError(
            f"{what} holds {len(found)} values, not two: {values.told()}; choose those of the structure with --label, "
            f"e.g. --label {said(example, values.coloured)} (several are merged){lossy}"
        )


def areas(values: Values) -> bool:
    """Whether a file of more than two values has areas of a third, so that it is no smoothed mask.

    Of a few values each is looked at: one between the others is an edge's where most of its pixels touch a darker and a
    brighter one, and one close to the least or the greatest is noise where few of its pixels lie amid equal ones. Of
    many values those that have areas are counted, and even areas in between (`flat_between`).
    """
    plane, codes, found = values.plane, values.codes, values.found
    amid = np.zeros(codes.shape, bool)
    if min(codes.shape) > 2:
        row = (codes[:, 1:-1] == codes[:, :-2]) & (codes[:, 1:-1] == codes[:, 2:])
        same = (codes[1:-1] == codes[:-2]) & (codes[1:-1] == codes[2:])
        amid[1:-1, 1:-1] = row[1:-1] & row[:-2] & row[2:] & same[:, 1:-1]
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


def _towards_foreground(rgb: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel lies from the background's colour to the foreground's (uint8), and which lie off that line.

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
    return np.round(255 * along).astype(np.uint8)[where], (beside > OFF * length**0.5)[where]


def areas_between(planes: Sequence[np.ndarray]) -> float:
    """The greatest share `between` of the planes, each measured in the least range that holds it."""
    tops = [float(plane.max(initial=0)) for plane in planes]
    shares = (between(p, range_of(top) or top) for p, top in zip(planes, tops, strict=True) if p.size)
    return max(shares, default=0.0)


def binary(values: Values, grey: np.ndarray, what: str, colours: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Values -> bool, by the rule in `read_mask`."""
    if not np.isfinite(grey).all() or (grey.size and grey.min() < 0):
        raise CaseError(f"{what} holds negative or non-finite values: write it as 8-bit PNG with 0 and 255")
    few = values.few
    if few:
        refuse_several(values, what)
    share = areas_between([grey, *colours])
    if share > MOST:
        raise CaseError(
            f"{what} is no mask but a photograph or a map of probabilities: {share:.0%} of its pixels lie in areas "
            "neither dark nor bright; look whether images and masks are swapped, and give probabilities as --probs"
        )
    if not few:
        refuse_several(values, what)
    plane = values.plane
    top, low = float(plane.max(initial=0)), float(plane.min()) if plane.size else 0.0
    if few == 2 and low == 0 and (top == 1 or top >= LEAST_RANGE * 255):
        return plane == top  # a smaller number is more likely that of a label
    full = range_of(top)
    if (
        full is None
        or (full > 1 and 0 < top <= full / 2)
        or (few == 2 and low > full / 2 and top - low > LEAST_RANGE * full)
    ):
        raise CaseError(
            f"{what} is neither 0/1 nor 0/255: its greatest value is {top:g}; it holds {values.told()}: choose the "
            "structure with --label, or write one mask a file, as 8-bit PNG with 0 and 255"
        )
    return plane > full / 2
