"""What `sqp freeze` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqp.config.checks import CommandConfig
from sqp.config.generate import UNSEEN
from sqp.core.names import Split


@dataclass
class FreezeConfig(CommandConfig):
    """Freeze the spread test masks of a record set, before any training: which they are, and a hash of each.

    Attributes:
        records: Record set with truth and corrupted masks.
        out: The JSON file that is written (`sqp evaluate --frozen`), to be committed before any training.
        split: Split whose corrupted masks are frozen.
        unseen: Corruptions that the model will not see in training; they are a part of the set of its own.
        seed: Seed of the draw that keeps each bin of Dice from holding too many.
        overwrite: Replace a file that is there: what was measured on it can no longer be measured again.
    """

    records: Path
    out: Path
    split: Split = "test"
    unseen: list[str] = field(default_factory=lambda: list(UNSEEN))
    seed: int = 0
    overwrite: bool = False
