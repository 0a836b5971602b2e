"""Which records of a folder still stand: those whose image and truth are the files that they were made of, and whose
own mask and maps are the files that were written.

Another mask is another record (`plan`); another image or truth under the same name makes the same record anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.errors import CaseError
from sqp.core.files import changed_source, content_of, stamp_of, unchanged, write_json
from sqp.core.types import Case
from sqp.core.volume import Geometry
from sqp.data.masks import read_mask
from sqp.data.sizes import check_same_size
from sqp.data.volumes import check_same_place, read_structure
from sqp.metrics.overlap import dice, iou
from sqp.records import RecordSet, RecordWriter
from sqp.records.draft import over_raters
from sqp.records.schema import CONTENT


@dataclass
class Finished:
    """`done`: ids of the records that stand. `stale`: of those that do not, and must not be read as if they did.

    `changed`: images of this run whose files, or whose truths, are others now, `left` those of earlier runs;
    `damaged`: records whose mask or maps are. `bare`: records that stand, and whose image has a truth now that it had
    not when they were made.
    """

    done: set[str]
    stale: set[str] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)


def files_of(case: Case) -> list[Path]:
    """What a record of a case is made of, beside the mask: the image, then the truths."""
    return [case.image_path, *case.truth_paths]


def still_done(writer: RecordWriter, cases: Iterable[Case], plans: Mapping[str, Sequence[str]]) -> Finished:
    """What stands of the finished records, those of other masks and of other images too.

    `plans` are the ids of a case's records by its image id. Records older than their stamps are taken as they are.
    """
    sources = writer.sources()
    finished = Finished(set(sources))
    files = {case.image_id: files_of(case) for case in cases}
    planned = {name for names in plans.values() for name in names}
    stands: dict[tuple[str, str], bool] = {}
    changed: set[str] = set()
    for name, row in sources.items():
        image, stamp = row["image_id"], row["files"]
        if (image, stamp) not in stands:
            here, then = files.get(image), [row["image_path"], *(row["truth_path"] or ())]
            same = changed_source(stamp, then) is None if here is None else unchanged(stamp, here)
            stands[image, stamp] = not stamp or same
        gains = not stands[image, stamp] and _gains_truth(row, files.get(image, []))
        if gains and (name not in planned or _whole(writer, row)):
            finished.bare.add(name)
        elif not stands[image, stamp]:
            finished.stale.add(name)
            changed.add(image)
        elif name in planned and not _whole(writer, row):
            finished.stale.add(name)
            finished.damaged.append(name)
    finished.changed, finished.left = sorted(changed & plans.keys()), sorted(changed - plans.keys())
    finished.done -= finished.stale
    return finished


def _gains_truth(row: Mapping[str, Any], files: Sequence[Path]) -> bool:
    """Whether a record of the same image, but of no truth, has one now; a corruption was steered without it."""
    steered = row["variant"] != "natural"
    return not steered and not row["truth_path"] and len(files) > 1 and unchanged(row["files"], files[:1])


def join_truth(writer: RecordWriter, cases: Iterable[Case], ids: Collection[str]) -> dict[str, str]:
    """Give records (`Finished.bare`) the truth of their image, with Dice and IoU; nothing else of them changes.

    Returns by image id why a truth cannot be joined: there the records stay without one.
    """
    of_image = {case.image_id: case for case in cases}
    truths: dict[str, list[np.ndarray]] = {}
    problems: dict[str, str] = {}
    records = RecordSet(writer.folder)
    bare = records.table[records.table["record_id"].isin(list(ids))].sort_values("image_id", kind="stable")
    for row in bare.to_dict("records"):
        case, name = of_image[row["image_id"]], row["record_id"]
        try:
            mask, place = records.volume_mask(name) if records.volumes else (records.mask(name), None)
            if case.image_id not in truths:
                truths = {case.image_id: [_truth_of(case, path, mask, place) for path in case.truth_paths]}
        except (CaseError, OSError, ValueError) as error:
            problems[case.image_id] = str(error)
            continue
        drawn = truths[case.image_id]
        amended: dict[str, Any] = {
            "truth_path": [str(path.absolute()) for path in case.truth_paths],
            "files": stamp_of(files_of(case)),
        }
        amended |= {"dice": over_raters(dice, mask, drawn), "iou": over_raters(iou, mask, drawn)}
        amended |= {"spacing": list(row["spacing"]), CONTENT: records.contents[name]}
        write_json(writer.folder / "rows" / f"{name}.json", row | amended)
    return problems


def _truth_of(case: Case, path: Path, mask: np.ndarray, place: Geometry | None) -> np.ndarray:
    """A truth, bool, of the size and in the place of the mask. CaseError where it is not."""
    if place is None:
        truth = read_mask(path, case.labels)
        check_same_size(case.image_path, (mask.shape[0], mask.shape[1]), path, (truth.shape[0], truth.shape[1]))
        return truth
    truth, its_place = read_structure(path, case.labels)
    check_same_place(case.image_path, place, path, its_place)
    return truth


def _whole(writer: RecordWriter, row: Mapping[str, Any]) -> bool:
    """Whether mask and maps are there, of the size that they had, and the mask is the very same.

    Records older than that have no size: there an empty file is damaged. Maps are hashed where they are read.
    """
    mask, maps = writer.parts(row["record_id"], row["mask_path"])
    if not (mask.is_file() and maps.is_file()):
        return False
    if not row["content"]:
        return bool(mask.stat().st_size and maps.stat().st_size)
    of_mask, of_maps = row["content"].split(";")
    return str(maps.stat().st_size) == of_maps.split()[0] and content_of([mask.read_bytes()]) == of_mask
