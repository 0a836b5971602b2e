"""Which map of a record is shown beside its mask: the first measure of uncertainty that there is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from sqp.core.errors import CaseError, ConfigError
from sqp.quality.bundle.sources import REFEREE, SELF, SUPERVISED
from sqp.quality.model.channels import UNREADABLE
from sqp.records import RecordSet

ShownMap = tuple[str, float, np.ndarray | None, tuple[float, float] | None]
SOURCES = (SELF, REFEREE, SUPERVISED)
SHOWN = (  # the first measure that the record set has, its title, and the value of the brightest colour
    ("entropy", "entropy (bits)", 1.0),
    ("mutual_information", "mutual information (bits)", 1.0),
    ("variance", "variance", 0.25),
)


def stored_map(records: RecordSet, record_id: str) -> ShownMap:
    """`shown_map` of a record."""

    def read(key: str) -> tuple[np.ndarray, tuple[float, float] | None]:
        values = records.maps(record_id, [key])[key].astype(np.float32)
        return values, records.covered(record_id, key, values.shape)

    return shown_map(read)


def shown_map(read: Callable[[str], tuple[np.ndarray, tuple[float, float] | None]]) -> ShownMap:
    """Title, top value and map on its grid of the first measure there is, the segmenter's before the referees'.

    Last come the (rows, columns) of the grid that the image takes.
    """
    for source, (name, title, top) in product(SOURCES, SHOWN):
        try:
            values, covered = read(f"{source}/{name}")
        except (KeyError, CaseError, ConfigError, *UNREADABLE):
            continue
        title = title if source == SELF else f"{title} of the referee"
        return title, top, values, covered
    return "no uncertainty map", 1.0, None, None
