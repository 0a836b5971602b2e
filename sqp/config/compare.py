"""What `sqp compare` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqp.config.checks import CommandConfig


@dataclass
class CompareConfig(CommandConfig):
    """Compare finished runs side by side, from their folders alone: `sqp compare RUN RUN ... --out OUT`.

    Attributes:
        runs: OUT folders of sqp train or sqp evaluate, or folders that hold one of each; the names may stand right
            after the command.
        out: Folder of comparison.md, comparison.csv and comparison.png.
        n_resamples: Bootstrap resamples, by group, of the differences between the models.
        seed: Seed of the bootstrap.
    """

    runs: list[Path]
    out: Path = Path("sqp-compare")
    n_resamples: int = 2000
    seed: int = 0
