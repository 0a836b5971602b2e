"""Which records of a folder still stand: those whose image and truth are the files that they were made of, and whose
own mask and maps are the files that were written.

Another mask is another record (`plan`); another image or truth under the same name makes the same record anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqp.core.files import changed_source, content_of, unchanged
from sqp.core.types import Case
from sqp.records import RecordWriter


@dataclass
class Finished:
    """`done`: ids of the records that stand. `stale`: of those that do not, and must not be read as if they did.

    `changed`: images of this run whose files, or whose truths, are others now, `left` those of earlier runs;
    `damaged`: records whose mask or maps are.
    """

    done: set[str]
    stale: set[str] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


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
        if not stands[image, stamp]:
            finished.stale.add(name)
            changed.add(image)
        elif name in planned and not _whole(writer, row):
            finished.stale.add(name)
            finished.damaged.append(name)
    finished.changed, finished.left = sorted(changed & plans.keys()), sorted(changed - plans.keys())
    finished.done -= finished.stale
    return finished


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
