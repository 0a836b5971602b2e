"""What `sqp demo` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sqp.config.checks import CommandConfig, Range
from sqp.core.errors import ConfigError

LEAST_IMAGES = 50  # below it the calibration split may have fewer than the 9 lesions of a 90 % interval


@dataclass
class DemoConfig(CommandConfig):
    """Run the whole of sqp on synthetic lesions with LiteMedSAM, on a bare CPU, and end with a report.

    Attributes:
        out: Folder of everything that is made.
        images: Number of synthetic images.
        size: Height and width of the images in pixels.
        samples: Samples of the uncertainty per mask.
        epochs: Most epochs of the quality model.
        seed: Seed of everything random.
        workers: Processes that segment; 0 runs in this one.
        overwrite: Start anew.
    """

    out: Path = Path("sqp-demo")
    images: int = 60
    size: tuple[int, int] = (192, 256)
    samples: int = 4
    epochs: int = 30
    seed: int = 0
    workers: int = 2
    overwrite: bool = False

    BOUNDS: ClassVar[dict[str, Range]] = {"size": (32, 4096)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < LEAST_IMAGES:
            raise ConfigError(f"--images {self.images} is too few for the demo's splits; give at least {LEAST_IMAGES}")
