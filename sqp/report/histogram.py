"""How the predicted Dice is spread, by verdict: a histogram."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from sqp.quality.judging.verdict import VERDICTS
from sqp.report.drawing import INK, font, line_height

DISTRIBUTION = "How many masks have which predicted Dice. Masks without a prediction are not drawn."
FILLS = {"accept": "#66c7a8", "review": "#f2c14e", "reject": "#ee8f5e", "abstain": "#b9b9c2"}
BINS = 25
FINE = 2  # drawn so many times as large, then made smaller: smooth lines
SIZE = (832, 546)
LEFT, RIGHT, UPPER, LOWER = 86, 812, 24, 470  # of the axes, in pixels
TICK, LABEL = 17, 19  # sizes of letters


def heights(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """How many masks `[25]` have which predicted Dice in 0-1, by verdict; those without a prediction are left out."""
    known = table[table["predicted_dice"].notna()]
    dice = known["predicted_dice"].clip(0, 1)
    return {name: np.histogram(dice[known["verdict"] == name], BINS, (0, 1))[0] for name in VERDICTS}


def distribution(table: pd.DataFrame) -> Image.Image:
    """Histogram of predicted_dice, stacked by verdict, over 0 to 1 in 25 bins."""
    bars = heights(table)
    step = _step(max(1, int(sum(bars.values()).max())))  # type: ignore[union-attr]
    most = step * -(-max(1, int(1.04 * sum(bars.values()).max())) // step)  # type: ignore[union-attr]
    canvas = Image.new("RGB", (SIZE[0] * FINE, SIZE[1] * FINE), "white")
    draw = ImageDraw.Draw(canvas)

    def x(dice: float) -> int:
        return round(FINE * (LEFT + dice * (RIGHT - LEFT)))

    def y(count: float) -> int:
        return round(FINE * (LOWER - count / most * (LOWER - UPPER)))

    for count in range(0, most + 1, step):
        draw.line((x(0), y(count), x(1), y(count)), "#dddddd", FINE)
        draw.text((x(0) - 8 * FINE, y(count)), f"{count:,}", INK, font(TICK * FINE), anchor="rm")
    bottom = np.zeros(BINS, int)
    for verdict, counts in bars.items():
        for place in np.flatnonzero(counts):
            box = x(place / BINS), y(bottom[place] + counts[place]), x((place + 1) / BINS), y(bottom[place])
            _fill(canvas, box, verdict)
        bottom += counts
    draw.rectangle((x(0), y(most), x(1), y(0)), outline=INK, width=FINE)
    for tenth in range(0, 11, 2):
        draw.line((x(tenth / 10), y(0), x(tenth / 10), y(0) + 5 * FINE), INK, FINE)
        draw.text((x(tenth / 10), y(0) + 9 * FINE), f"{tenth / 10:.1f}", INK, font(TICK * FINE), anchor="mt")
    middle = FINE * (LEFT + RIGHT) // 2
    draw.text((middle, FINE * (SIZE[1] - 8)), "predicted Dice", INK, font(LABEL * FINE), anchor="mb")
    _legend(canvas, {name: f"{name} ({counts.sum():,})" for name, counts in bars.items()})
    _upright(canvas, "masks", (FINE * 6, FINE * (UPPER + LOWER) // 2))
    return canvas.resize(SIZE, Image.Resampling.LANCZOS)


PATTERNS = {"review": "M0 8L8 0", "reject": "M0 0L8 8M0 8L8 0", "abstain": "M4 4h.1"}
"""What is drawn over the colour of a verdict, on a square of 8: it is never told by colour alone."""


def distribution_svg(table: pd.DataFrame, label: str) -> str:
    """`distribution` as an SVG element of a page, its lines and letters in the page's own colour, light or dark.

    Args:
        table: a predictions table.
        label: what it shows, for who does not see it.
    """
    bars = heights(table)
    total = np.sum(list(bars.values()), axis=0)
    step = _step(max(1, int(total.max())))
    most = step * -(-max(1, int(total.max())) // step)
    left, right, upper, lower = 44, 508, 30, 220
    wide, high = (right - left) / BINS, (lower - upper) / most
    parts = []
    for count in range(0, most + 1, step):
        y = lower - count * high
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="currentColor" stroke-opacity=".25"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{count:,}</text>')
    bottom = np.zeros(BINS, int)
    for name, counts in bars.items():
        for place in np.flatnonzero(counts):
            y, tall = lower - (bottom[place] + counts[place]) * high, counts[place] * high
            parts.append(_bar(name, left + place * wide, y, wide, tall))
        bottom += counts
    for tenth in range(0, 11, 2):
        x = left + tenth / 10 * (right - left)
        parts.append(f'<text x="{x:.1f}" y="{lower + 16}" text-anchor="middle">{tenth / 10:.1f}</text>')
    parts.append(f'<path d="M{left} {lower}H{right}" stroke="currentColor"/>')
    parts.append(f'<text x="{(left + right) / 2}" y="{lower + 34}" text-anchor="middle">predicted Dice</text>')
    middle = (upper + lower) / 2
    parts.append(f'<text transform="rotate(-90 12 {middle})" x="12" y="{middle}" text-anchor="middle">masks</text>')
    for nth, (name, counts) in enumerate(bars.items()):
        x = float(left + nth * 118)
        parts.append(_bar(name, x, 4, 20, 12) + f'<text x="{x + 26}" y="15">{name} ({counts.sum():,})</text>')
    drawn = "".join(
        f'<pattern id="fill-{name}" width="8" height="8" patternUnits="userSpaceOnUse"><path d="{path}" '
        'stroke="#333" stroke-width="1.2" stroke-linecap="round"/></pattern>'
        for name, path in PATTERNS.items()
    )
    return (
        f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="0 0 520 260" font-size="13"><defs>{drawn}'
        f"</defs>{''.join(parts)}</svg>"
    )


def _bar(verdict: str, x: float, y: float, width: float, height: float) -> str:
    """A box in the colour of a verdict, and its pattern."""
    box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    over = f'{box} fill="url(#fill-{verdict})"/>' if verdict in PATTERNS else ""
    return f'{box} fill="{FILLS[verdict]}" stroke="#333" stroke-width=".6"/>{over}'


def _step(most: int) -> int:
    """The distance of the ticks: 1, 2 or 5 times a power of 10, for at most seven of them.

    Examples:
        >>> _step(3), _step(20), _step(950)
        (1, 5, 200)
    """
    return next(k * 10**power for power in range(20) for k in (1, 2, 5) if most <= 6 * k * 10**power)


def _fill(canvas: Image.Image, box: tuple[int, int, int, int], verdict: str) -> None:
    """A bar in the colour of its verdict, with its hatches: a verdict is never told by colour alone."""
    left, upper, right, lower = box
    rows, columns = np.mgrid[upper:lower, left:right]
    falling, rising = (columns - rows) % 20 < 3, (columns + rows) % 20 < 3
    dots = (rows % 16 - 8) ** 2 + (columns % 16 - 8) ** 2 < 8
    hatch = {"review": rising, "reject": rising | falling, "abstain": dots}.get(verdict)
    canvas.paste(FILLS[verdict], box)
    if hatch is not None:
        canvas.paste("#404040", box, Image.fromarray((hatch * 255).astype(np.uint8)))
    ImageDraw.Draw(canvas).rectangle((left, upper, right, lower), outline="#404040", width=FINE)


def _legend(canvas: Image.Image, named: dict[str, str]) -> None:
    """Verdicts and their counts, in the upper left corner, where masks are rarest."""
    draw, step = ImageDraw.Draw(canvas), FINE * (line_height(TICK) + 4)
    left, upper = FINE * (LEFT + 10), FINE * (UPPER + 10)
    width = round(max(font(TICK * FINE).getlength(text) for text in named.values())) + 56 * FINE
    box = (left, upper, left + width, upper + step * len(named) + 8 * FINE)
    canvas.paste(Image.blend(canvas.crop(box), Image.new("RGB", (width, box[3] - upper), "white"), 0.9), box)
    draw.rectangle(box, outline="#b0b0b0", width=FINE)
    for place, (verdict, text) in enumerate(named.items()):
        at = upper + 4 * FINE + place * step
        _fill(canvas, (left + 8 * FINE, at + 5 * FINE, left + 42 * FINE, at + step - 4 * FINE), verdict)
        draw.text((left + 50 * FINE, at + step // 2), text, INK, font(TICK * FINE), anchor="lm")


def _upright(canvas: Image.Image, text: str, at: tuple[int, int]) -> None:
    """A text that is read from below, the middle of its left edge at (x, y)."""
    letters = font(LABEL * FINE)
    strip = Image.new("RGB", (round(letters.getlength(text)) + 4, FINE * line_height(LABEL)), "white")
    ImageDraw.Draw(strip).text((2, strip.height // 2), text, INK, letters, anchor="lm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    canvas.paste(turned, (at[0], at[1] - turned.height // 2))
