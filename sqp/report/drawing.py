"""What pictures are drawn with: colour maps, text and files by Pillow alone.

Matplotlib takes a second to import and half a second a picture, so what `predict` draws does without it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sqp.core.errors import printable
from sqp.core.files import write_atomic
from sqp.report.html import asset

FONT = "mpl-data/fonts/ttf/DejaVuSans.ttf"
INK = "#262626"
TICKS = 6  # of a colour bar, both ends among them
Size = tuple[int, int]


def coloured(values: np.ndarray, name: str) -> np.ndarray:
    """uint8 `[*shape, 3]` of values in 0-1 `[*shape]` in the colours of a map of matplotlib's: cividis or magma.

    Examples:
        >>> coloured(np.array([0.0, 0.5, 1.0]), "cividis").tolist()
        [[0, 34, 77], [124, 123, 120], [253, 231, 55]]
    """
    steps = np.clip(np.nan_to_num(values) * 256, 0, 255).astype(np.uint8)
    return _tables()[name][steps]


@cache
def _tables() -> dict[str, np.ndarray]:
    """Colour maps, uint8 `[256, 3]`, by name."""
    stored = json.loads(asset("colour_maps.json"))
    return {name: np.frombuffer(bytes.fromhex(text), np.uint8).reshape(256, 3) for name, text in stored.items()}


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans out of matplotlib's files (it has Greek and Cyrillic letters too), else Pillow's own."""
    package = find_spec("matplotlib")  # looks for it; imports nothing
    for folder in (package and package.submodule_search_locations) or ():
        if (file := Path(folder) / FONT).is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def wrapped(text: str, size: int, width: float) -> list[str]:
    """Lines of a text that are at most `width` pixels long; a word that is longer is cut."""
    length, lines = font(size).getlength, [""]
    for word in printable(text).split():
        joined = f"{lines[-1]} {word}".lstrip()
        if length(joined) <= width:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while length(rest := lines[-1]) > width and len(rest) > 1:
            fits = next((n for n in range(len(rest) - 1, 1, -1) if length(rest[:n]) <= width), 1)
            lines[-1:] = [rest[:fits], rest[fits:]]
    return lines


def write_lines(draw: ImageDraw.ImageDraw, at: Size, lines: list[str], size: int, ink: str = INK) -> int:
    """Lines below each other from (x, y) on; returns the y below the last one."""
    x, y = at
    for line in lines:
        draw.text((x, y), line, ink, font(size))
        y += line_height(size)
    return y


def line_height(size: int) -> int:
    """Pixels from a line of text to the next one."""
    return round(1.3 * size)


def colour_bar(canvas: Image.Image, box: tuple[int, int, int, int], name: str, top: float, size: int) -> None:
    """A bar of the colours from 0 to `top`, upwards, in the box (left, upper, right, lower), its numbers beside it."""
    left, upper, right, lower = box
    shares = np.linspace(1, 0, lower - upper)[:, None].repeat(right - left, axis=1)
    canvas.paste(Image.fromarray(coloured(shares, name)), (left, upper))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, upper, right - 1, lower - 1), outline=INK)
    ticks = TICKS if lower - upper > 2 * TICKS * size else 2
    for share in np.linspace(0, 1, ticks):
        y = upper + round((1 - share) * (lower - upper - 1))
        draw.line((right, y, right + 4, y), INK)
        anchor = "ls" if share == 0 else "lt" if share == 1 else "lm"  # numbers stay beside the bar
        draw.text((right + 8, y), f"{share * top:g}", INK, font(size), anchor=anchor)


def save_picture(image: Image.Image, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: image.save(file, format="PNG", compress_level=1))  # half the time, 1.1 x as long
    return path
