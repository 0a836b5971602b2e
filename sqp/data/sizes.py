"""Masks beside images of another size: refused, resized where that is asked for, and told of many in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sqp.core.errors import CaseError
from sqp.core.types import Case
from sqp.data.images import upright_size
from sqp.data.left_aside import counted
from sqp.data.volumes import is_volume

RESIZE = "--resize_masks"


def at_size(
    values: np.ndarray, path: str | Path, image_path: str | Path, image_hw: tuple[int, int], resize: bool
) -> np.ndarray:
    """A mask bool `[h, w]` (nearest neighbour) or a map float32 (bilinear) at the size of its image.

    CaseError where it has another size and `resize` is False, and where its sides are those of the image swapped: then
    it was drawn on an image that lies otherwise.
    """
    if not resize or values.shape in (image_hw, image_hw[::-1]):
        check_same_size(image_path, image_hw, path, (values.shape[0], values.shape[1]))
        return values
    whole = values.dtype == bool
    filter_ = Image.Resampling.NEAREST if whole else Image.Resampling.BILINEAR
    picture = Image.fromarray(values.astype(np.uint8) if whole else values)
    return np.asarray(picture.resize(image_hw[::-1], filter_)).astype(values.dtype)


def check_same_size(
    image_path: str | Path, image_hw: tuple[int, int], mask_path: str | Path, mask_hw: tuple[int, int]
) -> None:
    """Raise `CaseError` naming both sizes, unless the mask (or map) has the image's height and width."""
    (h, w), (mh, mw) = image_hw, mask_hw
    if (h, w) == (mh, mw):
        return
    turned = " (the sides are swapped: was it drawn on the unrotated image?)" if (h, w) == (mw, mh) else ""
    raise CaseError(
        f"{mask_path} is {mw}x{mh} pixels (width x height) but its image {image_path} is {w}x{h}{turned}: "
        "save the mask at the size of the image"
    )


def of_other_size(cases: Iterable[Case]) -> dict[str, str]:
    """Image id -> a sentence, of the cases whose given mask (or probability) is not as large as the image.

    Sizes are read off the headers; what has none is not among them, nor are sides that are swapped, which are never
    resized, or what cannot be read: all this comes out where the pixels are read.
    """
    found = {}
    for case in cases:
        if is_volume(case.image_path):
            continue
        image = upright_size(case.image_path)
        for path in filter(None, (case.mask_path, case.probability_path)):
            mask = None if image is None or path.suffix.lower() == ".npy" else upright_size(path)
            if mask is not None and image is not None and mask not in (image, image[::-1]):
                sizes = f"{mask[1]}x{mask[0]} pixels, {case.image_path} {image[1]}x{image[0]}"
                found[case.image_id] = f"{path} is {sizes} (width x height): give {RESIZE}, or save it at that size"
                break
    return found


def resized_notes(found: Mapping[str, str]) -> list[str]:
    """What is told of masks that are resized: of `of_other_size`."""
    return counted([_sizes(s) for s in found.values()], "mask{s} {are} of another size than the image, and resized")


def refusal(found: Mapping[str, str], of: int) -> str:
    """One sentence for many masks of another size, with the remedies: of `of_other_size`, of so many cases."""
    first = next(iter(found.values()))
    which = f"{len(found)} of {of} masks are of another size than their image" if of > 1 else "the mask is not as large"
    return (
        f"{which}, e.g. {_sizes(first)}: give {RESIZE} (nearest neighbour), or save masks at the size of the image; "
        "where they are those of other images, a CSV with the columns image and mask, given as --images, says which "
        "belongs to which"
    )


def _sizes(sentence: str) -> str:
    return sentence.partition(" (width")[0]
