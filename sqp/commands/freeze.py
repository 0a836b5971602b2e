"""`sqp freeze`: a record set -> the list and hashes of its spread test masks, before any training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqp.config.freeze import FreezeConfig
from sqp.core.files import check_free
from sqp.records import RecordSet
from sqp.records.frozen import freeze, write_frozen


@dataclass
class FreezeResult:
    """The frozen set, and where it was written."""

    frozen: Mapping[str, Any]
    file: Path

    def summary(self) -> str:
        """For the terminal: all but the masks."""
        counts = {key: value for key, value in self.frozen.items() if key != "masks"}
        return f"{self.file} {json.dumps(counts)}"


def run(config: FreezeConfig) -> FreezeResult:
    """Choose, hash and write; ConfigError where the file is there, or the masks are not spread enough."""
    check_free(config.out, config.overwrite)
    frozen = freeze(RecordSet(config.records), config.split, config.unseen, config.seed)
    write_frozen(config.out, frozen)
    return FreezeResult(frozen, config.out)
