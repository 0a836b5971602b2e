"""A tiny record set of volumes for tests: the masks are ellipsoids that are off by a little or a lot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from recordsets import CONFIG, make_record
from tiny_volumes import SHAPE, SPACING, bright, ellipsoid, write_nifti

from sqp.data.volumes import read_volume
from sqp.metrics.overlap import dice, iou
from sqp.records import RecordWriter

SPLITS: dict[str, int] = {"train": 12, "val": 4, "calibration": 10, "test": 4}
WRONG = (0.02, 0.12, 0.3)  # how far off the masks of a volume are, as a share of the sides
VARIANTS = ("natural", "erosion", "shift")


def make_volume_set(folder: Path, splits: Mapping[str, int] = SPLITS, orientation: str = "RAS") -> Path:
    """Volumes, truths and three records of each in `folder`; a volume is a group of its own."""
    writer = RecordWriter(folder)
    writer.check({**CONFIG, "label": [1]})
    for split, count in splits.items():
        for number in range(count):
            _write(writer, folder, split, number, orientation)
    writer.finish({"counts": {}})
    return folder


def _write(writer: RecordWriter, folder: Path, split: str, number: int, orientation: str) -> None:
    name = f"{split}{number:02d}"
    rng = np.random.default_rng([number, *split.encode()])
    centre, radius = rng.uniform(0.42, 0.58, 3), rng.uniform(0.25, 0.32)
    true = ellipsoid(centre=centre, radius=radius)
    image = write_nifti(folder / "images" / f"{name}.nii.gz", bright(true), orientation=orientation)
    truth = write_nifti(folder / "truth" / f"{name}.nii.gz", true, orientation=orientation)
    geometry = read_volume(image).geometry
    p = np.clip(0.02 + 0.96 * true.astype(np.float32), 0, 1)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    maps = {
        "probability": p,
        "entropy": entropy,
        "mutual_information": entropy / 5,
        "epkl": 9 * entropy,
        "variance": p / 9,
    }
    for index, wrong in enumerate(WRONG):
        mask = ellipsoid(centre=centre + wrong * rng.uniform(-1, 1, 3), radius=radius * (1 - wrong))
        record = make_record(
            f"{name}-{index}",
            image_id=name,
            group=name,
            split=split,
            image_path=str(image),
            mask_path=f"masks/{name}-{index}.nii.gz",
            truth_path=[str(truth)],
            height=SHAPE[1],
            width=SHAPE[2],
            spacing=list(SPACING),
            variant=VARIANTS[index],
            severity=wrong,
            natural=not index,
            dice=dice(mask, true),
            iou=iou(mask, true),
            scores={"c_lesion": float(rng.uniform()), "area": float(mask.mean())},
        )
        writer.write(record, mask, {f"self/{key}": value for key, value in maps.items()}, geometry)
