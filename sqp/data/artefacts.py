"""What lies over the skin on a dermoscopic photograph: hair, ruler, uneven light, the rim of the lens."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from sqp.data.noise import smooth_noise

_FINER = 4  # lines are drawn at this multiple of the size and brought down, so that they are antialiased


def draw_hair(rng: np.random.Generator, image: np.ndarray, count: int) -> np.ndarray:
    """float `[h, w, 3]` in 0-1 -> the same with `count` thin curved hairs, roughly combed one way."""
    h, w = image.shape[:2]
    combed = rng.uniform(0, 2 * np.pi)
    colour = np.array([0.14, 0.09, 0.07]) * rng.uniform(0.6, 2.2)
    for _ in range(count):
        start = rng.uniform(-0.1, 1.1, 2) * (w, h)
        heading = combed + rng.normal(0, 0.5)
        length = rng.uniform(0.35, 1.1) * max(h, w)
        t = np.linspace(0, 1, 40)
        turning = heading + rng.normal(0, 0.7) * t + rng.normal(0, 0.25) * np.sin(2 * np.pi * t)
        xy = start + np.cumsum(np.stack([np.cos(turning), np.sin(turning)], 1), 0) * (length / len(t))
        width = max(1, round(_FINER * max(h, w) / 256 * rng.uniform(0.4, 1.0)))
        cover = _stroke((h, w), [(xy, width)]) * rng.uniform(0.55, 0.95)
        image = image * (1 - cover[..., None]) + colour * cover[..., None]
    return image


def draw_ruler(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Black millimetre ticks along one edge, every fifth longer."""
    h, w = image.shape[:2]
    along, across = (w, h) if rng.uniform() < 0.5 else (h, w)
    step = max(h, w) / rng.uniform(22, 34)
    far, tilt = bool(rng.uniform() < 0.5), rng.normal(0, 0.02)
    strokes = []
    for k, at in enumerate(np.arange(rng.uniform(0, step), along, step)):
        reach = across * (0.075 if k % 5 == 0 else 0.045)
        base = across * 0.015 + tilt * (at - along / 2)
        ends = np.array([[at, base], [at + tilt * reach, base + reach]])
        ends[:, 1] = across - ends[:, 1] if far else ends[:, 1]
        strokes.append((ends if along == w else ends[:, ::-1], max(1, round(_FINER * max(h, w) / 320))))
    cover = 0.75 * _stroke((h, w), strokes)[..., None]
    return image * (1 - cover) + 0.1 * cover


def light(rng: np.random.Generator, size: tuple[int, int], strength: float) -> np.ndarray:
    """float `[h, w]` about 1: a slope and a smooth unevenness, some +- 20 % at strength 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    slope = 0.12 * (np.cos(angle) * x + np.sin(angle) * y)
    return 1 + strength * (slope + 0.06 * smooth_noise(rng, size, 2))


def vignette(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Corners darken; above a strength of 0.6 the black rim of the lens itself comes into the picture."""
    h, w = image.shape[:2]
    if strength <= 0:
        return image
    cy, cx = np.array([h, w]) * (0.5 + rng.uniform(-0.03, 0.03, 2))
    y, x = np.ogrid[:h, :w]
    radius = np.hypot(y - cy, x - cx) / (0.5 * np.hypot(h, w))
    image = image * (1 - 0.55 * strength * np.clip(radius, 0, 1.2)[..., None] ** 3)
    if strength > 0.6:
        rim = 1.02 - 0.25 * (strength - 0.6) / 0.4
        seen = 1 / (1 + np.exp(np.clip((radius - rim) / 0.012, -40, 40)))[..., None]
        image = image * seen + 0.03 * (1 - seen)
    return image


def _stroke(size: tuple[int, int], lines: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Coverage 0-1 float `[h, w]` of polylines (`xy` `[n, 2]` in pixels, width in finer pixels)."""
    h, w = size
    canvas = Image.new("L", (w * _FINER, h * _FINER))
    draw = ImageDraw.Draw(canvas)
    for xy, width in lines:
        draw.line([(float(x) * _FINER, float(y) * _FINER) for x, y in xy], fill=255, width=width, joint="curve")
    return np.asarray(canvas.resize((w, h), Image.Resampling.BOX), dtype=np.float32) / 255
