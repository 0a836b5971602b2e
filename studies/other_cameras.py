"""Copies of images as other cameras would show them, for records whose referees look at such an image, too.

In training the colours of an image can be changed, but not what its referees said of it. So whole records are made of a
copy: same lesion, group and truth, another photograph. `copies` is a step of `default_bundle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from sqp.core.files import write_atomic
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.data import read_image
from sqp.report.tables import write_csv
from sqp.training.cameras import as_seen
from studies.runner import listed


def copies(cases: Sequence[Case], folder: Path, seed: int = 0) -> Path:
    """FOLDER/images.csv: a row a copy, `ID-camera`, with the group, split, licence and truth of its case."""
    table = folder / "images.csv"
    if table.exists():
        return table
    rows = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for case in tqdm(cases, unit="image", desc="other cameras", disable=None):
        file = folder / "images" / f"{case.image_id}-camera.jpg"
        if not file.exists():
            _save(copy(read_image(case.image_path), case.image_id, seed), file)
        rows.append(listed(case) | {"image_id": file.stem, "image": str(file.absolute())})
    write_csv(pd.DataFrame(rows), table)
    return table


def copy(image: np.ndarray, image_id: str, seed: int) -> np.ndarray:
    """The image uint8 `[h, w, 3]` as another camera would show it."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    seen = as_seen(pixels, numpy_generator(seed, "camera", image_id))
    return (seen.permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)


def _save(image: np.ndarray, file: Path) -> None:
    """Nearly without loss: what a bad camera does has been done."""
    write_atomic(file, lambda stream: Image.fromarray(image).save(stream, "JPEG", quality=95, subsampling=0))
