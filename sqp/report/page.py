"""One self-contained HTML file about predictions: the verdict, figures, tables, a gallery of the cases. No network."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sqp.core.files import write_text
from sqp.quality.judging.verdict import VERDICTS
from sqp.records import RecordSet
from sqp.records.frozen import mask_hash
from sqp.report.drawing import coloured
from sqp.report.findings import Findings, skipped_html
from sqp.report.histogram import DISTRIBUTION, distribution_svg
from sqp.report.html import Section, anchor, asset, data_uri, document, folded_html, sections_html
from sqp.report.predictions import open_sets, prompter_label, shown_names, warnings, worst_first
from sqp.report.review import DIGITS, Review, review_json
from sqp.report.scan import load_scan
from sqp.report.view import COLOURS, ERROR_COLOURS, View, outline

SIGNS = {
    "accept": "✓",
    "review": "?",
    "reject": "✗",
    "abstain": "–",
}  # a verdict is never told by colour alone
SCRIPTS = (
    *(
        "page_theme.js",
        "page_parts.js",
        "page_cards.js",
        "page_review.js",
        "page_viewer.js",
        "page_thresholds.js",
        "page_gallery.js",
    ),
)  # in the order in which they run


def write_page(
    path: str | Path,
    table: pd.DataFrame,
    *,
    title: str,
    findings: Findings,
    sections: Sequence[Section] = (),
    notes: str = "",
    gallery: int = 1000,
    error_maps: ErrorMaps | None = None,
    skipped: Mapping[str, str] | None = None,
    beside: str = "",
    review: Review | None = None,
) -> Path:
    """Write the page; returns its path.

    `table` is a predictions table (with `record_set`, where a gallery is wanted), `findings` the verdict in words,
    `sections` figures and tables in order, those of a group folded, `gallery` the most cases: with more records half of
    the places go to the lowest predictions, the rest evenly over the others. `error_maps` draws those of the cases that
    are shown; `skipped` maps the images that have no prediction to why. `beside` is HTML that stands beside the verdict
    where there is room; with `review` the page keeps decisions on its cases, and its thresholds can be moved.
    """
    said, cases = _gallery(table, gallery, error_maps)
    groups = dict.fromkeys(section.group for section in sections if section.group)
    folded = [folded_html(name, [section for section in sections if section.group == name]) for name in groups]
    body = Template(asset("page.html")).substitute(
        title=escape(title),
        headline=escape(findings.headline),
        points="".join(f"<li>{escape(point)}</li>" for point in findings.points),
        counts=_counts(table),
        notes=f'<p id="notes">{escape(notes)}</p>' if notes else "",
        links=_links(sections, bool(skipped)),
        skipped=skipped_html(skipped or {}),
        sections=sections_html([section for section in sections if not section.group]) + "".join(folded),
        said=said,
        cases=cases,
        beside=beside,
        run=review_json(review, table),
    )
    script = "\n".join(['(() => {\n"use strict";', *map(asset, SCRIPTS), "})();"])
    colours = f":root {{ --uncertainty: {_gradient(COLOURS)}; --error: {_gradient(ERROR_COLOURS)}; }}"
    write_text(Path(path), document(title, asset("page_gallery.css") + colours, body, script))
    return Path(path)


def plot_beside(table: pd.DataFrame) -> str:
    """The distribution of the predicted Dice, to stand beside the verdict, in the page's own colours."""
    plot = distribution_svg(table, DISTRIBUTION)
    return f'<figure id="plot">{plot}<figcaption>{DISTRIBUTION}</figcaption></figure>'


def _gradient(name: str) -> str:
    """A colour map as a gradient of CSS, dark to bright."""
    colours = [f"#{bytes(colour).hex()}" for colour in coloured(np.linspace(0, 1, 9), name)]
    return f"linear-gradient(to right, {', '.join(colours)})"


def _counts(table: pd.DataFrame) -> str:
    """A bar and a legend: how many records have which verdict."""
    counts, n = table["verdict"].value_counts(), max(1, len(table))
    here = [(verdict, int(counts.get(verdict, 0))) for verdict in VERDICTS]
    bar = "".join(
        f'<span class="{verdict}" style="flex-grow:{count}">{SIGNS[verdict]}</span>' for verdict, count in here if count
    )
    cells = "".join(
        f'<li class="{verdict}"><b>{count:,}</b> {SIGNS[verdict]} {verdict} ({count / n:.1%})</li>'
        for verdict, count in here
    )
    whole = f"<li><b>{len(table):,}</b> masks</li><li><b>{table['image_id'].nunique():,}</b> images</li>"
    return f'<div class="share" aria-hidden="true">{bar}</div><ul id="counts">{whole}{cells}</ul>'


def _links(sections: Sequence[Section], skipped: bool) -> str:
    named = [("part-skipped", "Skipped images")] * skipped
    named += [(anchor(name), name) for name in dict.fromkeys(section.group or section.title for section in sections)]
    if not named:
        return ""  # the cases are next
    return "".join(f'<a href="#{part}">{escape(title)}</a>' for part, title in [*named, ("gallery", "All cases")])


def _gallery(table: pd.DataFrame, most: int, error_maps: ErrorMaps | None) -> tuple[str, str]:
    """What is shown, in words, and the cases as JSON."""
    if not len(table) or most < 1:
        return ("No gallery was asked for." if len(table) else "No records."), "[]"
    rows = chosen(table, most)
    cases = gallery_cases(rows, error_maps)
    if cases is None:
        return "No gallery: the record sets of this table are not there, or it names none.", "[]"
    if len(rows) == len(table):
        return f"All {len(table):,} cases.", as_json(cases)
    drawn = int(_audited(table).sum())
    left = max(0, most - drawn)
    sample = f"the {drawn:,} of the audit, " if drawn else ""
    what = f"{sample}the {left - left // 2:,} worst, and an even choice of the others"
    return f"{len(rows):,} of {len(table):,} cases: {what}.", as_json(cases)


def _audited(table: pd.DataFrame) -> pd.Series:
    """bool: drawn for an audit."""
    return table["audit"].eq(True) if "audit" in table else pd.Series(False, table.index)


SIDE, MAP_SIDE = 256, 128  # pixels of the long side of the image, and of a map, which is smooth
QUALITY = 78  # of WebP
SLICES, ALL_SLICES, FEW_SLICES = 24, 2400, 3  # most of a volume, and about most in a page; but never fewer than so many
THREADS = 2
ErrorMaps = Callable[[pd.DataFrame], Mapping[tuple[str, str], np.ndarray]]
"""Rows of a predictions table -> error maps by (record_set, record_id), as `quality.error_maps` makes them."""


def chosen(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of the gallery, worst first: with more than `most` half of them the worst, the rest evenly spread.

    Those of an audit are all there, and leave so much less room for others.
    """
    table = worst_first(table)
    if len(table) <= most:
        return table
    audited = _audited(table)
    if audited.any():
        others = table[~audited]
        left = max(0, most - int(audited.sum()))
        return worst_first(pd.concat([table[audited], chosen(others, left) if left else others.head(0)]))
    worst = most - most // 2
    spread = np.linspace(worst, len(table) - 1, most - worst).round().astype(int)
    return table.iloc[[*range(worst), *spread]]


def gallery_cases(rows: pd.DataFrame, error_maps: ErrorMaps | None = None) -> list[dict[str, Any]] | None:
    """A mapping a row, in order, ready for JSON; None where a record set is not named, or not there any more."""
    sets = open_sets(rows)
    if sets is None:
        return None
    wrong = error_maps(rows) if error_maps is not None and len(rows) else {}
    slices = max(FEW_SLICES, min(SLICES, ALL_SLICES // max(1, len(rows))))
    todo = [
        (sets[row["record_set"]], row, wrong.get((row["record_set"], row["record_id"])), slices)
        for row in rows.assign(shown=shown_names(rows)).to_dict("records")
    ]
    with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes outside of Python's lock
        return list(pool.map(lambda job: _case(*job), todo))


def as_json(cases: list[dict[str, Any]]) -> str:
    """JSON that is safe inside of a script element."""
    return json.dumps(cases, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _case(records: RecordSet, row: Mapping[str, Any], error: np.ndarray | None, slices: int) -> dict[str, Any]:
    """Of a volume `slices` holds the pictures of at most so many of its slices, `slice` is the first one shown."""
    scan = load_scan(records, row, error, SIDE)
    places = scan.chosen(slices)
    views = [scan.slice(z, SIDE) for z in places]
    first = places.index(scan.key)
    view, drawn = views[first], _drawn(views[first])
    if records.volumes:
        drawn = {"slices": [{"place": view.place, **_drawn(view)} for view in views], "slice": first}
    numbers = {name: _number(row.get(name, math.nan)) for name in ("predicted_dice", "low", "high", "dice")}
    return {
        "id": str(row["record_id"]),
        "image_id": str(row["image_id"]),
        "name": str(row["shown"]),
        "verdict": str(row["verdict"]),
        **numbers,
        "kind": str(row.get("variant", "")),
        "remarks": list(dict.fromkeys([*warnings(row), *view.lacks()])),
        "facts": _facts(row),
        "mask_hash": mask_hash(scan.mask if records.volumes else scan.mask[0]) if scan.readable else "",
        "audit": row.get("audit") is True,
        **drawn,
    }


def _drawn(view: View) -> dict[str, Any]:
    """The pictures and contours of a view."""
    height, width = view.mask.shape
    wrong = view.wrong()
    return {
        "width": width,
        "height": height,
        "image": None if view.image is None else _webp(view.image),
        "mask": outline(view.mask),
        "truth": None if view.truth is None else outline(view.truth),
        "measure": view.measure,
        "uncertainty": None if view.uncertainty is None else _webp(view.coloured(), MAP_SIDE),
        "error": None if wrong is None else _webp(wrong, MAP_SIDE),
    }


def _facts(row: Mapping[str, Any]) -> list[str]:
    """What the record is, in a few words; what is unknown stays away."""
    facts = [str(row.get(name, "")) for name in ("dataset", "segmenter", "diagnosis")]
    label = prompter_label(row.get("prompter", ""))
    return [fact for fact in (*facts, label) if fact and fact != "nan"]


def _number(value: Any) -> float | None:
    return round(float(value), DIGITS) if math.isfinite(value) else None


def _webp(pixels: np.ndarray, side: int | None = None) -> str:
    """uint8 `[h, w, 3]` as a data address, at most `side` pixels long."""
    image = Image.fromarray(pixels)
    if side is not None:
        image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY, method=2)
    return data_uri(buffer.getvalue(), "webp")
