"""The layout of `../shared/data` and of `write_synthetic`: `images/`, `masks/` and `labels.csv`."""

from __future__ import annotations

import csv
from pathlib import Path

from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data.layouts import ham10000
from sqp.data.layouts.folders import by_stem, composed, match_stems
from sqp.data.layouts.table import checked_split, column, read_table

HEADER = 100_000  # signs of the line that names the columns; more than csv takes for one field is none


def recognise(path: Path) -> bool:
    """A folder with `images/` and a `labels.csv` that has a column `image_id`."""
    labels = path / "labels.csv"
    if not ((path / "images").is_dir() and labels.is_file()):
        return False
    with labels.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        first = next(csv.reader([lines.readline(HEADER)], skipinitialspace=True), [])
        return "image_id" in [name.strip() for name in first]


def load(path: Path) -> list[Case]:
    """A case per row of `labels.csv`.

    `group` is the column `group` or `lesion_id`. A further folder `masks_*` holds the masks of a second
    rater, used where the column `second_mask` is set (everywhere, if there is no such column). The dataset's
    name is the folder's. Raises `ConfigError` for rows without an image, and for images
    without a row: their group is not known, so no split would be safe with them.
    """
    table = read_table(path / "labels.csv")
    images = by_stem(path / "images")
    truth = match_stems(path / "masks", images) if (path / "masks").is_dir() else {}
    others = [match_stems(folder, images) for folder in sorted(path.glob("masks_*")) if folder.is_dir()]
    name = path.resolve().name
    ids = [composed(image_id) for image_id in table["image_id"]]
    absent = [image_id for image_id in ids if image_id not in images]
    if absent:
        raise ConfigError(
            f"{len(absent)} of the {len(ids)} rows of {path / 'labels.csv'} have no image "
            f"in {path / 'images'}, e.g. {absent[0]}: restore the images or drop the rows"
        )
    unlisted = sorted(images.keys() - set(ids))
    if unlisted:
        raise ConfigError(
            f"{len(unlisted)} of the {len(images)} images in {path / 'images'} have no row in {path / 'labels.csv'}, "
            f"e.g. {images[unlisted[0]].name}: add their rows, move them out, or list those you want in another CSV"
        )
    blank = [""] * len(ids)
    groups, splits, diagnoses = (column(table, field) or blank for field in ("group", "split", "diagnosis"))
    licences = column(table, "licence") or [ham10000.LICENCE if name == "ham10000" else ""] * len(ids)
    second = table["second_mask"].tolist() if "second_mask" in table.columns else ["1"] * len(ids)
    cases = []
    for number, image_id in enumerate(ids):
        raters = [truth, *others] if second[number] not in ("", "0") else [truth]
        cases.append(
            Case(
                image_id,
                images[image_id],
                truth_paths=tuple(rater[image_id] for rater in raters if image_id in rater),
                group=groups[number],
                split=checked_split(splits[number], path / "labels.csv", number + 2),
                dataset=name,
                licence=licences[number],
                diagnosis=diagnoses[number],
            )
        )
    return cases
