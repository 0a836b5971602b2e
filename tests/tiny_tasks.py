"""Small tasks: discs of one brightness each, in a table as `studies.tasks` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SPLITS = ["train"] * 8 + ["calibration"] * 4 + ["val"] * 2 + ["test"] * 3


def write_task(home: Path, task: str, rng: np.random.Generator) -> list[dict[str, str]]:
    """Discs, one an image; two train images a group."""
    y, x = np.mgrid[:48, :64]
    rows = []
    for number, split in enumerate(SPLITS):
        mask = np.hypot(x - rng.uniform(20, 44), y - rng.uniform(18, 30)) < rng.uniform(5, 8 if task == "small" else 14)
        grey = np.where(mask == (task != "bright"), 30, 220) + rng.integers(-9, 10, (48, 64))
        for kind, pixels in (("images", np.repeat(grey[..., None], 3, 2)), ("masks", mask * 255)):
            (home / task / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(home / task / kind / f"{number:02d}.png")
        group = f"{split}{number // 2 if split == 'train' else number}"
        rows.append({"dataset": task, "image_id": f"{number:02d}", "group": group, "split": split, "licence": "CC0"})
    return rows


def write_tasks(home: Path, tasks: Sequence[str]) -> Path:
    """The table of their images, which lie beside it: `small` has small discs, `bright` bright ones."""
    rng = np.random.default_rng(0)
    labels = home / "labels.csv"
    pd.DataFrame([row for task in tasks for row in write_task(home, task, rng)]).to_csv(labels, index=False)
    return labels
