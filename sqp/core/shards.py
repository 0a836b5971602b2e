"""Parts of a run: which images a part takes, and the folder in OUT that is its own.

A part is chosen by a hash of the image's id, so images that are added move none from one part to another.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from sqp.core.errors import ConfigError

SHARDS = "shards"
NAME = re.compile(r"(\d+)-of-(\d+)")
MOST = 100_000


@dataclass(frozen=True, order=True)
class Shard:
    """Part `index` of `count`, from 1 on."""

    count: int
    index: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The part that `--shard` names.

        Args:
            text: i/n with 1 <= i <= n.

        Returns:
            The part.

        Raises:
            ConfigError: it is no such part.

        Examples:
            >>> Shard.parse("3/16")
            Shard(count=16, index=3)
            >>> Shard.parse("17/16")
            Traceback (most recent call last):
            sqp.core.errors.ConfigError: shard is '17/16'; it must be i/n with i from 1 to n, e.g. 3/16
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(text).strip(), re.ASCII)
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= count <= MOST:
            raise ConfigError(f"shard is {str(text)!r}; it must be i/n with i from 1 to n, e.g. 3/16")
        return cls(count, index)

    def holds(self, image_id: str) -> bool:
        """Whether an image is this part's."""
        return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8]) % self.count == self.index - 1

    @property
    def name(self) -> str:
        """Of its folder.

        Examples:
            >>> Shard(16, 3).name
            '3-of-16'
        """
        return f"{self.index}-of-{self.count}"

    def folder(self, out: Path) -> Path:
        """OUT/shards/NAME."""
        return out / SHARDS / self.name

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parts_in(out: Path) -> dict[Shard, Path]:
    """The parts that have a folder in OUT, in their order."""
    found = {}
    for folder in (out / SHARDS).glob("*-of-*"):
        name = NAME.fullmatch(folder.name)
        if name and folder.is_dir() and 1 <= int(name[1]) <= int(name[2]):
            found[Shard(int(name[2]), int(name[1]))] = folder
    return dict(sorted(found.items()))


def check_record_set(folder: Path) -> None:
    """ConfigError for a folder that holds no record set, or parts of one that are not joined yet."""
    if (folder / "records.parquet").exists() or any(folder.glob("rows/*.json")):
        return
    if parts_in(folder):
        raise ConfigError(f"{folder} holds parts of a run: join them first with `sqp merge --out {folder}`")
    raise ConfigError(f"{folder} is no record set: no records.parquet; make one with `sqp generate`")


def beside(folder: Path) -> list[Path]:
    """The same folder of the other parts, where they have it: `2-of-2/records` beside `1-of-2/records`."""
    for home in (folder, folder.parent):
        if NAME.fullmatch(home.name) and home.parent.name == SHARDS:
            inner = folder.relative_to(home)
            others = [part / inner for part in parts_in(home.parent.parent).values() if part != home]
            return [other for other in others if other.is_dir()]
    return []
