"""Images that are no dermoscopy as the model knows it: does a distance of their features tell so, are they judged?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image, ImageFilter

from sqp.config.explain import ExplainConfig
from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic
from sqp.core.ownership import remove_written
from sqp.core.seeding import numpy_generator
from sqp.data.images import IMAGE_SUFFIXES, read_image
from sqp.data.volumes import VOLUME_SUFFIXES, read_volume
from sqp.explain.data import Material
from sqp.metrics.failures import failure_auroc
from sqp.metrics.stats import bootstrap
from sqp.quality.bundle.provenance import common_expectation
from sqp.quality.judging.predict import predict_records
from sqp.records.schema import NATURAL, kinds

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "horse.png")
"""Photographs that come with scikit-image's wheel; one that is not there is left out."""

BLUR = 0.05  # standard deviation as a share of the shorter side
DISTANCES = {
    "ood_image_distance": "image, Mahalanobis",
    "ood_image_knn_distance": "image, k-NN",
    "ood_distance": "model, Mahalanobis",
    "ood_knn_distance": "model, k-NN",
}


def flipped_polarity(image: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, 3]` as its negative."""
    return 255 - image


def blank(image: np.ndarray) -> np.ndarray:
    """One colour, the image's mean."""
    return np.broadcast_to(image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8), image.shape).copy()


def strong_blur(image: np.ndarray) -> np.ndarray:
    """Gaussian blur of 5 % of the shorter side."""
    radius = BLUR * min(image.shape[:2])
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


MADE = {"flipped polarity": flipped_polarity, "blank image": blank, "strong blur": strong_blur}
"""Kind -> image to image."""


def natural_photos(n: int, size: tuple[int, int], generator: np.random.Generator) -> list[np.ndarray]:
    """n random cut-outs, half a photograph's sides at least, as uint8 `[h, w, 3]` of `size` (h, w)."""
    folder = Path(skimage.data.__file__).parent
    paths = [folder / name for name in PHOTOS if (folder / name).is_file()]
    if not paths:
        raise ConfigError(f"no photograph in {folder}: install scikit-image again, or give --ood_images 0")
    made = []
    for i in range(n):
        photo = read_image(paths[i % len(paths)])
        share = generator.uniform(0.5, 1)
        h, w = (max(1, round(side * share)) for side in photo.shape[:2])
        y, x = (int(generator.integers(side - part + 1)) for side, part in zip(photo.shape[:2], (h, w), strict=True))
        made.append(_resized(photo[y : y + h, x : x + w], size))
    return made


def foreign_images(folder: Path, n: int, size: tuple[int, int]) -> list[np.ndarray]:
    """The first n images of a folder, or the middle slices (axial) of its NIfTI volumes, as uint8 `[h, w, 3]`.

    ConfigError where it has neither.
    """
    files = sorted(p for p in Path(folder).glob("*") if p.name.lower().endswith((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)))
    if not files:
        raise ConfigError(f"{folder} holds no images and no NIfTI volumes (.nii.gz): correct --ood_folders")
    read = [_slice(p) if p.name.lower().endswith(VOLUME_SUFFIXES) else read_image(p) for p in files[:n]]
    return [_resized(image, size) for image in read]


def ood_table(inside: pd.DataFrame, outside: Mapping[str, pd.DataFrame], n_resamples: int, seed: int) -> pd.DataFrame:
    """A row per kind of image and distance: AUROC of telling it from in-distribution, and how many are abstained from.

    The frames have group, verdict and the columns of `DISTANCES`. 95 % intervals of resamples of whole groups.
    """
    rows = []
    for kind, frame in outside.items():
        for column, name in DISTANCES.items():
            both = pd.concat([inside, frame], ignore_index=True)
            strange = np.arange(len(both)) >= len(inside)
            distance = both[column].to_numpy(float)
            if not np.isfinite(distance).any():
                continue
            # a failure is found by a low score: far away is low
            group = np.where(strange, kind + "/", "") + both["group"].astype(str).to_numpy(object)
            low, high = bootstrap(
                failure_auroc, -distance, strange, group=group.astype(str), n_resamples=n_resamples, seed=seed
            )
            row = {"images": kind, "distance": name, "n": int(strange.sum()), "n_inside": len(inside)}
            row |= {"auroc": failure_auroc(-distance, strange), "auroc_low": low, "auroc_high": high}
            row["abstained"] = float((frame["verdict"] == "abstain").mean())
            row["abstained_inside"] = float((inside["verdict"] == "abstain").mean())
            rows.append(row)
    return pd.DataFrame(rows)


def _slice(path: Path) -> np.ndarray:
    volume = read_volume(path)
    middle = volume.voxels[len(volume.voxels) // 2]
    low, high = np.percentile(middle, [1, 99])
    grey = np.clip((middle - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


MakeRecords = Callable[[Path], tuple[Path, Collection[str]]]
"""A folder of images -> the record set that was made of them, as a user's would be, and the ids of its records."""


def study_strangeness(config: ExplainConfig, material: Material, make_records: MakeRecords) -> pd.DataFrame:
    """AUROC of the distances and the share abstained from, for each kind of strange image: segmented, judged as usual.

    In distribution are the natural masks of the prompter that the bundle was trained with. ConfigError without any, or
    where no strange image can be segmented.
    """
    bundle, rows = material.bundle, material.rows
    expected = common_expectation(bundle.expects, bundle.name)
    inside = rows[(kinds(rows) == NATURAL) & (rows["prompter"] == expected.get("prompter"))]
    if inside.empty:
        raise ConfigError("no natural record of the bundle's prompter to compare strange images with: --ood_images 0")
    inside = predict_records(bundle, config.records, config.batch_size, record_ids=set(inside["record_id"]))
    outside = {}
    for kind, folder in write_strange(config, inside).items():
        out, record_ids = make_records(folder)
        if record_ids:
            outside[kind] = predict_records(bundle, [out], config.batch_size, record_ids=set(record_ids))
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
