"""A record set of twelve small records with images and truths on disk, made by code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from recordsets import make_record

from sqp.records import RecordSet, RecordWriter

STRANGE = "a<b>\"&'$x"  # an image id that must be escaped everywhere


def disc(h: int, w: int, radius: float, dx: float = 0) -> np.ndarray:
    y, x = np.mgrid[:h, :w]
    return (x - w / 2 - dx) ** 2 + (y - h / 2) ** 2 < radius**2


def make_record_set(folder: Path, n: int = 12) -> Path:
    """Discs on a skin-like ground; record i is shifted by 2 i pixels, the last one is an empty mask."""
    rng = np.random.default_rng(0)
    writer = RecordWriter(folder)
    writer.check({"kind": "fixture"})
    for i in range(n):
        h, w = (60, 90) if i % 2 else (80, 50)
        truth, mask = disc(h, w, 18), disc(h, w, 18, 2 * i) & (i < n - 1)
        image = np.clip(
            np.where(truth[..., None], [120, 70, 50], [225, 180, 160]) + rng.normal(0, 8, (h, w, 3)), 0, 255
        )
        paths = folder / f"image{i}.png", folder / f"truth{i}.png"
        Image.fromarray(image.astype(np.uint8)).save(paths[0])
        Image.fromarray(truth.astype(np.uint8) * 255).save(paths[1])
        total = mask.sum() + truth.sum()
        dice = float(2 * (mask & truth).sum() / total)
        record_id = f"rec-{i:03d}"
        record = make_record(
            record_id, image_id=STRANGE if i == 0 else f"img{i}", group=f"g{i}", split="test",
            image_path=str(paths[0]), truth_path=[str(paths[1])], height=h, width=w, severity=float("nan"),
            dice=dice, iou=dice / (2 - dice), scores={"c_lesion": 1 - i / 20, "area": 0.1},
        )  # fmt: skip
        entropy = np.exp(-((np.hypot(*np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]) - 0.5) ** 2) / 0.02)
        writer.write(record, mask, {"self/entropy": entropy, "self/probability": truth.astype(float)})
    writer.finish({})
    return folder


@pytest.fixture(scope="session")
def record_set(tmp_path_factory) -> Path:
    return make_record_set(tmp_path_factory.mktemp("set"))


@pytest.fixture
def predictions(record_set) -> pd.DataFrame:
    """A predictions table of the record set; the last record has no prediction."""
    table = RecordSet(record_set).table.assign(record_set=str(record_set))
    table["predicted_dice"] = table["dice"] * 0.9
    table["low"], table["high"] = table["predicted_dice"] - 0.1, table["predicted_dice"] + 0.1
    table["verdict"] = np.where(table["low"] >= 0.7, "accept", np.where(table["high"] < 0.7, "reject", "review"))
    table.loc[len(table) - 1, ["predicted_dice", "low", "high"]] = np.nan
    table.loc[len(table) - 1, "verdict"] = "abstain"
    return table
