"""Seeded synthetic dermoscopy: an irregular pigmented lesion on skin, with the artefacts that make it hard.

Not a model of disease: something for tests and the demo to segment, in the style of ISIC images, free of
licences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from sqp.core.files import write_atomic, write_mask, write_text
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.data.artefacts import draw_hair, draw_ruler, light, vignette
from sqp.data.noise import fractal_noise, smooth_noise, wavy_radius
from sqp.data.splits import FRACTIONS, apply_splits, make_splits

# RGB in 0-1: skin from fair to dark, and the colours that dermoscopy names in lesions
SKIN = np.array([[0.93, 0.76, 0.71], [0.88, 0.62, 0.57], [0.80, 0.56, 0.47], [0.66, 0.45, 0.36]])
PIGMENT = {
    "light brown": (0.60, 0.37, 0.24),
    "dark brown": (0.34, 0.19, 0.14),
    "black": (0.16, 0.11, 0.11),
    "red": (0.68, 0.30, 0.30),
    "blue grey": (0.42, 0.42, 0.48),
}


@dataclass(frozen=True)
class Traits:
    """What a synthetic lesion looks like. All in 0..1 unless said otherwise."""

    tone: float = 0.3  # 0 fair, 1 dark skin
    extent: float = 0.5  # 0 small, 1 large
    contrast: float = 0.8  # opacity of the pigment
    softness: float = 0.3  # width of the border
    irregularity: float = 0.4  # of the outline
    variegation: float = 0.4  # how far colours differ within
    foci: int = 1  # separate parts, 1 to 3
    hairs: int = 0
    ruler: bool = False
    vignette: float = 0.0
    shading: float = 0.2  # uneven light

    @property
    def hard(self) -> bool:
        """Whether a global threshold should be expected to fail."""
        return self.contrast < 0.4 or self.vignette > 0.6


@dataclass(frozen=True)
class SyntheticLesion:
    """image RGB uint8 `[h, w, 3]`, mask bool `[h, w]`, and the traits that made them."""

    image: np.ndarray
    mask: np.ndarray
    traits: Traits


def sample_traits(rng: np.random.Generator) -> Traits:
    """Random traits: about 17 % of low contrast, 20 % with the dark rim of the lens, 17 % multi-focal."""
    low_contrast = rng.uniform() < 0.17
    dark_corners = rng.uniform() < 0.35
    return Traits(
        tone=float(rng.beta(1.5, 2.5)),
        extent=float(rng.uniform()),
        contrast=float(rng.uniform(0.2, 0.38) if low_contrast else rng.uniform(0.6, 0.95)),
        softness=float(rng.uniform(0.1, 0.9)),
        irregularity=float(rng.uniform(0.1, 0.9)),
        variegation=float(rng.beta(2, 2)),
        foci=int(rng.choice([1, 2, 3], p=[0.83, 0.11, 0.06])),
        hairs=int(rng.integers(3, 26)) if rng.uniform() < 0.45 else 0,
        ruler=bool(rng.uniform() < 0.2),
        vignette=float(rng.uniform(0.3, 1)) if dark_corners else 0.0,
        shading=float(rng.uniform(0.05, 0.5)),
    )


def synthetic_lesion(
    rng: np.random.Generator, size: tuple[int, int] = (192, 256), traits: Traits | None = None
) -> SyntheticLesion:
    """A lesion of `size` (h, w), with `traits` or random ones.

    Examples:
        >>> lesion = synthetic_lesion(np.random.default_rng(0), (96, 128))
        >>> lesion.image.shape, lesion.mask.shape, lesion.image.dtype
        ((96, 128, 3), (96, 128), dtype('uint8'))
    """
    traits = sample_traits(rng) if traits is None else traits
    skin_and_lesion, mask = _lesion(rng, size, traits)
    return SyntheticLesion(_photograph(rng, skin_and_lesion, traits), mask, traits)


def write_synthetic(
    folder: str | Path,
    n: int,
    seed: int = 0,
    size: tuple[int, int] = (192, 256),
    fractions: Mapping[str, float] | None = None,
) -> Path:
    """Write n images as `images/*.jpg`, `masks/*.png` and `labels.csv` -> the folder, in the layout
    `prepared`.

    About every sixth lesion is photographed twice (turned, in another light, other hairs), under one `group`.
    The column `split` is made by group in `fractions` (default `splits.FRACTIONS`); below 20 images it stays empty.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    rows: list[dict[str, object]] = []
    lesion = 0
    while len(rows) < n:
        for view, shown in enumerate(_views(seed, lesion, size)[: n - len(rows)]):
            image_id = f"SYN_{lesion:05d}_{view}"
            photograph = partial(Image.fromarray(shown.image).save, format="JPEG", quality=92)
            write_atomic(folder / "images" / f"{image_id}.jpg", photograph)
            write_mask(folder / "masks" / f"{image_id}.png", shown.mask)
            traits = {key: round(value, 3) for key, value in asdict(shown.traits).items()}
            rows.append({"image_id": image_id, "group": f"SYN_{lesion:05d}", "split": "", **traits})
        lesion += 1
    if n >= 20:
        cases = [Case(str(row["image_id"]), folder, group=str(row["group"])) for row in rows]
        splits = make_splits(cases, FRACTIONS if fractions is None else fractions, seed, "synthetic")
        for row, case in zip(rows, apply_splits(cases, splits), strict=True):
            row["split"] = case.split
    table = pd.DataFrame(rows)
    table.insert(3, "licence", "CC0-1.0")
    table.insert(4, "dx", "synthetic")
    write_text(folder / "labels.csv", table.to_csv(index=False))
    return folder


def _views(seed: int, lesion: int, size: tuple[int, int]) -> list[SyntheticLesion]:
    """The one or two photographs of a lesion."""
    rng = numpy_generator(seed, "synthetic", lesion)
    first = sample_traits(rng)
    again = bool(rng.uniform() < 1 / 6)
    body, mask = _lesion(rng, size, first)
    shown = [SyntheticLesion(_photograph(rng, body, first), mask, first)]
    if again:
        other = sample_traits(rng)
        second = replace(first, hairs=other.hairs, ruler=other.ruler, vignette=other.vignette, shading=other.shading)
        turns: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
            np.fliplr,
            np.flipud,
            lambda a: np.rot90(a, 2),
        )
        turn = turns[int(rng.integers(3))]
        body, mask = np.ascontiguousarray(turn(body)), np.ascontiguousarray(turn(mask))
        shown.append(SyntheticLesion(_photograph(rng, body, second), mask, second))
    return shown


def _lesion(rng: np.random.Generator, size: tuple[int, int], traits: Traits) -> tuple[np.ndarray, np.ndarray]:
    """Skin with the lesion on it, float `[h, w, 3]` in 0-1, and the mask."""
    inside = _signed_depth(rng, size, traits)
    unit = min(size)
    mask = inside > 0
    width = unit * (0.008 + 0.1 * traits.softness**1.5) * np.exp(0.5 * smooth_noise(rng, size, 3))
    alpha = 1 / (1 + np.exp(-np.clip(4 * inside / width, -30, 30)))
    colour, opacity = _pigment(rng, size, traits, inside / unit)
    strength = (alpha * opacity * traits.contrast)[..., None]
    skin = _skin(rng, size, traits)
    halo = np.exp(-np.square(np.minimum(inside, 0) / (0.06 * unit)))[..., None]  # reddened skin around it
    skin = skin * (1 - 0.05 * halo * np.array([0.2, 1, 0.8]))
    return skin * (1 - strength) + colour * strength, mask


def _signed_depth(rng: np.random.Generator, size: tuple[int, int], traits: Traits) -> np.ndarray:
    """Pixels inside (positive) or outside (negative) of the outline: the union of one to three parts."""
    h, w = size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    radius = min(size) * (0.14 + 0.24 * traits.extent)
    centre = np.array([h, w]) * (0.5 + rng.uniform(-0.08, 0.08, 2))
    depth = np.full(size, -np.inf, dtype=np.float32)
    heading = rng.uniform(0, 2 * np.pi)
    for part in range(traits.foci):
        r, at = radius, centre
        if part:  # satellites keep near, and clear of the main part
            r = radius * rng.uniform(0.25, 0.5)
            heading += rng.uniform(1.2, 2.6)
            at = centre + (1.25 * radius + r) * np.array([np.sin(heading), np.cos(heading)])
            at = np.clip(at, 1.1 * r, np.array(size) - 1.1 * r)
        stretch, tilt = rng.uniform(1, 1.5), rng.uniform(0, np.pi)
        dy, dx = y - at[0], x - at[1]
        u = (np.cos(tilt) * dx + np.sin(tilt) * dy) / np.sqrt(stretch)
        v = (np.cos(tilt) * dy - np.sin(tilt) * dx) * np.sqrt(stretch)
        limit = wavy_radius(rng, np.arctan2(v, u), 0.22 * traits.irregularity)
        depth = np.maximum(depth, r * (limit - np.hypot(u, v) / r))
    ragged = fractal_noise(rng, size, 9, octaves=3) * min(size) * 0.028 * (0.3 + traits.irregularity)
    inside = depth + ragged > 0
    labels, count = ndimage.label(inside)
    if count > traits.foci:  # crumbs cut off by the ragged border
        areas = np.bincount(labels.ravel())[1:]
        inside = np.isin(labels, 1 + np.argsort(areas)[-traits.foci :])
    inside = ndimage.binary_fill_holes(inside)
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return ndimage.gaussian_filter(distance.astype(np.float32), 0.8)


def _pigment(
    rng: np.random.Generator, size: tuple[int, int], traits: Traits, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colour `[h, w, 3]` and opacity `[h, w]` of the lesion; `depth` relative to the image's shorter side."""
    names = ["light brown", "dark brown"] if rng.uniform() < 0.75 else ["red", "light brown"]
    base, second = (np.array(PIGMENT[name]) for name in names)
    mix = 0.35 + (0.15 + 0.4 * traits.variegation) * fractal_noise(rng, size, 5) + rng.uniform(-0.25, 0.35)
    mix = np.clip(mix + rng.uniform(-1, 5) * np.clip(depth - 0.03, 0, 0.2), 0, 1)[..., None]
    colour = base * (1 - mix) + second * mix
    if traits.variegation > 0.55:  # a third colour in patches
        patch = 0.7 * np.clip(fractal_noise(rng, size, 4) - 0.5, 0, 1)[..., None]
        third = np.array(PIGMENT[str(rng.choice(["black", "blue grey", "red"]))])
        colour = colour * (1 - patch) + third * patch
    fine = max(size) / rng.uniform(5, 9)
    network = np.abs(smooth_noise(rng, size, fine))  # dark lines where the field is near zero
    lines = np.exp(-np.square(network / 0.35)) * rng.uniform(0.05, 0.3)
    dots = np.clip(smooth_noise(rng, size, fine * 1.3) - 1.5, 0, 1) * rng.uniform(0, 0.5)
    opacity = np.clip(0.85 + 0.15 * fractal_noise(rng, size, 9), 0.5, 1)
    colour = colour * (1 - lines - dots)[..., None]
    return np.clip(colour * (1 - 0.45 * traits.tone), 0.03, 1), opacity


def _skin(rng: np.random.Generator, size: tuple[int, int], traits: Traits) -> np.ndarray:
    """Skin float `[h, w, 3]`: a tone, mottled redness, and fine texture."""
    position = traits.tone * (len(SKIN) - 1)
    tone = np.array([np.interp(position, range(len(SKIN)), SKIN[:, channel]) for channel in range(3)])
    tone = np.clip(tone + rng.normal(0, 0.02, 3), 0, 1)
    mottle = fractal_noise(rng, size, 5)[..., None] * np.array([0.012, 0.025, 0.022])
    texture = fractal_noise(rng, size, max(size) / 8, octaves=3)[..., None] * 0.012
    return np.clip(tone + mottle + texture, 0, 1)


def _photograph(rng: np.random.Generator, body: np.ndarray, traits: Traits) -> np.ndarray:
    """Hair, ruler, uneven light, dark corners, blur and sensor noise -> uint8 `[h, w, 3]`."""
    image = draw_hair(rng, body, traits.hairs)
    image = draw_ruler(rng, image) if traits.ruler else image
    image = image * light(rng, image.shape[:2], traits.shading)[..., None]
    image = ndimage.gaussian_filter(image, (rng.uniform(0.3, 0.7),) * 2 + (0,))
    image = vignette(rng, image, traits.vignette)
    grain = rng.normal(0, 0.008, image.shape)
    return np.clip(np.rint((image + grain) * 255), 0, 255).astype(np.uint8)
