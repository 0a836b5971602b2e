"""Strange images through the whole pipeline, as a user's would go: segmented, sampled, predicted, judged."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from sqp.config.explain import ExplainConfig
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic
from sqp.core.ownership import remove_written
from sqp.core.seeding import numpy_generator
from sqp.data.images import read_image
from sqp.explain.data import Material
from sqp.explain.strange_images import MADE, foreign_images, natural_photos, ood_table
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.provenance import common_expectation
from sqp.quality.judging.predict import predict_records
from sqp.records.make import make_record_set
from sqp.records.schema import NATURAL, kinds


def study_ood(config: ExplainConfig, material: Material) -> pd.DataFrame:
    """AUROC of both distances and the share abstained from, for each kind of strange image.

    In distribution are the natural masks of the prompter that the bundle was trained with. ConfigError without any, or
    where no strange image can be segmented.
    """
    bundle, rows = material.bundle, material.rows
    like = common_expectation(bundle.expects, bundle.name)
    inside = rows[(kinds(rows) == NATURAL) & (rows["prompter"] == like.get("prompter"))]
    if inside.empty:
        raise ConfigError("no natural record of the bundle's prompter to compare strange images with: --ood_images 0")
    inside = predict_records(bundle, config.records, config.batch_size, record_ids=set(inside["record_id"]))
    folders = write_strange(config, inside)
    outside = {}
    for kind, folder in folders.items():
        made = make_record_set(generate_config(_as_predict(config, folder), bundle.expects, bundle.sources))
        if made.record_ids:
            outside[kind] = predict_records(bundle, [made.out], config.batch_size, record_ids=made.record_ids)
    if not outside:
        raise ConfigError("no strange image could be segmented: give --ood_images 0")
    return ood_table(inside, outside, config.n_resamples, config.seed)


def write_strange(config: ExplainConfig, inside: pd.DataFrame) -> dict[str, Path]:
    """Folders of PNG by kind under OUT/ood; what is made of real images is made of the first in-distribution ones.

    What an interrupted run has made of them stays as far as the images are the same.
    """
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
        wanted = {f"{name}_{i:03d}.png": image for i, image in enumerate(made)}
        home = folders[kind]
        remove_written(partial(_is_other, home, frozenset(wanted)))
        home.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in home.iterdir() if path.name not in wanted and path.name[0] != "."]
        if others:
            raise ConfigError(f"{home} holds {others[0]}, which sqp did not write: choose another --out")
        for key, image in wanted.items():
            write_atomic(folders[kind] / key, partial(Image.fromarray(image).save, format="PNG"))
    return folders


def _is_other(home: Path, wanted: Collection[str], path: Path) -> bool:
    """Whether a file lies in `home` under a name that is not wanted there."""
    return path.parent == home and path.name not in wanted


def _as_predict(config: ExplainConfig, folder: Path) -> PredictConfig:
    return PredictConfig(
        model=config.model,
        out=folder.parent,
        images=folder,
        checkpoint=config.checkpoint,
        device=config.device,
        overwrite=config.overwrite,
    )
