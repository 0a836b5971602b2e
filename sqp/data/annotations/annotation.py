"""An annotation of an image in the file of a tool, and what the readers of such files share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from skimage import draw

from sqp.core.errors import ConfigError
from sqp.core.volume import Geometry

EXTRA = "pip install 'sqp[formats]'"
MOST_PIXELS = 2 * 89_478_485
"""Beyond it Pillow takes an image for a bomb."""
Mask = np.ndarray | tuple[np.ndarray, Geometry]
T = TypeVar("T")


@dataclass(frozen=True)
class Annotation:
    """One structure of one image.

    `image` is the file of the image as the tool names it, `name` tells the annotation from the others of its image,
    `label` and `number` are what `--label` may choose it by (the name of its category or segment, and its number where
    it has one). `mask` decodes it: bool `[h, w]`, of a volume bool `[d, h, w]` and where it lies; a ValueError says in
    a few words what is wrong with it.
    """

    image: str
    name: str
    label: str
    number: int | None
    mask: Callable[[], Mask]


def polygon_mask(polygons: Sequence[Sequence[tuple[float, float]]], shape: tuple[int, int]) -> np.ndarray:
    """Corners (x, y) in pixels -> bool `[*shape]`, of all polygons. ValueError for fewer than three corners."""
    mask = np.zeros(shape, bool)
    for corners in polygons:
        if len(corners) < 3 or not np.isfinite(corners).all():
            raise ValueError("its polygon has fewer than three corners")
        x, y = np.asarray(corners, float).T - 0.5  # scikit-image counts from the middle of a pixel
        mask[draw.polygon(y, x, shape)] = True
    return mask


def field(values: Any, name: str, kind: type[T] | tuple[type, ...], where: str) -> T:
    """The value of a key, of that type. ConfigError naming file and place where it is missing, or another one."""
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{where} has no {name}, or one that is not what the format says: export the file again")
    return value  # type: ignore[return-value]


def size_of(height: Any, width: Any) -> tuple[int, int]:
    """(h, w) of an image as a file tells it. ValueError where it tells none, or what no image can have."""
    try:
        shape = (int(height), int(width))
    except (TypeError, ValueError):
        raise ValueError("the file does not tell the height and width of its image") from None
    if min(shape) < 1 or shape[0] * shape[1] > MOST_PIXELS:
        raise ValueError(f"the file says that its image has {shape[1]} x {shape[0]} pixels")
    return shape


def mappings(values: Any, where: str) -> list[Mapping[str, Any]]:
    """The members of a list, where each is a mapping; nothing for None. ConfigError naming the place where not."""
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise ConfigError(f"{where} holds something else than the format says: export the file again")
    return values


def check_once(names: Sequence[str], path: Path) -> None:
    """ConfigError where a file lists two images of one name: whose an annotation is, nobody can tell."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{path} lists two images named '{name}': rename one, and export the file again")
        seen.add(name)


def needed(package: str, what: str) -> ConfigError:
    """The error where a package of the extra `formats` is missing."""
    return ConfigError(f"{what} needs {package}, which is not installed: {EXTRA}")
