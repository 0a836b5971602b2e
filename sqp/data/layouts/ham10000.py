"""HAM10000 as downloaded (Tschandl, Rosendahl, Kittler 2018, Harvard Dataverse or Kaggle)."""

from __future__ import annotations

from pathlib import Path

from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data.layouts.folders import by_stem, child, match_stems
from sqp.data.layouts.table import read_table

LICENCE = "CC-BY-NC-4.0"
PARTS = (
    ("HAM10000_images_part_1", "ham10000_images_part_1"),
    ("HAM10000_images_part_2", "ham10000_images_part_2"),
    ("HAM10000_images",),
)
MASKS = ("HAM10000_segmentations_lesion_tschandl",)
METADATA = ("HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab")


def recognise(path: Path) -> bool:
    """A folder with one of the image folders of `PARTS`."""
    return path.is_dir() and any(child(path, part) is not None for part in PARTS)


def load(path: Path) -> list[Case]:
    """The cases; `group` is the lesion, `diagnosis` is `dx`; no split (see `configs/splits/ham10000.json`).

    Raises `ConfigError` where the metadata are missing (lesions have several images, so no split is safe
    without them), or do not list an image.
    """
    metadata = _metadata(path)
    truth_folder = child(path, MASKS)
    truth = match_stems(truth_folder, metadata) if truth_folder else {}
    cases = []
    for folder in filter(None, (child(path, part) for part in PARTS)):
        for stem, file in by_stem(folder).items():
            if stem not in metadata:
                raise ConfigError(f"{file} is not listed in {path}/HAM10000_metadata: download the metadata again")
            lesion, diagnosis = metadata[stem]
            cases.append(
                Case(
                    stem,
                    file,
                    truth_paths=(truth[stem],) if stem in truth else (),
                    group=lesion,
                    dataset="ham10000",
                    licence=LICENCE,
                    diagnosis=diagnosis,
                )
            )
    return cases


def _metadata(path: Path) -> dict[str, tuple[str, str]]:
    """image_id -> (lesion_id, dx), from the comma- or tab-separated file."""
    file = next((path / name for name in METADATA if (path / name).is_file()), None)
    if file is None:
        raise ConfigError(f"{path} has no HAM10000_metadata (.csv or .tab), which names the lesions: download it too")
    table = read_table(file)
    missing = {"image_id", "lesion_id", "dx"} - set(table.columns)
    if missing:
        raise ConfigError(f"{file} has no column {', '.join(sorted(missing))}: download the metadata again")
    return dict(zip(table.image_id, zip(table.lesion_id, table.dx, strict=True), strict=True))
