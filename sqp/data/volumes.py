"""Volumes and their structures: NIfTI files and folders of DICOM slices -> arrays in the canonical orientation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.errors import CaseError
from sqp.core.untrusted import check_regular
from sqp.core.volume import TOLERANCE, Geometry, Volume, most_bytes, quiet_nibabel, unreadable, voxels_of
from sqp.data.dicom import read_series
from sqp.data.images import IMAGE_SUFFIXES
from sqp.data.mask_values import only_binary

VOLUME_SUFFIXES = (".nii", ".nii.gz")
LABEL_NOISE = 1e-3  # by which a label kept as a float may miss its number: scaled, or resampled
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
SIZES_DIFFER = 0.01  # share by which the sizes of a header may differ
GZIP_HEAD = b"\x1f\x8b"
PLAIN_HEADS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))  # of NIfTI 1 and 2
WINDOW = (0.5, 99.5)  # percentiles of the volume that become black and white, where no window is chosen


def is_volume(path: str | Path) -> bool:
    """Whether a case's file is a volume: NIfTI by its name, or a folder (of DICOM slices) not named as an image."""
    path = Path(path)
    name = path.name.lower()
    return name.endswith(VOLUME_SUFFIXES) or (path.is_dir() and not name.endswith(IMAGE_SUFFIXES))


def read_volume(path: str | Path) -> Volume:
    """A NIfTI file or a folder with one DICOM series -> voxels float32 `[d, h, w]` in the file's units, and geometry.

    Raises `CaseError` for a file that is missing, broken, 4D, of one slice, of colours, or with NaN or infinite voxels.
    """
    array, geometry = _read(path, "volume")
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise CaseError(f"volume {path} holds {bad} NaN or infinite voxels: mend what wrote it, or fill them")
    return Volume(array, geometry)


def read_geometry(path: str | Path) -> Geometry:
    """Where a volume lies, of NIfTI by its header alone. `CaseError` as `read_volume`."""
    path = Path(path)
    if path.is_dir():
        return _read(path, "volume")[1]
    shape, affine, _ = _open_nifti(path, "volume")
    return _geometry(path, "volume", shape, affine)


def read_structure(path: str | Path, labels: Sequence[int] = (), given: bool = False) -> tuple[np.ndarray, Geometry]:
    """A label map -> the structure bool `[d, h, w]`, and where it lies.

    `labels` are the values that belong to it, several are merged; () takes the one value beside 0 that the file has.
    `CaseError` where the file cannot be read, is no label map, holds several labels and none was chosen, or does not
    hold one of `labels`, or where no voxel is of the structure. A mask that is `given` to be judged may be empty, and
    may lack labels: its maker missed the structure. Where it holds 255 or 65535 alone (`mask_values.BINARY`), that
    is the structure, whatever `labels` are; 1 alone is the label 1. Floats count as the label within `LABEL_NOISE` of
    them.
    """
    array, geometry = _read(path, "label map")
    values = np.unique(array)
    if np.isfinite(values).all() and (np.abs(values - np.round(values)) <= LABEL_NOISE).all():
        array, values = np.round(array), np.unique(np.round(values))
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise CaseError(_no_labels(Path(path), array))
    found = [int(value) for value in values if value != 0]
    if not labels and len(found) > 1:
        shares = ", ".join(f"{label} ({(array == label).mean():.2%})" for label in found[:8])
        raise CaseError(
            f"label map {path} holds the labels {_said(found)}: choose with --label, e.g. --label {found[0]}; of its "
            f"voxels {shares}"
        )
    missing = [label for label in labels if label not in found]
    if given:
        binary = only_binary(found) or (found == [1] and _of_record_set(Path(path)))
        return np.isin(array, found if binary else labels or found), geometry
    if not found:
        raise CaseError(f"label map {path} is empty: no voxel is labelled, so there is nothing to compare with")
    if only_binary(found):  # a mask of one structure, also beside label maps of another tool
        return array != 0, geometry
    if missing:
        raise CaseError(f"label {_said(missing)} is not in {path}, which holds {_said(found)}: correct --label")
    return np.isin(array, labels or found), geometry


def _no_labels(path: Path, array: np.ndarray) -> str:
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        return f"label map {path} holds {bad} NaN or infinite voxels: fill them with 0, the background"
    return (
        f"label map {path} holds values that are no whole numbers ({array.min():.4g} to {array.max():.4g}): is it an "
        "image, or probabilities? cut these at 0.5, and resample label maps by the nearest neighbour"
    )


def _of_record_set(path: Path) -> bool:
    """Whether a mask is one that sqp wrote: 0 and 1, whatever label it was made for."""
    return path.parent.name == "masks" and (path.parent.parent / "run.yaml").is_file()


def windowed(voxels: np.ndarray, window: Sequence[float] = ()) -> np.ndarray:
    """Voxels in any units -> uint8 of the same shape: `window` (low, high) in these units is 0 and 255.

    () takes the percentiles `WINDOW` of the whole volume. MedSAM's preparation has a window for CT (soft tissue: -160
    to 240 HU), and for MR the same percentiles of the voxels that are not 0.
    """
    low, high = window or np.percentile(voxels, WINDOW)
    scaled = (voxels - np.float32(low)) * np.float32(255 / (high - low) if high > low else 0)
    return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)


def check_same_place(image_path: str | Path, image: Geometry, mask_path: str | Path, mask: Geometry) -> None:
    """Raise `CaseError` naming both, unless a mask has its image's shape and affine, in whatever orientation."""
    here, there = image.canonical_shape, mask.canonical_shape
    if here != there:
        raise CaseError(
            f"{mask_path} has {_sides(there)} voxels (d x h x w) but its image {image_path} has {_sides(here)}: "
            "resample the mask to the image"
        )
    apart = image.difference(mask)
    if apart > TOLERANCE:
        raise CaseError(
            f"{mask_path} has another affine than its image {image_path}: they lie up to {apart:.2g} voxels apart "
            f"(spacing {_sides(mask.spacing)} mm against {_sides(image.spacing)} mm): "
            "if voxels match by their indices, write the mask with the image's header, else resample it to the image"
        )


def _read(path: str | Path, what: str) -> tuple[np.ndarray, Geometry]:
    """Voxels float32 `[d, h, w]` and geometry."""
    path = Path(path)
    array, affine = read_series(path) if path.is_dir() else _read_nifti(path, what)
    geometry = _geometry(path, what, array.shape, affine)
    return geometry.to_canonical(array), geometry


def _geometry(path: Path, what: str, shape: tuple[int, ...], affine: np.ndarray) -> Geometry:
    """CaseError for an affine that says nothing, and for one slice."""
    if min(shape) < 2:
        raise CaseError(f"{what} {path} has one slice only ({_sides(shape)}): export it as a 2D image, PNG")
    try:
        return Geometry((shape[0], shape[1], shape[2]), affine)
    except ValueError as error:
        raise CaseError(f"{what} {path}: {error}: write its header anew") from None


def _open_nifti(path: Path, what: str) -> tuple[tuple[int, ...], np.ndarray, Any]:
    """Shape, affine and the voxels not yet read."""
    import nibabel

    try:
        with quiet_nibabel():
            image: Any = nibabel.load(check_regular(path, what, CaseError))
    except FileNotFoundError:
        raise CaseError(f"{what} {path} does not exist: check the path") from None
    except unreadable() as error:
        raise CaseError(_told(path, what, error)) from error
    shape = tuple(image.shape)
    if len(shape) == 2:
        raise CaseError(f"{what} {path} is 2D ({_sides(shape)}), one slice: export it as a 2D image, PNG")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        many = "time points or channels" if len(shape) > 3 else "no volume"
        raise CaseError(f"{what} {path} is {len(shape)}D ({_sides(shape)}), {many}: save one 3D volume a file")
    affine = np.asarray(image.affine, dtype=float)
    header = image.header
    if hasattr(header, "get_sform") and len(header.get_zooms()) >= 3:
        _check_header(path, what, header, affine)
        affine[:3] *= MILLIMETRES.get(str(header.get_xyzt_units()[0]), 1.0)
    return shape, affine, image.dataobj


def _check_header(path: Path, what: str, header: Any, affine: np.ndarray) -> None:
    """CaseError where sform, qform and voxel sizes of a header disagree on the sizes or the axes of the voxels."""
    from nibabel.orientations import aff2axcodes

    zooms = np.asarray(header.get_zooms()[:3], dtype=float)
    forms = {"voxel sizes": zooms}
    for name, (form, code) in {"sform": header.get_sform(True), "qform": header.get_qform(True)}.items():
        if code and form is not None and np.isfinite(form).all():
            forms[name] = np.sqrt((form[:3, :3] ** 2).sum(axis=0))
            if abs(np.linalg.det(form[:3, :3])) > 0 and aff2axcodes(form) != aff2axcodes(affine):
                raise CaseError(
                    f"{what} {path}: its sform and qform disagree, the axes run {''.join(aff2axcodes(affine))} and "
                    f"{''.join(aff2axcodes(form))}: mend the header, so that one of them has the code 0 or both agree"
                )
    if "sform" not in forms and "qform" not in forms:
        return
    first = forms["sform" if "sform" in forms else "qform"]
    if any((np.abs(sizes - first) > SIZES_DIFFER * np.abs(first)).any() for sizes in forms.values()):
        told = ", ".join(f"{name} {_sides(sizes.tolist())}" for name, sizes in forms.items())
        raise CaseError(f"{what} {path}: its header disagrees on the size of a voxel: {told}; write its header anew")


def _read_nifti(path: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    shape, affine, voxels = _open_nifti(path, what)
    try:
        array = voxels_of(voxels, most_bytes(path))
    except unreadable() as error:
        raise CaseError(_told(path, what, error)) from error
    if array.dtype.kind not in "iufb":
        raise CaseError(f"{what} {path} holds {array.dtype} voxels (colours?): save one number a voxel")
    return array.astype(np.float32, copy=False).reshape(shape), affine


def _told(path: Path, what: str, error: Exception) -> str:
    packed = path.name.lower().endswith(".gz")
    begin = b""
    with suppress(OSError), path.open("rb") as file:
        begin = file.read(4)
    if packed and begin in PLAIN_HEADS:
        return f"cannot read {what} {path}: it is not packed by gzip, though its name ends in .gz; call it .nii"
    if not packed and begin[:2] == GZIP_HEAD:
        return f"cannot read {what} {path}: it is packed by gzip, and its name does not say so; call it .nii.gz"
    return f"cannot read {what} {path} ({error}): it is truncated or no NIfTI; export it again"


def _sides(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _said(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
