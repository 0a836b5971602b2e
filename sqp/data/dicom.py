"""A folder of DICOM slices, one series, as a volume; read by MONAI's `PydicomReader`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.errors import CaseError, ConfigError

INDEX = "DICOMDIR"  # DICOM as well, but a table of contents
LOOKED_AT = 16  # files of a folder: what lies beside slices (a README, previews) is few
TURNED = 0.01  # of a direction: what rounding moves
INVERTED = "MONOCHROME1"
GREY = ("MONOCHROME2", INVERTED)
UNEVEN = 0.02  # share of the slice distance by which one gap may differ: scanners round positions


def is_series(folder: Path) -> bool:
    """Whether one of a folder's first `LOOKED_AT` files is DICOM; hidden files and a DICOMDIR do not count."""
    return any(map(_is_dicom, _files(folder)[:LOOKED_AT]))


def read_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """float32 voxels `[x, y, z]` in the scanner's units (HU, for CT), and the affine to RAS millimetres.

    Files beside the slices that are no DICOM are left out. `CaseError` where the folder holds no slices, one that is
    damaged, slices of several series, of several sizes, or with a gap between them; `ConfigError` where pydicom is not
    installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ConfigError(f"{folder} is DICOM, and pydicom is not installed: pip install 'sqp[dicom]'") from error
    from monai.data.image_reader import PydicomReader

    files = _slices(folder)
    try:
        slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
        _check_kind(folder, slices)
        if len(slices) < 2:
            raise CaseError(
                f"{folder} holds {len(slices)} DICOM slice: a volume has at least two; export one slice as PNG"
            )
        order = _order(folder, slices)
        reader: Any = PydicomReader()
        whole = reader.read(files)
        for number, index in enumerate(order, start=1):
            whole[index].InstanceNumber = number  # by which the reader sorts
        reader.has_series, reader.filenames = True, [files]  # a list of files is else taken for channels
        array, meta = reader.get_data(whole)
    except (
        pydicom.errors.InvalidDicomError,
        AttributeError,
        KeyError,
        ValueError,
        OSError,
        TypeError,  # an empty tag
        RuntimeError,  # no decoder for the pixels
        IndexError,
    ) as error:
        raise CaseError(f"cannot read the DICOM series {folder} ({error}): export it again, or as NIfTI") from error
    voxels = np.asarray(array, dtype=np.float32)
    if getattr(slices[0], "PhotometricInterpretation", GREY[0]) == INVERTED:
        voxels = voxels.max() + voxels.min() - voxels  # low values are white there
    return voxels, np.asarray(meta["affine"], dtype=float)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_file() and path.name.upper() != INDEX)


def _is_dicom(path: Path) -> bool:
    """By its four letters at byte 128."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _slices(folder: Path) -> list[Path]:
    """The DICOM files of a folder. CaseError for one that is named as they are, but for digits, and is none."""
    files = _files(folder)
    slices = [path for path in files if _is_dicom(path)]
    names = {_without_digits(path) for path in slices}
    for path in sorted({*files} - {*slices}):
        if _without_digits(path) in names:
            raise CaseError(f"{path} is named as the DICOM slices beside it and is none: export the series again")
    return slices


def _without_digits(path: Path) -> str:
    return re.sub(r"\d+", "", path.name)


NEEDED = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")


def _check_kind(folder: Path, slices: list[Any]) -> None:
    """CaseError for DICOM that is no image, for several frames in one file, and where tags of a slice are missing."""
    for one in slices:
        name = Path(one.filename).name
        if one.get("Modality") in NO_IMAGE:
            raise CaseError(
                f"{name} in {folder} is a DICOM {one.Modality}, no image: leave it out, and give masks as NIfTI"
            )
        frames = one.get("NumberOfFrames") or 1
        if int(frames) > 1:
            raise CaseError(
                f"{name} in {folder} is a DICOM of {frames} frames, which are not read: export the series as NIfTI"
            )
    for tag in NEEDED:
        lacking = sum(one.get(tag) in (None, "") for one in slices)
        if lacking:
            raise CaseError(
                f"{lacking} DICOM slices of {folder} have no {tag}, without which a volume has no place or no "
                "millimetres: export it again, or as NIfTI"
            )


NO_IMAGE = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "DOC")
"""Modalities of DICOM objects that lie beside a series and are none."""


def _order(folder: Path, slices: list[Any]) -> list[int]:
    """The slices' indices along the normal, in the direction of their InstanceNumber; all checked by the headers alone:
    one series, one size, one orientation, grey, even gaps."""
    series = {str(one.get("SeriesInstanceUID", "")) for one in slices}
    if len(series) > 1:
        raise CaseError(f"{folder} holds slices of {len(series)} DICOM series: give each its own folder")
    sizes = {(int(one.Rows), int(one.Columns)) for one in slices}
    if len(sizes) > 1:
        raise CaseError(f"{folder} holds DICOM slices of the sizes {sorted(sizes)}: leave the odd ones (scouts) out")
    kinds = {str(getattr(one, "PhotometricInterpretation", GREY[0])) for one in slices}
    if len(kinds) > 1 or not kinds <= {*GREY}:
        raise CaseError(f"{folder} holds slices of {', '.join(sorted(kinds))}: give grey ones of one kind, {GREY}")
    turns = np.array([one.ImageOrientationPatient for one in slices], dtype=float)
    if np.abs(turns - turns[0]).max() > TURNED:
        raise CaseError(f"{folder} holds DICOM slices of several orientations: leave the odd ones (scouts) out")
    sides = np.array([one.PixelSpacing for one in slices], dtype=float)
    if np.abs(sides - sides[0]).max() > UNEVEN * sides[0].min():
        raise CaseError(f"{folder} holds DICOM slices of several pixel sizes: give each its own folder")
    normal = np.cross(turns[0][:3], turns[0][3:])
    places = np.array([one.ImagePositionPatient for one in slices], dtype=float) @ normal
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    usual = float(np.median(gaps))
    if usual == 0 or (np.abs(gaps - usual) > UNEVEN * usual).any():
        raise CaseError(f"the slices of {folder} lie unevenly: a slice is missing or there twice; export it again")
    first, last = (slices[index].get("InstanceNumber") for index in (order[0], order[-1]))
    backwards = None not in (first, last) and int(first) > int(last)
    return (order[::-1] if backwards else order).tolist()
