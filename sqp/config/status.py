"""What `sqp status` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqp.config.checks import CommandConfig


@dataclass
class StatusConfig(CommandConfig):
    """Tell of a run of generate or predict, or of its parts, how many images are done, skipped, missing and stale.

    Attributes:
        out: Folder of the run; named right after the command.
    """

    out: Path
