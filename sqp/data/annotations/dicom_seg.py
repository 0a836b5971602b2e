"""DICOM SEG: a file of segments, each with a label and a number, that lie in the patient; read by highdicom."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.errors import ConfigError
from sqp.core.untrusted import check_regular
from sqp.core.volume import Geometry
from sqp.data.annotations.annotation import Annotation

SUFFIX = ".dcm"
MOST_VOXELS = 2**30
"""Of a volume that a file's positions claim: more is no scan."""
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the LPS of DICOM to NIfTI's own."""
SURE = 0.5
"""Of a fractional segment: from here on a voxel belongs to it."""


def read(path: Path) -> list[Annotation]:
    """The segments of a file. ConfigError for one that is no DICOM segmentation."""
    segmentation = open_segmentation(path)
    return [
        Annotation(path.stem, str(number), _label(segmentation, number), int(number), partial(decode, path, number))
        for number in segmentation.segment_numbers
    ]


def open_segmentation(path: Path) -> Any:
    """highdicom's. ConfigError where it is none, or the package is not installed."""
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise ConfigError(f"{path} is DICOM, and highdicom is not installed: pip install 'sqp[dicom]'") from error
    try:
        return segread(str(check_regular(path)))
    except FileNotFoundError:
        raise ConfigError(f"--masks {path} does not exist: check the path") from None
    except Exception as error:  # pydicom and highdicom raise whatever a damaged or foreign file makes of them
        raise ConfigError(
            f"{path} is damaged, or no DICOM segmentation ({error}): give a DICOM SEG, or the masks as NIfTI"
        ) from error


def decode(path: Path, number: int) -> tuple[np.ndarray, Geometry]:
    """A segment -> bool `[d, h, w]`, canonical, and where it lies. ValueError where the file does not hold a volume."""
    segmentation = open_segmentation(path)
    try:
        geometry = segmentation.get_volume_geometry(allow_missing_positions=True)
        if geometry is None:
            raise ValueError("its frames make no volume: they lie unevenly, or have no place in the patient")
        if math.prod(geometry.spatial_shape) > MOST_VOXELS:
            raise ValueError("its frames claim to lie further apart than in any scan")
        volume = segmentation.get_volume(segment_numbers=[number], allow_missing_positions=True)
    except ValueError:
        raise
    except Exception as error:  # as above
        raise ValueError(f"its frames cannot be read ({error})") from error
    array = volume.array[..., 0] if volume.array.ndim == 4 else volume.array
    d, h, w = array.shape
    place = Geometry((d, h, w), TO_RAS @ np.asarray(volume.affine, float))
    return place.to_canonical(np.asarray(array) >= SURE), place


def _label(segmentation: Any, number: int) -> str:
    return str(segmentation.get_segment_description(number).segment_label)
