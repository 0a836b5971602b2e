"""What `sqp splits` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqp.config.checks import Config


@dataclass
class SplitsConfig(Config):
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
    fractions: list[str] = field(default_factory=lambda: ["train=0.6", "calibration=0.15", "val=0.1", "test=0.15"])
    layout: str = "auto"
    seed: int = 0
    overwrite: bool = False
