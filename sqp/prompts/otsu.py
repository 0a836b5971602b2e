"""Otsu's threshold on a smoothed grey image: the default automatic prompt; no learning, no truth."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from sqp.core.boxes import margin_box, tight_box
from sqp.core.errors import ConfigError
from sqp.core.types import Prompt

# Tuned on 200 training images of ISIC 2018, never on its val or test split.
SIDE = 256  # long side of the copy that is worked on; the lengths below are pixels of it
CHANNELS = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.299, 0.587, 0.114))  # blue; if that fails green, then luma
HAIR = 5  # width of the grey closing that removes dark hairs
SIGMA = 3.0  # of the Gaussian
VIGNETTE = 0.35  # below this share of bright skin, joined to a corner, not central: neither skin nor lesion
OPENING = 5  # width of the binary opening
AREA = (0.004, 0.9)  # plausible area of a lesion, share of the image
CONTACT = 0.6  # a lesion touches at most this share of the image's border
CENTRAL = 0.2  # the component of most weight under a central Gaussian of this sigma (share of the side) wins


def otsu(
    image: np.ndarray,
    *,
    margin: float = 0.0,
    use: str = "box",
) -> list[Prompt]:
    """Box (grown by `margin`) and/or deepest point of Otsu's lesion; `use` is box, point or both.

    Where nothing plausible is found the prompt is the central half of the image, and its prompter
    `otsu_fallback`.

    Args:
        image: uint8 `[h, w, 3]`.
        margin: growth of each side as a share of the box's size.
        use: box, point or both.

    Returns:
        One prompt.

    Raises:
        ConfigError: `use` is unknown.
    """
    if use not in ("box", "point", "both"):
        raise ConfigError(f"otsu: use '{use}' is unknown; known: box, point, both")
    small, scale_xy = _reduced(image)
    region = _lesion(small)
    h, w = image.shape[:2]
    if region is None:
        box, point, name = (w / 4, h / 4, 3 * w / 4, 3 * h / 4), (w / 2, h / 2), "otsu_fallback"
    else:
        sx, sy = scale_xy
        x0, y0, x1, y1 = tight_box(region)
        depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        row, col = np.unravel_index(depth.argmax(), depth.shape)
        box, point, name = (x0 * sx, y0 * sy, x1 * sx, y1 * sy), ((col + 0.5) * sx, (row + 0.5) * sy), "otsu"
    box = margin_box(box, margin, (h, w))
    points, labels = ((point,), (1,)) if use != "box" else ((), ())
    return [Prompt(box=box if use != "point" else None, points=points, labels=labels, prompter=name)]


def otsu_mask(image: np.ndarray) -> np.ndarray:
    """Otsu's lesion, bool `[h, w]`, empty where nothing plausible is found: the baseline without learning.

    Args:
        image: uint8 `[h, w, 3]`.

    Returns:
        The mask.
    """
    region = _lesion(_reduced(image)[0])
    if region is None:
        return np.zeros(image.shape[:2], bool)
    h, w = image.shape[:2]
    smooth = Image.fromarray(region.astype(np.uint8) * 255).resize((w, h), Image.Resampling.BILINEAR)
    return np.asarray(smooth) >= 128


def _reduced(image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """A copy of at most `SIDE` pixels, uint8, and the original's pixels per pixel of it along x and y."""
    h, w = image.shape[:2]
    factor = max(1.0, max(h, w) / SIDE)
    rh, rw = max(1, round(h / factor)), max(1, round(w / factor))
    small = Image.fromarray(image).resize((rw, rh), Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small), (w / rw, h / rh)


def _lesion(rgb: np.ndarray) -> np.ndarray | None:
    """The largest plausible dark component of the first channel that has one, bool `[h, w]`."""
    for weights in CHANNELS:
        grey = rgb @ np.array(weights, np.float32)
        grey = ndimage.gaussian_filter(ndimage.grey_closing(grey, size=(HAIR, HAIR)), SIGMA)
        skin = ~_vignette(grey)
        if np.ptp(grey[skin]) < 1:  # flat
            continue
        dark = (grey <= threshold_otsu(grey[skin])) & skin
        dark = ndimage.binary_fill_holes(ndimage.binary_opening(dark, np.ones((OPENING, OPENING))))
        region = _plausible(dark)
        if region is not None:
            return region
    return None


def _vignette(grey: np.ndarray) -> np.ndarray:
    """The dark corners of the optics, bool `[h, w]`."""
    h, w = grey.shape
    labels, _ = ndimage.label(grey < VIGNETTE * np.percentile(grey, 95))
    corners = set(labels[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) - {0}
    middle = set(np.unique(labels[h * 3 // 8 : h * 5 // 8 + 1, w * 3 // 8 : w * 5 // 8 + 1]).tolist())
    return np.isin(labels, list(corners - middle))


def _plausible(dark: np.ndarray) -> np.ndarray | None:
    """The component of greatest central weight among those of plausible area and contact with the border."""
    h, w = dark.shape
    labels, n = ndimage.label(dark)
    if not n:
        return None
    y, x = (np.arange(h) + 0.5) / h - 0.5, (np.arange(w) + 0.5) / w - 0.5
    weight = np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * CENTRAL**2))
    flat = labels.ravel()
    share = np.bincount(flat, minlength=n + 1) / flat.size
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(border, minlength=n + 1) / border.size
    score = np.bincount(flat, weight.ravel(), minlength=n + 1)
    score[(share < AREA[0]) | (share > AREA[1]) | (contact > CONTACT)] = 0
    score[0] = 0
    return labels == score.argmax() if score.any() else None
