"""COCO with `score` and `attributes`: FiftyOne, CVAT and pycocotools read it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.files import write_text
from sqp.data.annotations.coco import import_mask
from sqp.integrations.judged import Judged

FILE = "coco.json"
CATEGORY = {"id": 1, "name": "mask", "supercategory": ""}


def check() -> None:
    """ConfigError where pycocotools is not installed."""
    import_mask()


def write(rows: Iterable[Judged], folder: Path) -> list[Path]:
    """FOLDER/coco.json: an annotation a prediction, its mask in run lengths, its score the predicted Dice."""
    images: dict[int, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    for row in rows:
        height, width = row.mask.shape
        images[row.group] = {"id": row.group + 1, "file_name": row.image, "height": height, "width": width}
        annotations.append(
            {"id": len(annotations) + 1, "image_id": row.group + 1, "category_id": CATEGORY["id"], "iscrowd": 0}
            | coded(row.mask)
            | {"score": row.score, "attributes": row.attributes}
        )
    content = {
        "info": {"description": "masks and their predicted Dice (score), by sqp"},
        "licenses": [],
        "categories": [CATEGORY],
        "images": list(images.values()),
        "annotations": annotations,
    }
    write_text(folder / FILE, json.dumps(content))
    return [folder / FILE]


def coded(mask: np.ndarray) -> dict[str, Any]:
    """Segmentation, area and box of a mask bool `[h, w]`."""
    coder = import_mask()
    runs = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    box = [float(side) for side in coder.toBbox(runs)]
    return {
        "segmentation": {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")},
        "area": int(mask.sum()),
        "bbox": box,
    }
