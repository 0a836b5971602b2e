"""Which records of a folder still stand: those whose image and truth are the files that they were made of.

Another mask is another record (`plan`); another image or truth under the same name makes the same record anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqp.io import RecordWriter
from sqp.io.hashing import unchanged
from sqp.types import Case


def files_of(case: Case) -> list[Path]:
    """What a record of a case is made of, beside the mask: the image, then the truths."""
    return [case.image_path, *case.truth_paths]


def still_done(
    writer: RecordWriter, cases: Iterable[Case], plans: Mapping[str, Sequence[str]]
) -> tuple[set[str], list[str]]:
    """Ids of the finished records that stand, and of the images whose files have changed since.

    `plans` are the ids of a case's records by its image id. Records older than their stamps are taken as they are.
    """
    stamps = writer.stamps()
    done, changed = set(stamps), []
    for case in cases:
        names = [name for name in plans[case.image_id] if stamps.get(name)]
        stands = {stamp: unchanged(stamp, files_of(case)) for stamp in {stamps[name] for name in names}}
        old = {name for name in names if not stands[stamps[name]]}
        done -= old
        changed += [case.image_id] if old else []
    return done, changed
