"""What `sqp merge` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqp.config.checks import CommandConfig


@dataclass
class MergeConfig(CommandConfig):
    """Join the parts of a run with --shard, or folders that runs with one config wrote, into one folder.

    Attributes:
        out: Where the joined records or predictions go. Parts that were written into it are joined where no folders
            are named.
        folders: Folders to join, or folders that hold parts; named right after the command. They stay as they are.
        partial: Join what there is, though parts are missing or were interrupted.
    """

    out: Path
    folders: list[Path] = field(default_factory=list)
    partial: bool = False
