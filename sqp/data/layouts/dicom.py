"""The layout of DICOM: a folder with one series in it, or a folder a series."""

from __future__ import annotations

from pathlib import Path

from sqp.core.types import Case
from sqp.data.dicom import is_series
from sqp.data.layouts.folders import IMAGE_FOLDERS, TRUTH_FOLDERS, child, composed, match_stems


def recognise(path: Path) -> bool:
    """A folder of DICOM slices, or of such folders (in `images/`, where there is one)."""
    return path.is_dir() and bool(_series(path))


def load(path: Path) -> list[Case]:
    """A case a series, named as its folder. Files of that name in `masks/` (NIfTI) are its truth."""
    series = _series(path)
    ids = [composed(folder.name) for folder in series]
    truth_folder = child(path, TRUTH_FOLDERS)
    truth = match_stems(truth_folder, ids) if truth_folder else {}
    return [
        Case(name, folder, truth_paths=(truth[name],) if name in truth else (), dataset=path.resolve().name)
        for name, folder in zip(ids, series, strict=True)
    ]


def _series(path: Path) -> list[Path]:
    if is_series(path):
        return [path]
    return sorted(p for p in (child(path, IMAGE_FOLDERS) or path).glob("[!.]*") if p.is_dir() and is_series(p))
