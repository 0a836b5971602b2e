"""Records that lie in no folder, and are read like those that do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.core.files import half
from sqp.records.reader import RecordSet
from sqp.records.record_maker import Made

MEMORY = "memory"
"""In place of the folder."""


class MemoryRecords(RecordSet):
    """Records as they were made, each under a name of its own: two images may have the same id and the same mask.

    Masks are kept as bits, maps as float16, as a folder keeps them.
    """

    def __init__(
        self, config: Mapping[str, Any], made: Sequence[tuple[str, Made]], held: Mapping[str, np.ndarray]
    ) -> None:
        self.folder = Path(MEMORY)
        self.held = held
        rows = [{**record.as_row(), "record_id": name} for name, (record, _, _, _) in made]
        self.__dict__["_read"] = (pd.DataFrame(rows), {})
        self.__dict__["run"] = {"config": config}
        self._masks = {name: (mask.shape, np.packbits(mask)) for name, (_, mask, _, _) in made}
        self._maps = {name: {key: half(values) for key, values in maps.items()} for name, (_, _, maps, _) in made}

    def mask(self, record_id: str) -> np.ndarray:
        """bool `[h, w]` at the image's own size."""
        (h, w), bits = self._masks[record_id]
        return np.unpackbits(bits, count=h * w).reshape(h, w).astype(bool)

    def maps(self, record_id: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """float16 arrays by name; `names` None gives all. A name that is not there is an error."""
        stored = self._maps[record_id]
        wanted = list(stored if names is None else names)
        missing = [name for name in wanted if name not in stored]
        if missing:
            raise ConfigError(f"the record has no map '{missing[0]}'; it has: {', '.join(stored)}")
        return {name: stored[name] for name in wanted}

    def check_sources(self, row: Mapping[str, Any]) -> None:
        """Nothing: what is in memory is what the record was made of."""
