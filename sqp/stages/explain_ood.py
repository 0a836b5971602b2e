"""Strange images through the whole pipeline, as a user's would go: segmented, sampled, predicted, judged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sqp.config.explain import ExplainConfig
from sqp.config.predict import PredictConfig
from sqp.data.images import read_image
from sqp.errors import ConfigError
from sqp.explain.ood_check import MADE, foreign_images, natural_photos, ood_table
from sqp.io import RecordSet
from sqp.quality.bundle import Bundle
from sqp.quality.ood import MOST_KEPT, Neighbours
from sqp.quality.predict import predict_batch, predict_records, read_batch
from sqp.quality.provenance import common_expectation
from sqp.seeding import numpy_generator
from sqp.stages import generate
from sqp.stages.explain_data import Material
from sqp.stages.predict import generate_config


def study_ood(config: ExplainConfig, material: Material) -> pd.DataFrame:
    """AUROC of both distances and the share abstained from, for each kind of strange image.

    In distribution are the natural masks of the prompter that the bundle was trained with. ConfigError without any, or
    where no strange image can be segmented.
    """
    bundle = with_neighbours(config, material)
    rows, like = material.rows, common_expectation(bundle.expects, bundle.name)
    inside = rows[rows["natural"] & (rows["prompter"] == like.get("prompter"))]
    if inside.empty:
        raise ConfigError("no natural record of the bundle's prompter to compare strange images with: --ood_images 0")
    inside = predict_records(bundle, config.records, config.batch_size, record_ids=set(inside["record_id"]))
    folders = write_strange(config, inside)
    outside = {}
    for kind, folder in folders.items():
        made = generate.run(generate_config(_as_predict(config, folder), bundle.expects, bundle.sources))
        if made.record_ids:
            outside[kind] = predict_records(bundle, [made.out], config.batch_size, record_ids=made.record_ids)
    if not outside:
        raise ConfigError("no strange image could be segmented: give --ood_images 0")
    return ood_table(inside, outside, config.n_resamples, config.seed)


def with_neighbours(config: ExplainConfig, material: Material) -> Bundle:
    """The bundle; one from before the nearest neighbours gets them from the records' train and calibration splits."""
    bundle = material.bundle
    if bundle.ood.neighbours is not None:
        return bundle
    features = {split: _features(config, bundle, split) for split in ("train", "calibration")}
    if not all(len(found) for found in features.values()):
        return bundle
    near = Neighbours.fit(features["train"], features["calibration"], bundle.ood.quantile)
    return replace(bundle, ood=replace(bundle.ood, neighbours=near))


def write_strange(config: ExplainConfig, inside: pd.DataFrame) -> dict[str, Path]:
    """Folders of PNG by kind under OUT/ood; what is made of real images is made of the first in-distribution ones."""
    paths = inside["image_path"].drop_duplicates().head(config.ood_images)
    images = [read_image(path) for path in paths]
    size = images[0].shape[:2]
    sets = {kind: [make(image) for image in images] for kind, make in MADE.items()}
    photos = natural_photos(config.ood_images, size, numpy_generator(config.seed, "photos"))
    sets |= {"natural photo": photos}
    sets |= {folder.name: foreign_images(folder, config.ood_images, size) for folder in config.ood_folders}
    folders = {}
    for kind, made in sets.items():
        name = kind.replace(" ", "_")
        folders[kind] = config.out / "ood" / name / "images"
        folders[kind].mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(made):
            Image.fromarray(image).save(folders[kind] / f"{name}_{i:03d}.png")
    return folders


def _as_predict(config: ExplainConfig, folder: Path) -> PredictConfig:
    return PredictConfig(
        model=config.model,
        out=folder.parent,
        images=folder,
        checkpoint=config.checkpoint,
        device=config.device,
        overwrite=True,
    )


def _features(config: ExplainConfig, bundle: Bundle, split: str) -> np.ndarray:
    """Features of at most `MOST_KEPT` records of a split, evenly spaced, `[n, d]`."""
    found = []
    with ThreadPoolExecutor(2) as pool:
        for folder in config.records:
            records = RecordSet(folder)
            rows = records.table[records.table["split"] == split]
            few = np.unique(np.linspace(0, len(rows) - 1, min(MOST_KEPT, len(rows))).astype(int))
            for part in np.array_split(few, max(1, len(few) // config.batch_size)) if len(few) else []:
                read = rows.iloc[part]
                table, features = predict_batch(bundle, read, read_batch(bundle, records, read, pool), config.device)
                found.append(features[np.isfinite(table["predicted_dice"].to_numpy())])
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)
