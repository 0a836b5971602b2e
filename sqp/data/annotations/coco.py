"""COCO: `images`, `categories` and `annotations`, whose masks are polygons or run lengths, compressed or not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.errors import ConfigError
from sqp.data.annotations.annotation import Annotation, check_once, field, mappings, needed, size_of
from sqp.data.annotations.runs import from_runs


def recognise(content: Any) -> bool:
    """Whether JSON is COCO: a mapping with images and annotations."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def read(path: Path, content: Any) -> list[Annotation]:
    """Those of a file. ConfigError for one that is no COCO, or names an image twice or one that it does not list."""
    images: dict[Any, Mapping[str, Any]] = {}
    for image in mappings(field(content, "images", list, str(path)), f"images of {path}"):
        images[field(image, "id", (int, str), f"an image of {path}")] = image
    check_once([field(image, "file_name", str, f"an image of {path}") for image in content["images"]], path)
    if len(images) < len(content["images"]):
        raise ConfigError(f"{path} lists two images of one id: export the file again")
    names: dict[Any, str] = {}
    for category in mappings(content.get("categories"), f"categories of {path}"):
        where = f"a category of {path}"
        names[field(category, "id", (int, str), where)] = field(category, "name", str, where)
    found, seen = [], set()
    for number, one in enumerate(field(content, "annotations", list, str(path)), start=1):
        where = f"annotation {number} of {path}"
        name = str(field(one, "id", (int, str), where))
        owner = images.get(field(one, "image_id", (int, str), where))
        if owner is None:
            raise ConfigError(f"annotation {name} of {path} is of an image that it does not list: export it again")
        if name in seen:
            raise ConfigError(f"{path} has two annotations of the id {name}: export the file again")
        seen.add(name)
        kind = one.get("category_id")
        kind = kind if isinstance(kind, int | str) else ""
        if isinstance(one.get("segmentation"), list):
            import_mask()  # said before anything is decoded
        label, key = names.get(kind, str(kind)), kind if isinstance(kind, int) else None
        found.append(Annotation(owner["file_name"], name, label, key, partial(decode, one.get("segmentation"), owner)))
    return found


def decode(segmentation: Any, image: Mapping[str, Any]) -> np.ndarray:
    """A segmentation -> bool `[h, w]`. ValueError where it is none, or not of its image's size.

    Polygons are those of pycocotools, pixel by pixel.
    """
    shape = size_of(image.get("height"), image.get("width"))
    if isinstance(segmentation, list):
        corners = [part for part in segmentation if isinstance(part, list)]
        if not segmentation or len(corners) < len(segmentation) or any(len(p) < 6 or len(p) % 2 for p in corners):
            raise ValueError("it has no polygon of three corners or more")
        if not all(isinstance(value, int | float) and np.isfinite(value) for part in corners for value in part):
            raise ValueError("a corner of its polygon is no number")
        coder = import_mask()
        runs = _unpacked(coder.merge(coder.frPyObjects(corners, *shape))["counts"].decode("ascii"))
    else:
        runs = _runs(segmentation, shape)
    return from_runs(runs, shape[0] * shape[1]).reshape(shape[::-1]).T  # COCO counts down the columns


def _runs(segmentation: Any, shape: tuple[int, int]) -> list[int]:
    """The run lengths of a segmentation, unpacked where they are compressed."""
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise ValueError("it has no segmentation: boxes alone are no masks")
    size = segmentation.get("size")
    if size != [*shape]:
        raise ValueError(f"its run lengths are of size {size}, its image of {[*shape]} (height, width)")
    counts = segmentation["counts"]
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) for run in runs):
        raise ValueError("its run lengths are no whole numbers")
    return runs


def _unpacked(text: str) -> list[int]:
    """COCO's compressed counts -> run lengths: groups of 5 bits from 48 on, each count after the third a difference."""
    runs: list[int] = []
    value = shift = 0
    for sign in text:
        group = ord(sign) - 48
        if not 0 <= group < 64:
            raise ValueError("its run lengths are damaged")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (1 << shift) if group & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut off")
    return runs


def import_mask() -> Any:
    """pycocotools.mask. ConfigError where the package is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise needed("pycocotools", "COCO") from error
    return mask
