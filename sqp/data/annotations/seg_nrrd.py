"""3D Slicer's segmentation, `.seg.nrrd`: label maps, one a layer, and in the header a name and a value a segment."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.errors import ConfigError
from sqp.core.untrusted import check_regular
from sqp.core.volume import MOST_PACKED, Geometry
from sqp.data.annotations.annotation import Annotation, needed

SUFFIX = ".seg.nrrd"
NAME = re.compile(r"Segment(\d+)_Name")
TO_RAS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
}
"""The spaces of NRRD, and the signs that lead to NIfTI's."""


def read(path: Path) -> list[Annotation]:
    """The segments of a file. ConfigError for one that is no segmentation, or keeps its voxels in another file."""
    header = read_header(path)
    numbers = sorted(int(found[1]) for key in header if (found := NAME.fullmatch(key)))
    if not numbers:
        raise ConfigError(f"{path} names no segment (Segment0_Name …): save the segmentation from 3D Slicer again")
    segments: list[Annotation] = []
    for number in numbers:
        try:
            value = int(header.get(f"Segment{number}_LabelValue", 1))
            layer = int(header.get(f"Segment{number}_Layer", 0))
        except ValueError:
            raise ConfigError(f"{path}: the label value or layer of segment {number} is no number") from None
        name = str(header[f"Segment{number}_Name"])
        key = str(header.get(f"Segment{number}_ID", f"Segment{number}"))
        segments.append(Annotation(path.name[: -len(SUFFIX)], key, name, value, partial(decode, path, value, layer)))
    return segments


def read_header(path: Path) -> dict[str, Any]:
    """The header, by pynrrd. ConfigError where it is none, or leads to another file."""
    nrrd = import_nrrd()
    try:
        header = dict(nrrd.read_header(str(check_regular(path))))
    except (OSError, ValueError, KeyError, nrrd.NRRDError) as error:
        raise ConfigError(f"{path} is damaged, or no NRRD ({error}): save it again") from error
    if "data file" in header or "datafile" in header:
        raise ConfigError(f"{path} keeps its voxels in another file: save it as one file, {SUFFIX}")
    return header


def decode(path: Path, value: int, layer: int) -> tuple[np.ndarray, Geometry]:
    """A segment -> bool `[d, h, w]`, canonical, and where it lies. ValueError where the file does not hold it."""
    nrrd = import_nrrd()
    header = read_header(path)
    sizes, space = [int(n) for n in header["sizes"]], header.get("space")
    most = path.stat().st_size * MOST_PACKED
    if math.prod(sizes) > most:
        raise ValueError("its header claims more voxels than a file of its size can hold")
    if len(sizes) not in (3, 4) or space not in TO_RAS:
        raise ValueError(f"it is {len(sizes)}D in the space {space}: 3D Slicer writes left-posterior-superior")
    try:
        voxels, _ = nrrd.read(str(path))
    except (OSError, ValueError, EOFError, nrrd.NRRDError) as error:
        raise ValueError(f"its voxels cannot be read ({error})") from error
    if voxels.ndim == 4:
        if layer >= voxels.shape[0]:
            raise ValueError(f"it says that it lies in layer {layer}, and the file has {voxels.shape[0]}")
        voxels = voxels[layer]
    i, j, k = voxels.shape
    geometry = Geometry((i, j, k), _affine(header, TO_RAS[space]))
    return geometry.to_canonical(voxels == value), geometry


def _affine(header: dict[str, Any], signs: tuple[float, float, float]) -> np.ndarray:
    """`[4, 4]`: voxel indices -> millimetres, RAS."""
    affine = np.eye(4)
    try:
        directions = np.asarray(header["space directions"], float)[-3:]
        affine[:3, :3] = (directions * np.asarray(signs)).T
        affine[:3, 3] = np.asarray(header["space origin"], float) * np.asarray(signs)
    except (KeyError, ValueError, TypeError):
        raise ValueError("its header does not say where it lies (space directions, space origin)") from None
    return affine


def import_nrrd() -> Any:
    """pynrrd. ConfigError where the package is not installed."""
    try:
        import nrrd
    except ImportError as error:
        raise needed("pynrrd", SUFFIX) from error
    return nrrd
