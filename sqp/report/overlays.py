"""Pictures of the worst records: image with contours, the uncertainty map beside it, a caption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from sqp.core.files import clear_left
from sqp.core.ownership import remove_written
from sqp.report.drawing import INK, colour_bar, font, line_height, save_picture, wrapped, write_lines
from sqp.report.page import ErrorMaps
from sqp.report.predictions import interval, open_sets, remarks, shown_names, worst_first
from sqp.report.scan import load_view
from sqp.report.view import COLOURS, ERROR_COLOURS, MASK_COLOUR, TRUTH_COLOUR, View

SIDE = 640  # pixels of the long side of the picture inside the overlay
MARGIN, GAP = 14, 10
CAPTION, TITLE, TEXT = 19, 17, 15  # sizes of letters
BAR, NUMBERS = 18, 60  # widths of a colour bar and of the numbers beside it
NARROWEST = 300  # a panel: its title stays readable above a slender picture


class Panel(NamedTuple):
    """A picture uint8 `[h, w, 3]` and its title; a map has the name of its colours and the value of the brightest."""

    pixels: np.ndarray
    title: str
    colours: str = ""
    top: float = 1.0

    @property
    def width(self) -> int:
        """With the colour bar."""
        return max(NARROWEST, self.pixels.shape[1] + (GAP + BAR + NUMBERS) * bool(self.colours))


def write_overlays(
    table: pd.DataFrame, folder: str | Path, k: int = 20, error_maps: ErrorMaps | None = None
) -> list[Path]:
    """Write `001-RECORD.png` … for the k worst records, abstentions first; returns the paths.

    `table` is a predictions table with the column `record_set`; where a record set is not there any more nothing is
    written. Pictures that the command's earlier run wrote there are removed, also half of one. `error_maps` draws
    those of the k records.
    """
    folder = Path(folder)
    remove_written(lambda path: path.parent == folder)
    clear_left(folder)
    rows = worst_first(table.assign(shown=shown_names(table))).head(k)
    sets = open_sets(rows)
    if sets is None or rows.empty:
        return []
    wrong = error_maps(rows) if error_maps else {}
    paths = []
    for rank, row in enumerate(rows.to_dict("records"), start=1):
        view = load_view(sets[row["record_set"]], row, SIDE, wrong.get((row["record_set"], row["record_id"])))
        paths.append(save_picture(overlay(view, row), folder / f"{rank:03d}-{row['record_id']}.png"))
    return paths


def panels(view: View) -> list[Panel]:
    """Image with contours, uncertainty map and error map, as far as they are there."""
    out = [Panel(view.outlined(), ", ".join(filter(None, ["mask", view.place, *view.lacks()])))]
    if view.uncertainty is not None:
        out.append(Panel(view.coloured(), view.measure, COLOURS, view.top))
    wrong = view.wrong()
    if wrong is not None:
        out.append(Panel(wrong, "mask expected to be wrong", ERROR_COLOURS))
    return out


def overlay(view: View, row: Mapping[str, Any]) -> Image.Image:
    """One record's picture; `row` has record_id, predicted_dice, low, high, verdict and, if known, dice."""
    shown = panels(view)
    inner = max(2 * NARROWEST, sum(panel.width for panel in shown) + 2 * GAP * (len(shown) - 1))
    said = [line for text in caption(row).splitlines() for line in wrapped(text, CAPTION, inner)]
    titles = [wrapped(panel.title, TITLE, panel.width) for panel in shown]
    above = MARGIN + len(said) * line_height(CAPTION) + GAP
    top = above + max(map(len, titles)) * line_height(TITLE) + GAP // 2
    height = view.mask.shape[0]
    canvas = Image.new("RGB", (inner + 2 * MARGIN, top + height + MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    write_lines(draw, (MARGIN, MARGIN), said, CAPTION)
    left = MARGIN
    for panel, title in zip(shown, titles, strict=True):
        write_lines(draw, (left, above), title, TITLE)
        canvas.paste(Image.fromarray(panel.pixels), (left, top))
        if panel.colours:
            bar = left + panel.pixels.shape[1] + GAP
            colour_bar(canvas, (bar, top, bar + BAR, top + height), panel.colours, panel.top, TEXT)
        left += panel.width + 2 * GAP
    named = {"mask": MASK_COLOUR} | ({"truth": TRUTH_COLOUR} if view.truth is not None else {})
    _legend(canvas, (MARGIN, top + height), named)
    return canvas


def _legend(canvas: Image.Image, corner: tuple[int, int], named: Mapping[str, str]) -> None:
    """Names of the lines in a box that stands in the lower left corner of a picture."""
    step, sample = line_height(TEXT), 26
    width = round(max(font(TEXT).getlength(name) for name in named)) + sample + 22
    left, upper = corner[0] + 6, corner[1] - 6 - step * len(named) - 8
    if upper < 0:
        return
    box = (left, upper, left + width, upper + step * len(named) + 8)
    canvas.paste(Image.blend(canvas.crop(box), Image.new("RGB", (box[2] - left, box[3] - upper), "white"), 0.85), box)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, upper, box[2] - 1, box[3] - 1), outline="#b0b0b0")
    for place, (name, colour) in enumerate(named.items()):
        y = upper + 4 + place * step + step // 2
        draw.rectangle((left + 7, y - 3, left + 7 + sample, y + 3), colour, "black")
        draw.text((left + 14 + sample, y), name, INK, font(TEXT), anchor="lm")


def caption(row: Mapping[str, Any]) -> str:
    """Its name; then a line with predicted Dice, interval, verdict, reason, and truth where known."""
    predicted = f"predicted Dice {interval(row['predicted_dice'], row['low'], row['high'])}"
    name = " ".join(str(row.get("shown", row["record_id"])).split())
    return "\n".join([name, "  ·  ".join([predicted, str(row["verdict"]), *remarks(row)])])
