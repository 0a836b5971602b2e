"""A tiny record set for tests: lesions are discs, masks are discs that are off by a little or a lot.

The Dice can be seen: the probability map shows the true disc, softly, and the image shows it dark on skin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sqp.records import Record, RecordWriter
from sqp.records.schema import CONTENT, record_id

SIZE = (48, 64)  # h, w of an image
GRID = (24, 32)
SPLITS: dict[str, int] = {"train": 16, "val": 6, "calibration": 12, "test": 6}
VARIANTS = ("natural", "erosion", "shift")
MAPS = ("probability", "certainty", "entropy", "mutual_information", "epkl", "variance")
CONFIG = {
    "segmenter": {"name": "litemedsam", "checkpoint": None, "precision": "float32", "multimask": "auto"}
    | {"weights_sha256": "00"},
    "prompter": "otsu",
    "sampler": {"name": "prompt_jitter", "n": 8, "ratio": 0.05, "edges": False},
    "measures": list(MAPS[1:]),
    "seed": 0,
}


def make_record(name: str, **changes: object) -> Record:
    """A natural record of an image `a` of 5 x 7 pixels, with what is to be different."""
    record = Record(
        record_id=name,
        image_id="a",
        group="a",
        split="train",
        dataset="toy",
        licence="CC0",
        diagnosis="",
        image_path="/a.png",
        mask_path=f"masks/{name}.png",
        truth_path=["/t.png", "/u.png"],
        height=5,
        width=7,
        spacing=[],
        segmenter="litemedsam",
        weights_sha256="00",
        prompter="otsu",
        prompt='{"made_by": "otsu"}',
        sampler="prompt_jitter",
        n_samples=8,
        seed=0,
        variant="natural",
        severity=0.0,
        natural=True,
        parent_record_id="",
        refined_by="",
        fused_by="",
        dice=0.5,
        iou=1 / 3,
        scores={"area": 0.2, "c_lesion": float("nan")},
    )
    return dataclasses.replace(record, **changes)


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """bool `[h, w]`; centre and radius as shares of the width and height."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot((columns + 0.5) / shape[1] - x, (rows + 0.5) / shape[0] - y) < radius


def make_record_set(
    folder: Path,
    splits: Mapping[str, int] = SPLITS,
    variants: tuple[str, ...] = VARIANTS,
    maps: tuple[str, ...] = MAPS,
    config: Mapping[str, object] = CONFIG,
    seed: int = 0,
    dice: Mapping[str, float] | None = None,
    truth: bool = True,
    features: tuple[str, ...] = (),
) -> Path:
    """Write images, truths and records of every split into `folder`; returns it.

    An image is a group of its own. `dice` overrides the Dice that is written for the records of a split (a
    test plants absurd ones). `features` get vectors of 4 that tell the Dice, roughly. An image's pixels depend on the
    seed, its split and its number alone.
    """
    writer = RecordWriter(folder)
    writer.check(config)
    for name in ("images", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for split, count in splits.items():
        for number in range(count):
            _write_image(writer, folder, split, number, variants, maps, seed, (dice or {}).get(split), truth, features)
    writer.finish({"counts": {}})
    forget_hashes(folder)  # tests alter the files
    return folder


def forget_hashes(folder: Path) -> None:
    """As if the record set were older than the hashes of its masks and maps."""
    table = pq.read_table(folder / "records.parquet")
    place = table.schema.get_field_index(CONTENT)
    pq.write_table(table.set_column(place, CONTENT, pa.array([""] * len(table))), folder / "records.parquet")


def _write_image(
    writer: RecordWriter,
    folder: Path,
    split: str,
    number: int,
    variants: tuple[str, ...],
    maps: tuple[str, ...],
    seed: int,
    planted: float | None,
    truth: bool,
    features: tuple[str, ...],
) -> None:
    image_id = f"{split}{number:03d}"
    rng = np.random.default_rng([seed, number, *split.encode()])
    x, y, radius = *rng.uniform(0.35, 0.65, 2), rng.uniform(0.15, 0.3)
    true = disc(SIZE, x, y, radius)
    image_path, truth_path = folder / "images" / f"{image_id}.png", folder / "truth" / f"{image_id}.png"
    if not image_path.exists():
        pixels = np.where(true[..., None], (90, 60, 50), (220, 180, 160)) + rng.normal(0, 8, (*SIZE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(image_path)
        Image.fromarray(true.astype(np.uint8) * 255).save(truth_path)
    for index, variant in enumerate(variants):
        wrong = 0.1 if variant == "natural" else 1.0
        mask = disc(
            SIZE,
            x + wrong * rng.uniform(-0.2, 0.2),
            y + wrong * rng.uniform(-0.2, 0.2),
            radius * (1 - wrong * rng.uniform(0, 0.6)),
        )
        overlap = 2 * (mask & true).sum() / (mask.sum() + true.sum())
        probability = _soft(disc(GRID, x, y, radius))
        name = record_id(image_id, variant, index)
        record = make_record(
            name,
            image_id=image_id,
            group=image_id,
            split=split,
            image_path=str(image_path),
            truth_path=[str(truth_path)] if truth else [],
            height=SIZE[0],
            width=SIZE[1],
            variant=variant,
            natural=variant == "natural",
            dice=(float(overlap) if planted is None else planted) if truth else float("nan"),
            iou=float(overlap / (2 - overlap)) if truth else float("nan"),
            scores={
                "c_lesion": float(0.5 + 0.4 * overlap + rng.normal(0, 0.05)),
                "soft_dice_confidence": float(overlap * 0.9),
                "predicted_iou": float(overlap) if variant == "natural" else float("nan"),
                "area": float(mask.mean()),
            },
        )
        stored = {f"self/{m}": v for m, v in _maps(probability).items() if m in maps}
        vector = overlap * np.array([1, -1, 2, 0]) + np.random.default_rng(index).normal(0, 0.05, 4)
        writer.write(record, mask, stored | {f"features/{name}": vector for name in features})


def _soft(mask: np.ndarray) -> np.ndarray:
    """A mask -> probabilities with a soft border."""
    soft = mask.astype(np.float32)
    for axis in (0, 1):
        soft = (np.roll(soft, 1, axis) + soft + np.roll(soft, -1, axis)) / 3
    return 0.02 + 0.96 * soft


def _maps(p: np.ndarray) -> dict[str, np.ndarray]:
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return {
        "probability": p,
        "certainty": np.abs(2 * p - 1),
        "entropy": entropy,
        "mutual_information": 0.2 * entropy,
        "epkl": 40 * entropy,
        "variance": 0.3 * p * (1 - p),
    }
