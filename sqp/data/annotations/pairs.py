"""Images with their masks out of a tool's file, as pairs: what `--references FILE` shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sqp.core.errors import ConfigError
from sqp.core.files import write_mask
from sqp.core.types import Case
from sqp.data.annotations.annotation import Annotation
from sqp.data.annotations.cases import Label, check_apart, chosen, owners_of, read_annotations
from sqp.data.cases import find_cases
from sqp.data.layouts.folders import IMAGE_FOLDERS, child


def annotated_pairs(file: Path, labels: Sequence[Label] = ()) -> list[Case]:
    """A case for each image of the file that lies beside it, or in `images/` there; all its annotations are one mask.

    The masks are decoded into a folder that lasts as long as the process.

    Args:
        file: of COCO, Label Studio or CVAT.
        labels: names or numbers of the categories that are the structure.

    Returns:
        The cases with their truth. Of an image with a mask that cannot be decoded the file of the truth is lacking, so
        that reading it tells.

    Raises:
        ConfigError: it is none of these files, annotations are of several categories and `labels` does not choose, or
            none of its images is there.
    """
    stamp = file.stat().st_mtime_ns if file.is_file() else 0
    return list(_pairs(file, tuple(labels), stamp)[1])


@lru_cache(maxsize=8)
def _pairs(file: Path, labels: tuple[Label, ...], stamp: int) -> tuple[TemporaryDirectory[str], tuple[Case, ...]]:
    found = chosen(read_annotations(file), labels, file)
    names = sorted({one.label for one in found})
    if not labels and len(names) > 1:
        raise ConfigError(
            f"the references of {file} are of {len(names)} structures, {', '.join(names[:20])}: references are of one, "
            "choose it with --label"
        )
    images = child(file.parent, IMAGE_FOLDERS) or file.parent
    owners = owners_of({one.image for one in found}, list(find_cases(images)))
    check_apart(owners)
    if not owners:
        raise ConfigError(f"none of the images of {file} is in {images}, e.g. {found[0].image}: put them there")
    folder = TemporaryDirectory(prefix="sqp-references-")
    cases = []
    for name, case in sorted(owners.items(), key=lambda item: item[1].image_id):
        mask = Path(folder.name) / f"{case.image_id}.png"
        _write_all([one for one in found if one.image == name], mask)
        cases.append(Case(case.image_id, case.image_path, truth_paths=(mask,), licence=case.licence))
    return folder, tuple(cases)


def _write_all(annotations: Sequence[Annotation], file: Path) -> None:
    """The union of masks; nothing where one of them is damaged, or a volume."""
    try:
        decoded = [one.mask() for one in annotations]
        write_mask(file, np.logical_or.reduce([mask for mask in decoded if isinstance(mask, np.ndarray)]))
    except ValueError:
        file.unlink(missing_ok=True)
