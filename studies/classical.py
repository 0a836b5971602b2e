"""Masks that nothing was fitted for: thresholds, clusters, watersheds and contours fail in ways of their own.

A quality model that has met only networks expects masks that look like theirs. Each method works on a copy of 128
pixels and is drawn at the image's own size. `masks` is a step of `default_bundle`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.filters import sobel, threshold_li
from skimage.segmentation import morphological_chan_vese, watershed
from sklearn.cluster import KMeans
from tqdm import tqdm

from sqp.core.files import write_mask
from sqp.core.types import Case
from sqp.data import read_image
from sqp.prompts.otsu import otsu_mask
from sqp.report.tables import write_csv
from studies.runner import listed

SIDE = 128


def otsu(image: np.ndarray) -> np.ndarray:
    """Otsu's lesion at the full size."""
    return otsu_mask(image)


def li(image: np.ndarray) -> np.ndarray:
    """Li's minimum cross-entropy threshold of the blurred grey image; all that is darker, with hairs and corners."""
    grey = ndimage.gaussian_filter(_grey(image), 1)
    return grey < threshold_li(grey)


def kmeans(image: np.ndarray) -> np.ndarray:
    """The darkest of three clusters of colours in CIELAB, its largest part, holes filled."""
    lab = rgb2lab(ndimage.gaussian_filter(image, (2, 2, 0)))
    if len(np.unique(lab.reshape(-1, 3), axis=0)) < 3:
        return np.zeros(lab.shape[:2], bool)
    found = KMeans(3, n_init=1, max_iter=50, random_state=0).fit(lab.reshape(-1, 3))
    darkest = int(np.argmin(found.cluster_centers_[:, 0]))
    return _largest((found.labels_ == darkest).reshape(lab.shape[:2]))


def centre_watershed(image: np.ndarray) -> np.ndarray:
    """The watershed of the gradient between a disc in the middle and the frame."""
    h, w = image.shape[:2]
    y, x = np.ogrid[:h, :w]
    markers = np.zeros((h, w), int)
    markers[(y - h / 2) ** 2 + (x - w / 2) ** 2 < (0.08 * min(h, w)) ** 2] = 1
    markers[[0, -1], :] = markers[:, [0, -1]] = 2
    return watershed(sobel(ndimage.gaussian_filter(_grey(image), 2)), markers) == 1


def active_contour(image: np.ndarray) -> np.ndarray:
    """Chan and Vese's contour without edges from a disc in the middle, 40 steps, its largest part."""
    grey = ndimage.gaussian_filter(_grey(image), 1)
    region = np.asarray(morphological_chan_vese(grey, 40, init_level_set="disk", smoothing=2)).astype(bool)
    if region.any() and not region.all() and grey[region].mean() > grey[~region].mean():
        region = ~region  # it holds two levels; the lesion is the darker one
    return _largest(region)


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "otsu": otsu,
    "li": li,
    "kmeans": kmeans,
    "watershed": centre_watershed,
    "active_contour": active_contour,
}


def drawn(image: np.ndarray, method: str) -> np.ndarray:
    """The mask of a method, bool `[h, w]`, of an image uint8 `[h, w, 3]`."""
    if method == "otsu":
        return otsu(image)
    h, w = image.shape[:2]
    share = SIDE / max(h, w)
    small = Image.fromarray(image).resize((max(8, round(w * share)), max(8, round(h * share))), Image.Resampling.BOX)
    region = METHODS[method](np.asarray(small) / 255.0)
    smooth = Image.fromarray(region.astype(np.uint8) * 255).resize((w, h), Image.Resampling.BILINEAR)
    return np.asarray(smooth) >= 128


def masks(cases: Sequence[Case], folder: Path) -> Path:
    """FOLDER/masks.csv: a row an image, its method drawn in turn, with group, split, licence and truth of the case."""
    table = folder / "masks.csv"
    if table.exists():
        return table
    rows = []
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(tqdm(cases, unit="image", desc="classical masks", disable=None)):
        method = list(METHODS)[number % len(METHODS)]
        file = folder / "masks" / f"{case.image_id}.png"
        if not file.exists():
            write_mask(file, drawn(read_image(case.image_path), method))
        rows.append(listed(case) | {"mask": str(file.absolute()), "method": method})
    write_csv(pd.DataFrame(rows), table)
    return table


def _grey(image: np.ndarray) -> np.ndarray:
    return image.mean(axis=2)


def _largest(region: np.ndarray) -> np.ndarray:
    """The largest connected part, holes filled; empty where it is."""
    labels, n = ndimage.label(region)
    if not n:
        return region
    sizes = ndimage.sum_labels(region, labels, range(1, n + 1))
    return ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
