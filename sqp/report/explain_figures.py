"""Figures of `explain`: where maps point, whether they are true to the model, what it needs; pictures of records."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.ndimage import gaussian_filter

from sqp.report.figures import MARKERS, PALETTE, STYLE
from sqp.report.findings import shortened
from sqp.report.view import COLOURS, MASK_COLOUR, TRUTH_COLOUR, View, resized

ERRORS = {
    "all": "all errors",
    "boundary": "at the boundary",
    "omission": "omission",
    "false_positive": "false positive",
}
PAD = 0.12  # inches at the sides
GAP = 0.22  # between two subsets of one line


def localisation(table: pd.DataFrame) -> Figure:
    """A panel per kind of error: mean AUROC per record of every map with its interval, chance dashed."""
    maps = list(dict.fromkeys(table["map"]))
    figure = _figure(15, 1.7 + 0.42 * len(maps))
    panels = figure.subplots(1, len(ERRORS), sharey=True)
    for axes, (kind, title) in zip(panels, ERRORS.items(), strict=True):
        of_kind = table[table["error"] == kind]
        _dots(axes, of_kind, maps, "map", "auroc", "subset")
        axes.axvline(0.5, color="0.25", ls="--", lw=1.2)
        counts = ", ".join(f"{s} {int(part['n'].max())}" for s, part in of_kind.groupby("subset", sort=False))
        axes.set_title(f"{title}\nn: {counts}", fontsize=STYLE["label"])
        axes.set_xlim(min(0.2, _lowest(of_kind, "auroc") - 0.03), 1.02)
        axes.set_xlabel("AUROC per record, mean", fontsize=STYLE["label"])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=STYLE["text"])
    return figure


def faithfulness(curves: Mapping[str, Sequence[np.ndarray]], effect: str) -> Figure:
    """Mean deletion and insertion curve `[n, steps]` of every map; the random maps black and dashed."""
    figure = _figure(10.5, 4.8)
    panels = figure.subplots(1, 2, sharey=True)
    explained = "1 - predicted Dice" if effect == "lowers" else "predicted Dice"
    titles = ("deletion: low is faithful", "insertion: high is faithful")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for i, (name, pair) in enumerate(curves.items()):
            mean = np.asarray(pair[place]).mean(axis=0)
            share = np.linspace(0, 100, len(mean))
            plain = name == "random"
            colour, line = ("black", "--") if plain else (PALETTE[i % 6], "-")
            axes.plot(share, mean, line, marker="" if plain else MARKERS[i % 7], color=colour, lw=1.8, ms=5, label=name)
        axes.set_title(title, fontsize=STYLE["title"])
        axes.set_xlabel("pixels taken away (%)" if place == 0 else "pixels put back (%)", fontsize=STYLE["label"])
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=STYLE["tick"])
    panels[0].set_ylabel(f"{explained}, mean", fontsize=STYLE["label"])
    panels[1].legend(fontsize=STYLE["text"])
    return figure


def importance(table: pd.DataFrame) -> Figure:
    """What is lost of Spearman, and what is added to the MAE, when an input is taken from another record."""
    table = table[table["kind"] != ""]
    names = list(dict.fromkeys(table["taken_away"]))
    figure = _figure(12.5, 1.7 + 0.36 * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"spearman_loss": "loss of Spearman", "mae_rise": "rise of MAE (Dice)"}
    for axes, (column, label) in zip(panels, labels.items(), strict=True):
        _dots(axes, table, names, "taken_away", column, "subset")
        axes.axvline(0, color="0.25", ls="--", lw=1.2)
        axes.set_xlabel(label, fontsize=STYLE["label"])
    figure.suptitle("An input is taken from another record ('only': all the others are)", fontsize=STYLE["title"])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=STYLE["text"])
    return figure


def ood(table: pd.DataFrame) -> Figure:
    """AUROC of each distance for each kind of strange image, with its interval."""
    kinds = list(dict.fromkeys(table["images"]))
    figure = _figure(8, 1.9 + 0.5 * len(kinds))
    axes = figure.subplots()
    _dots(axes, table, kinds, "images", "auroc", "distance")
    axes.axvline(0.5, color="0.25", ls="--", lw=1.2)
    axes.set_xlim(min(0.4, _lowest(table, "auroc") - 0.03), 1.02)
    axes.set_xlabel("AUROC of telling it from in-distribution", fontsize=STYLE["label"])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=STYLE["text"])
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", w_pad=PAD)
    return figure


def _dots(axes: Axes, table: pd.DataFrame, names: Sequence[str], by: str, column: str, series: str) -> None:
    """A line per name, a dot with its interval per series, the first name on top."""
    kinds = list(dict.fromkeys(table[series]))
    for i, kind in enumerate(kinds):
        part = table[table[series] == kind].set_index(by).reindex(names)
        place = np.arange(len(names)) + GAP * (i - (len(kinds) - 1) / 2)
        colour = PALETTE[i % 7]
        axes.hlines(place, part[f"{column}_low"], part[f"{column}_high"], lw=2, alpha=0.6, color=colour)
        axes.plot(part[column], place, MARKERS[i % 7], ms=6, ls="", label=str(kind), color=colour)
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(labelsize=STYLE["tick"])
    axes.grid(alpha=0.25)


def _lowest(table: pd.DataFrame, column: str) -> float:
    low = np.nanmin(table[[column, f"{column}_low"]].to_numpy(float), initial=1.0)
    return float(low)


HEAT, SIGNED = "magma", "PuOr_r"
OPACITY = 0.75  # where a map is 1
SMOOTH = 1 / 64  # of the side: pixel attributions are too fine to be seen
KIND_COLOURS = ("#FFFFFF", PALETTE[4], PALETTE[5], PALETTE[1])  # right, boundary, omission, false positive


def heated(view: View, values: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, 3]`: a map in 0-1 `[s, s]` laid over the image, brighter and denser where high, contours on top."""
    image = view.image if view.image is not None else np.full((*view.mask.shape, 3), 128, np.uint8)
    level = np.clip(resized(values, view.mask.shape[::-1]), 0, 1)
    colours = mpl.colormaps[HEAT](level)[..., :3] * 255
    alpha = OPACITY * level[..., None]
    return replace(view, image=(image * (1 - alpha) + colours * alpha).astype(np.uint8)).outlined()


def contact_sheet(rows: Mapping[str, Sequence[tuple[View, np.ndarray, Mapping[str, Any]]]], what: str) -> Figure:
    """A line of records per heading (best, worst ...): the map over the image, true and predicted Dice below."""
    columns = max(map(len, rows.values()))
    first = next(iter(rows.values()))[0][0].mask.shape
    aspect = min(max(first[0] / first[1], 0.4), 2.0)
    figure = Figure(figsize=(3.5 * columns, (3.4 * aspect + 1.0) * len(rows) + 1.0), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False).ravel()
    for part, (heading, cases) in zip(parts, rows.items(), strict=True):
        part.suptitle(heading, fontsize=14, x=0.01, ha="left")
        for axes, case in zip(
            part.subplots(1, columns, squeeze=False).ravel(), [*cases, *[None] * columns], strict=False
        ):
            axes.set_axis_off()
            if case is not None:
                view, values, row = case
                axes.imshow(heated(view, values), interpolation="nearest")
                axes.set_title("\n".join([shortened(str(row["record_id"]), 34), numbers(row)]), fontsize=10)
    _legend(figure, any(case[0].truth is not None for cases in rows.values() for case in cases))
    figure.suptitle(what, fontsize=12)
    return figure


def case_figure(
    view: View,
    row: Mapping[str, Any],
    maps: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
    kinds: np.ndarray | None,
    amounts: Mapping[str, float],
) -> Figure:
    """One record: maps in 0-1 over the image; the true errors where known; each input group's map below.

    Signed group maps share one scale, so a pale group says little; a branch's CAM is in 0-1. `amounts`: the absolute
    sum of each group's whole map.
    """
    top = ["image", *maps, *(["errors"] if kinds is not None else [])]
    columns = max(len(top), -(-len(groups) // 2))
    per_row = min(columns, max(4, len(top)))
    lines = 1 + -(-len(groups) // per_row)
    aspect = min(max(view.mask.shape[0] / view.mask.shape[1], 0.4), 2.0)
    figure = Figure(figsize=(3.2 * per_row, (3.2 * aspect + 0.5) * lines + 1.4), layout="constrained")
    grid = figure.subplots(lines, per_row, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, name in zip(grid[0], top, strict=False):
        axes.set_title({"image": "mask and truth", "errors": "the true errors"}.get(name, name), fontsize=11)
        if name == "image":
            axes.imshow(view.outlined(), interpolation="nearest")
        elif name == "errors" and kinds is not None:
            _errors(axes, kinds, view)
        else:
            axes.imshow(heated(view, maps[name]), interpolation="nearest")
    signed = any((values < 0).any() for values in groups.values())
    smooth = {
        name: gaussian_filter(values, SMOOTH * len(values)) if signed else values for name, values in groups.items()
    }
    most = max((float(np.abs(values).max()) for values in smooth.values()), default=1.0) or 1.0
    scale = Normalize(-most, most) if signed else Normalize(0, 1)
    total = sum(amounts.values()) or 1.0
    cells = grid[1:].ravel()
    for axes, (name, values) in zip(cells, smooth.items(), strict=False):
        axes.imshow(
            resized(values, view.mask.shape[::-1]),
            cmap=SIGNED if signed else COLOURS,
            norm=scale,
            interpolation="nearest",
        )
        axes.contour(view.mask, levels=[0.5], colors="black", linewidths=0.8) if 0 < view.mask.mean() < 1 else None
        share = f"\n{amounts[name] / total:.0%} of all" if signed else ""
        axes.set_title(f"{name}{share}", fontsize=11)
    if groups:
        bar = figure.colorbar(
            ScalarMappable(scale, SIGNED if signed else COLOURS), ax=list(cells), fraction=0.025, pad=0.01
        )
        bar.ax.tick_params(labelsize=9)
        bar.set_label("share in the logit" if signed else "CAM of the branch", fontsize=10)
    _legend(figure, view.truth is not None)
    figure.suptitle("\n".join([*textwrap.wrap(str(row["record_id"]), 90), numbers(row)]), fontsize=12)
    return figure


def numbers(row: Mapping[str, Any]) -> str:
    """`predicted 0.812, true 0.900`.

    Examples:
        >>> numbers({"predicted_dice": 0.5, "dice": float("nan")})
        'predicted 0.500'
    """
    texts = [f"predicted {row['predicted_dice']:.3f}"]
    return ", ".join(texts + ([f"true {row['dice']:.3f}"] if np.isfinite(row["dice"]) else []))


def _errors(axes: Any, kinds: np.ndarray, view: View) -> None:
    frame = np.asarray(Image.fromarray(kinds).resize(view.mask.shape[::-1], Image.Resampling.NEAREST))
    axes.imshow(frame, cmap=ListedColormap(KIND_COLOURS), vmin=0, vmax=3, interpolation="nearest")
    for colour, name in zip(KIND_COLOURS[1:], ("boundary", "omission", "false positive"), strict=True):
        axes.plot([], [], "s", color=colour, label=name)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=3,
        fontsize=8,
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.6,
    )


def _legend(figure: Figure, truth: bool) -> None:
    lines = {"mask": MASK_COLOUR} | ({"truth": TRUTH_COLOUR} if truth else {})
    handles = [Line2D([], [], color=colour, lw=4, label=name) for name, colour in lines.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=10)
