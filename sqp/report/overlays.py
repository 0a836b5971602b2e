"""Pictures of the worst records: image with contours, the uncertainty map beside it, a caption."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sqp.core.files import clear_left
from sqp.core.ownership import remove_written
from sqp.report.figures import save
from sqp.report.page import ErrorMaps
from sqp.report.predictions import interval, open_sets, remarks, shown_names, worst_first
from sqp.report.scan import load_view
from sqp.report.view import COLOURS, ERROR_COLOURS, MASK_COLOUR, TRUTH_COLOUR, View

SIDE = 640  # pixels of the long side of the picture inside the overlay


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
        paths.append(save(overlay(view, row), folder / f"{rank:03d}-{row['record_id']}.png", dpi=110))
    return paths


def overlay(view: View, row: Mapping[str, Any]) -> Figure:
    """One record's figure; `row` has record_id, predicted_dice, low, high, verdict and, if known, dice."""
    height, width = view.mask.shape
    aspect = min(max(height / width, 0.4), 2.0)
    maps = [(view.coloured(), view.measure, COLOURS, view.top)] if view.uncertainty is not None else []
    wrong = view.wrong()
    if wrong is not None:
        maps.append((wrong, "mask probably wrong", ERROR_COLOURS, 1.0))
    panels = 1 + len(maps)
    figure = Figure(figsize=(4.75 * max(2, panels), 4.1 * aspect + 1.4), layout="constrained")  # the caption needs two
    left, *others = figure.subplots(1, panels, squeeze=False)[0]
    left.imshow(view.outlined(), interpolation="nearest")
    left.set_title(", ".join(filter(None, ["mask", view.place, *view.lacks()])), fontsize=11)
    left.set_axis_off()
    for axes, (pixels, title, colours, top) in zip(others, maps, strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
        bar = ScalarMappable(Normalize(0, top), colours)
        figure.colorbar(bar, ax=axes, fraction=0.046, pad=0.02).ax.tick_params(labelsize=10)
    left.plot([], [], color=MASK_COLOUR, lw=4, label="mask")
    if view.truth is not None:
        left.plot([], [], color=TRUTH_COLOUR, lw=4, label="truth")
    left.legend(loc="lower left", fontsize=9, framealpha=0.85)
    figure.suptitle(caption(row), fontsize=12)
    return figure


def caption(row: Mapping[str, Any]) -> str:
    """Its name, wrapped; then a line with predicted Dice, interval, verdict, reason, and truth where known."""
    predicted = f"predicted Dice {interval(row['predicted_dice'], row['low'], row['high'])}"
    line = "  ·  ".join([predicted, str(row["verdict"]), *remarks(row)])
    return "\n".join(
        textwrap.fill(text.replace("$", r"\$"), 80) for text in (str(row.get("shown", row["record_id"])), line) if text
    )
