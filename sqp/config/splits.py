"""What `sqp splits` does, as one dataclass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqp.config.checks import CommandConfig
from sqp.core.errors import ConfigError
from sqp.core.names import Layout

DEFAULT_FRACTIONS = ("train=0.6", "calibration=0.15", "val=0.1", "test=0.15")


@dataclass
class SplitsConfig(CommandConfig):
    """Make a split file by group (lesion, patient), for `sqp generate --splits OUT.json`.

    Attributes:
        images: Folder, CSV or root of a data set, as for `sqp generate --images`; its column or file of groups counts,
            each image is its own group where there is none.
        out: The JSON file that is written.
        rule: groups (all images by group in these fractions; a column `split` of the data does not count), or the
            rule of a data set with its labels.csv: isic2018, ham10000 (official test and val stay, train is parted).
        fractions: Shares of the images, SPLIT=SHARE, summing to 1; of the rule groups only.
        layout: Layout of the data, as for `sqp generate`.
        seed: Seed of the order of the groups.
        overwrite: Replace a file that is there.
    """

    images: Path
    out: Path
    rule: Literal["groups", "isic2018", "ham10000"] = "groups"
    fractions: list[str] = field(default_factory=lambda: [*DEFAULT_FRACTIONS])
    layout: Layout = "auto"
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = self.shares  # told here where one cannot be read
        if self.rule != "groups" and shares != read_fractions(DEFAULT_FRACTIONS):
            raise ConfigError(
                f"the rule {self.rule} has its own fractions: leave out --fractions, or take --rule groups"
            )

    @property
    def shares(self) -> dict[str, float]:
        """The fractions by split."""
        return read_fractions(self.fractions)


def read_fractions(entries: Sequence[str]) -> dict[str, float]:
    """The shares of the splits; ConfigError where an entry is no SPLIT=SHARE.

    Examples:
        >>> read_fractions(["train=0.8", "test=0.2"])
        {'train': 0.8, 'test': 0.2}
    """
    try:
        return {name: float(share) for name, share in (entry.split("=") for entry in entries)}
    except ValueError:
        raise ConfigError(f"--fractions {' '.join(entries)}: write them as train=0.6 calibration=0.15 ...") from None
