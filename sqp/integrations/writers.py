"""`sqp predict --write NAME`: the table of what can be written beside predictions.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sqp.core.errors import ConfigError, lookup
from sqp.integrations import coco, cvat, labelstudio, slicer
from sqp.integrations.judged import Judged, judged_rows
from sqp.records import RecordSet


class Writer(NamedTuple):
    """`check` raises a ConfigError where a package is missing; `write(rows, folder)` gives the files; `volumes` too?"""

    check: Callable[[], None]
    write: Callable[[Iterable[Judged], Path], list[Path]]
    volumes: bool = False


WRITERS = {
    "coco": Writer(coco.check, coco.write),
    "labelstudio": Writer(labelstudio.check, labelstudio.write),
    "cvat": Writer(cvat.check, cvat.write),
    "slicer": Writer(slicer.check, slicer.write, volumes=True),
}


def check_writers(names: Sequence[str]) -> None:
    """ConfigError for a name that is none, or whose package is not installed: said before anything is segmented."""
    for name in names:
        lookup("format of --write", name, WRITERS).check()


def write_for_tools(names: Sequence[str], table: pd.DataFrame, folder: Path) -> dict[str, list[Path]]:
    """The files of these formats, by its name; masks are read one at a time, once a format.

    Args:
        names: names of `WRITERS`.
        table: predictions.
        folder: where predictions.csv lies.

    Returns:
        The files by the format's name.

    Raises:
        ConfigError: the records are of volumes, and a format holds flat images alone.
    """
    written = {}
    for name in names:
        writer = lookup("format of --write", name, WRITERS)
        if not writer.volumes and any(RecordSet(path).volumes for path in table["record_set"].unique()):
            raise ConfigError(f"--write {name} holds masks of images, and these are of volumes: use --write slicer")
        written[name] = writer.write(judged_rows(table), folder)
    return written
