"""One way to read images and volumes, and the masks of both; which of them a file is, its name says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sqp.core.volume import Volume
from sqp.data.images import read_image
from sqp.data.masks import read_mask
from sqp.data.sizes import at_size
from sqp.data.volumes import check_same_place, is_volume, read_structure, read_volume


def read(path: str | Path) -> np.ndarray | Volume:
    """An image file -> RGB uint8 `[h, w, 3]`; a NIfTI file or a folder of DICOM slices -> a `Volume`.

    Raises:
        CaseError: naming the file, where it is missing or broken: see `read_image` and `read_volume`.
    """
    return read_volume(path) if is_volume(path) else read_image(path)


def read_structure_or_mask(path: str | Path, labels: Sequence[int] = (), given: bool = False) -> np.ndarray:
    """A mask file -> bool `[h, w]`, a label map of a volume -> bool `[d, h, w]`: `read_mask`, `read_structure`."""
    return read_structure(path, labels, given)[0] if is_volume(path) else read_mask(path, labels, given)


def read_mask_of(
    image: np.ndarray | Volume,
    image_path: str | Path,
    path: str | Path,
    labels: Sequence[int] = (),
    given: bool = False,
    resize: bool = False,
) -> np.ndarray:
    """The mask of an image or volume that is read already: bool, of its size, and of a volume in its place.

    Args:
        image: What `read` gave of `image_path`.
        image_path: Its file, for the sentence of an error.
        path: The file of the mask.
        labels: The values that make the structure; () for the one that is not background.
        given: Whether it is to be judged, so that it may be empty, or lack the labels.
        resize: Whether a mask of another size is brought to that of its image, by the nearest neighbour.

    Raises:
        CaseError: the mask is broken, or does not fit.
    """
    if isinstance(image, Volume):
        mask, place = read_structure(path, labels, given)
        check_same_place(image_path, image.geometry, path, place)
    else:
        drawn = read_mask(path, labels, given)
        mask = at_size(drawn, path, image_path, (image.shape[0], image.shape[1]), resize)
    return mask
