"""What `sqp demo` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqp.config.checks import Config


@dataclass
class DemoConfig(Config):
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
