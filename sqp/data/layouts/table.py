"""Cases from a CSV, one row an image, paths relative to it; and the columns that layouts share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pandas as pd

from sqp.core.errors import ConfigError, unknown_name
from sqp.core.names import SPLITS
from sqp.core.tables import read_texts
from sqp.core.types import Case
from sqp.data.layouts.folders import composed, stem_of

# the case's field -> the columns that may hold it, the first that is there counts
COLUMNS = {
    "image": ("image_path", "image", "images"),
    "truth": ("truth_path", "truth", "truth_paths", "ground_truth"),
    "mask": ("mask_path", "mask", "masks"),
    "probability": ("probability_path", "probability", "probs", "prob"),
    "image_id": ("image_id", "id"),
    "group": ("group", "patient_id", "lesion_id"),
    "split": ("split",),
    "diagnosis": ("diagnosis", "dx"),
    "licence": ("licence", "license"),
    "dataset": ("dataset",),
}


def recognise(path: Path) -> bool:
    """A `.csv` file."""
    return path.is_file() and path.suffix.lower() == ".csv"


def load(path: Path) -> list[Case]:
    """A case per row. `image` is required; several truths of one image stand in one cell, parted by `;`.

    `mask` is the mask to be judged, `probability` (or `probs`) what is behind it, `truth` the ground truth. Unknown
    columns are ignored. Raises `ConfigError` for an unreadable table, a missing column, a blank cell of the image or
    (where there is that column) of the mask or the probability, an unknown split, and where no image exists.
    """
    table = read_table(path)
    values = {field: column(table, field) for field in COLUMNS}
    if "image" not in {field for field, found in values.items() if found is not None}:
        raise ConfigError(
            f"{path} has no column 'image' (or 'image_path'), only {', '.join(table.columns)}: "
            "name the column of the image files so"
        )
    root = path.parent
    cases = []
    for number in range(len(table)):
        row = {field: "" if found is None else found[number] for field, found in values.items()}
        if not row["image"]:
            raise ConfigError(f"{path}, row {number + 2}: the cell of the image is empty: fill it or drop the row")
        for field in ("mask", "probability"):
            if values[field] is not None and not row[field]:
                raise ConfigError(
                    f"{path}, row {number + 2}: the cell of the {field} of {row['image']} is empty: fill it, or drop "
                    f"the row or the whole column '{name_of(table, field)}'"
                )
        image = located(root, row["image"])
        cases.append(
            Case(
                image_id=composed(row["image_id"] or stem_of(image)),
                image_path=image,
                truth_paths=tuple(located(root, name.strip()) for name in row["truth"].split(";") if name.strip()),
                mask_path=located(root, row["mask"]) if row["mask"] else None,
                probability_path=located(root, row["probability"]) if row["probability"] else None,
                group=row["group"],
                split=checked_split(row["split"], path, number + 2),
                dataset=row["dataset"],
                licence=row["licence"],
                diagnosis=row["diagnosis"],
            )
        )
    if cases and not any(case.image_path.exists() for case in cases):
        raise ConfigError(
            f"none of the {len(cases)} images of {path} exists, e.g. {cases[0].image_path}: "
            "paths are relative to the folder of the CSV"
        )
    return _masks_apart(cases) if values["image_id"] is None else cases


def _masks_apart(cases: list[Case]) -> list[Case]:
    """Rows of one image with several masks are cases of their own, of one group: `image_mask`, or where masks of
    several folders have one name `image_folder_mask`."""
    often = Counter((case.image_id, case.image_path) for case in cases)
    stems = Counter((case.image_path, stem_of(file)) for case in cases if (file := _judged(case)))
    apart = []
    for case in cases:
        file = _judged(case)
        if often[case.image_id, case.image_path] > 1 and file is not None:
            folder = [file.parent.name] if stems[case.image_path, stem_of(file)] > 1 else []
            name = "_".join(map(composed, [*folder, stem_of(file)]))
            case = replace(case, image_id=f"{case.image_id}_{name}")
        apart.append(case)
    return apart


def _judged(case: Case) -> Path | None:
    return case.mask_path or case.probability_path


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as strings, blank cells "", the columns of `COLUMNS` in small letters. `ConfigError` where it is none."""
    table = read_texts(path, "save it as a comma-separated file in UTF-8")
    known = {name for names in COLUMNS.values() for name in names} - set(table.columns)
    small = {name: name.lower() for name in table.columns if name.lower() in known}
    return table.rename(columns=small if len(set(small.values())) == len(small) else {})


def located(root: Path, name: str) -> Path:
    """The file that a cell names, beside the table; the backslashes of Windows part folders where no file has them."""
    path = root / Path(name).expanduser()
    return root / PureWindowsPath(name).as_posix() if "\\" in name and not path.exists() else path


def column(table: pd.DataFrame, field: str) -> list[str] | None:
    """The cells of the first column of `COLUMNS[field]` that the table has."""
    name = name_of(table, field)
    return None if name is None else table[name].tolist()


def name_of(table: pd.DataFrame, field: str) -> str | None:
    """The first column of `COLUMNS[field]` that the table has."""
    return next((name for name in COLUMNS[field] if name in table.columns), None)


def checked_split(split: str, path: Path, row: int) -> str:
    """The split, or the `ConfigError` that names file, row and the nearest of `SPLITS`."""
    if split and split not in SPLITS:
        raise ConfigError(f"{path}, row {row}: {unknown_name('split', split, SPLITS)}")
    return split
