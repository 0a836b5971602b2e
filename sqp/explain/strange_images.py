"""Images that are no dermoscopy as the model knows it, and how well a distance of their features tells so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image, ImageFilter

from sqp.core.errors import ConfigError
from sqp.data.images import IMAGE_SUFFIXES, read_image
from sqp.data.volumes import VOLUME_SUFFIXES, read_volume
from sqp.metrics.selective import failure_auroc
from sqp.metrics.stats import bootstrap

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
