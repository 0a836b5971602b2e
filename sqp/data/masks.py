"""Mask files -> bool: two values, or those of several that `--label` chooses.

A file of three or more values (a void border, optic disc and cup, a trimap, a class a colour) is never cut at half its
range: it is refused with its values and their shares, unless labels choose among them; a photograph is refused as such.
What a file holds is looked at in `sqp.data.mask_values`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sqp.core.errors import CaseError
from sqp.data.images import is_deep, luminance, opened, plane_of
from sqp.data.mask_values import (
    BINARY,
    LEAST_RANGE,
    MOST,
    Values,
    areas,
    between,
    of_image,
    only_binary,
    range_of,
    said,
)

SHARP = 0.5  # share of a label map's pixels, at least, that lie amid equal ones


def read_mask(path: str | Path, labels: Sequence[int] = (), given: bool = False) -> np.ndarray:
    """A mask file -> bool `[h, w]`: of two values the one that is not 0 (black), else above half of the file's range.

    The range is 1 (a 0/1 label mask), 255, 4095 or 65535, the smallest that holds the greatest value. Of a palette the
    colours count; of two colours the one that is not black, else the brighter one. Transparent pixels are background,
    and where what is opaque has one colour, it is the mask. Grey edges, smoothed or compressed, pass.
    `labels` choose among several values: grey values, indices of a palette, or 0xRRGGBB (`mask_values.labelled`, also
    for what `given` does). Raises `CaseError` for a file that cannot be read, for one of three or more values without
    labels, for one of which none of two values is 0 and none reaches half of the range, and for one of which whole
    areas lie in between, in its luminance or in one of its colours (`mask_values.between`): a photograph, a map of
    probabilities.
    """
    path = Path(path)
    with opened(path, "mask") as image:
        values, grey, colours = of_image(image), luminance(image), _colours(image)
    what = f"mask {path}"
    if labels:
        chosen = labelled(values, what, labels, given)
        if chosen is not None:
            return chosen
    return binary(values, grey, what, colours)


def mask_of_array(array: np.ndarray) -> np.ndarray:
    """An array `[h, w]` or `[h, w, 1]`: bool, 0/1 or 0/255, read as a file of it -> bool `[h, w]`; else CaseError."""
    plane = plane_of(np.asarray(array), "the mask array", (1,))
    top = plane.max() if plane.dtype.kind in "bui" else None
    if top in (0, 1, 255) and ((plane == 0) | (plane == top)).all():
        return plane > 0
    plane = plane.astype(np.float64)
    return binary(Values(plane, plane), plane, "the mask array")


def mask_of_picture(image: Image.Image) -> np.ndarray:
    """An image of Pillow, read as a file of it -> bool `[h, w]`, upright; else CaseError."""
    upright = ImageOps.exif_transpose(image)
    return binary(of_image(upright), luminance(upright), "the mask", _colours(upright))


def holds_photograph(path: str | Path) -> bool:
    """Whether a file that may be a mask is a photograph, by the rule in `read_mask`; False where it is broken."""
    try:
        with opened(Path(path), "image") as image:
            values, grey, colours = of_image(image), luminance(image), _colours(image)
        return values.blurred and not values.few and areas_between([grey, *colours]) > MOST
    except CaseError:
        return False


def _colours(image: Image.Image) -> list[np.ndarray]:
    """The planes of red, green and blue, where the file has colours that `luminance` weighs."""
    grey = image.mode in ("1", "L") or is_deep(image) or image.has_transparency_data
    return [] if grey else [np.asarray(plane) for plane in image.convert("RGB").split()]


def labelled(values: Values, what: str, labels: Sequence[int], given: bool) -> np.ndarray | None:
    """The structure of `labels`, bool `[h, w]`; None where the file is a mask of one structure whatever its labels.

    That is one that holds 255 alone, or was smoothed or compressed. Another one that is `given` to be judged and lacks
    labels is empty, or without these: its maker missed the structure. A truth must hold all `labels`: else CaseError.
    """
    wanted = set(labels)
    smooth = len(values.found) > 2 and not areas(values)
    alone = smooth or only_binary(values.found.tolist())
    if alone and not values.coloured and not wanted.isdisjoint(BINARY):
        return None
    if alone and not values.coloured and given and 0 not in wanted and max(labels) <= max(BINARY):
        return None
    if alone and not smooth and not values.coloured and not given and not wanted <= set(values.found.tolist()):
        return None  # a truth beside label maps of another tool
    if smooth and wanted == {0}:
        return values.plane <= float(values.plane.max()) / 2
    if values.blurred and values.amid.mean() < SHARP:
        refuse_photograph(areas_between([values.plane]), what)
    if smooth or values.blurred:
        raise CaseError(
            f"{what} is smoothed or compressed, so that it holds no exact labels ({values.told(4)}): "
            "save label maps as PNG, resized by the nearest neighbour"
        )
    codes = values.codes
    if not values.coloured and max(labels) > 0xFFFF and codes.max(initial=0) <= 255:  # grey among files of colours
        codes = codes.astype(np.int64) * 0x010101
    missing = sorted(wanted - set(np.unique(codes).tolist()))
    if values.coloured and missing and max(labels) <= 0xFF and not ((values.found > 0) & (values.found <= 0xFF)).any():
        raise CaseError(f"{what} holds colours, {values.told()}: name that of the structure, e.g. --label 0xff0000")
    if missing and not given:
        names = ", ".join(said(m, values.coloured) for m in missing)
        raise CaseError(f"label {names} is not in {what}, which holds {values.told()}: correct --label")
    return np.isin(codes, list(labels))


def binary(values: Values, grey: np.ndarray, what: str, colours: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Values -> bool, by the rule in `read_mask`."""
    if not np.isfinite(grey).all() or (grey.size and grey.min() < 0):
        raise CaseError(f"{what} holds negative or non-finite values: write it as 8-bit PNG with 0 and 255")
    few = values.few
    photographic = not few and values.blurred and values.amid.mean() < SHARP
    if not photographic:
        refuse_several(values, what)
    refuse_photograph(areas_between([grey, *colours]), what)
    if photographic:
        refuse_several(values, what)
    if values.beside_white is not None:
        raise CaseError(
            f"{what} holds a colour and white ({values.told(4)}), and either may be the structure: choose with --label"
            + (f", e.g. --label {said(values.beside_white, True)}" if values.coloured else "")
        )
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


def refuse_several(values: Values, what: str) -> None:
    """CaseError naming the values and their shares, where a file holds more than a structure and its background."""
    found, counts = values.counts
    if len(found) > 2 and areas(values):
        example = said(found[np.argsort(-counts, kind="stable")[1]], values.coloured)
        choice = f"choose those of the structure with --label, e.g. --label {example} (several are merged)"
        if values.blurred:
            choice = (
                "JPEG or a smooth resizing has blurred them: save label maps as PNG, resized by the nearest neighbour, "
                "and choose the structure with --label"
            )
        elif not values.few:
            choice += ", or write one mask a file, as 8-bit PNG with 0 and 255"
        raise CaseError(f"{what} holds {len(found)} values, not two: {values.told()}; {choice}")


def refuse_photograph(share: float, what: str) -> None:
    """CaseError where whole areas, this share of the pixels, are neither dark nor bright."""
    if share > MOST:
        raise CaseError(
            f"{what} is no mask but a photograph or a map of probabilities: {share:.0%} of its pixels lie in areas "
            "neither dark nor bright; look whether images and masks are swapped, and give probabilities as --probs"
        )


def areas_between(planes: Sequence[np.ndarray]) -> float:
    """The greatest share `between` of the planes, each measured in the least range that holds it."""
    tops = [float(plane.max(initial=0)) for plane in planes]
    shares = (between(p, range_of(top) or top) for p, top in zip(planes, tops, strict=True) if p.size)
    return max(shares, default=0.0)
