"""The parts of a run in one folder: each has a folder of its own in it, which no other part writes into."""

from __future__ import annotations

from pathlib import Path

from sqp.core.errors import ConfigError
from sqp.core.ownership import owned
from sqp.core.shards import Shard, parts_in

PATIENCE_S = 60.0
"""How long a part waits for another one to have said in OUT that it begins: that takes no time."""


def claim(out: Path, command: str, part: Shard) -> Path:
    """The folder of a part in OUT, which becomes the command's.

    Args:
        out: the folder of all parts.
        command: whose it is.
        part: which one.

    Returns:
        OUT/shards/i-of-n.

    Raises:
        ConfigError: OUT is another's, was made in one piece, or holds parts of another number.
    """
    with owned(out, command, wait=PATIENCE_S):
        known = parts_in(out)
        if not known and (out / "run.yaml").exists():
            raise ConfigError(f"{out} was made in one piece: leave out --shard, or choose another --out")
        others = {one.count for one in known} - {part.count}
        if others:
            raise ConfigError(
                f"{out} holds parts of {min(others)}, this is part {part}: give i/{min(others)}, or another --out"
            )
    return part.folder(out)


def check_whole(out: Path) -> None:
    """ConfigError for a run in one piece into a folder whose parts are not joined."""
    if parts_in(out) and not (out / "run.yaml").exists():
        raise ConfigError(
            f"{out} holds parts of a run with --shard: join them with `sqp merge --out {out}`, or choose another --out"
        )
