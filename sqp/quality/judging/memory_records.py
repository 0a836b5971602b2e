"""Records that lie in no folder, and are read like those that do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.core.files import half
from sqp.records import Record, RecordSet
from sqp.records.record_maker import Made

MEMORY = "memory"
"""In place of the folder."""


@dataclass(frozen=True)
class Kept:
    """A record as it is kept in memory: its mask as bits, its maps as float16, as files hold them."""

    record: Record
    bits: np.ndarray
    maps: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, made: Made) -> Kept:
        """What was made of an image."""
        record, mask, maps, _ = made
        return cls(record, np.packbits(mask), {key: half(values) for key, values in maps.items()})


class MemoryRecords(RecordSet):
    """Records that were just made, each under a name of its own: two images may have the same id and the same mask."""

    def __init__(self, config: Mapping[str, Any], kept: Mapping[str, Kept], held: Mapping[str, np.ndarray]) -> None:
        self.folder = Path(MEMORY)
        self.held = held
        rows = [{**one.record.as_row(), "record_id": name} for name, one in kept.items()]
        self.__dict__["_read"] = (pd.DataFrame(rows), {})
        self.__dict__["run"] = {"config": config}
        self._kept = kept

    def mask(self, record_id: str) -> np.ndarray:
        """bool `[h, w]` at the image's own size."""
        one = self._kept[record_id]
        h, w = one.record.height, one.record.width
        return np.unpackbits(one.bits, count=h * w).reshape(h, w).astype(bool)

    def maps(self, record_id: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """float16 arrays by name; `names` None gives all. A name that is not there is an error."""
        stored = self._kept[record_id].maps
        wanted = list(stored if names is None else names)
        missing = [name for name in wanted if name not in stored]
        if missing:
            raise ConfigError(f"the record has no map '{missing[0]}'; it has: {', '.join(stored)}")
        return {name: stored[name] for name in wanted}

    def check_sources(self, row: Mapping[str, Any]) -> None:
        """Nothing: what is in memory is what the record was made of."""
