"""One self-contained HTML file about predictions: counts, tables, figures, a gallery. No network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sqp.io import RecordSet
from sqp.io.atomic import write_text
from sqp.quality.verdict import VERDICTS
from sqp.report.columns import worst_first
from sqp.report.summary import interval, remarks
from sqp.report.tables import formatted
from sqp.report.view import load_view, open_sets

SIDE = 176  # pixels of a thumbnail's long side
SIGNS = {
    "accept": "✓",
    "review": "?",
    "reject": "✗",
    "abstain": "–",
}  # a verdict is never told by colour alone


def write_page(
    path: str | Path,
    table: pd.DataFrame,
    *,
    title: str,
    metrics: Mapping[str, pd.DataFrame] | None = None,
    figures: Mapping[str, str | Path] | None = None,
    notes: str = "",
    gallery: int = 200,
) -> Path:
    """Write the page; returns its path.

    `table` is a predictions table (with `record_set`, where a gallery is wanted), `metrics` comparison tables
    by heading, `figures` PNG files by caption, `gallery` the most thumbnails: with more records half of the
    places go to the lowest predictions, the rest evenly over the others.
    """
    text = Template(_asset("page.html")).substitute(
        title=escape(title),
        css=_asset("page.css"),
        js=_asset("page.js"),
        notes=f"<p>{escape(notes)}</p>" if notes else "",
        counts=_counts(table),
        metrics="".join(_metric(heading, part) for heading, part in (metrics or {}).items()),
        figures="".join(_figure(caption, file) for caption, file in (figures or {}).items()),
        gallery=_gallery(table, gallery),
    )
    write_text(Path(path), text)
    return Path(path)


def chosen(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of the gallery, worst first."""
    table = worst_first(table)
    if len(table) <= most:
        return table
    worst = most - most // 2
    spread = np.linspace(worst, len(table) - 1, most - worst).round().astype(int)
    return table.iloc[[*range(worst), *spread]]


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _counts(table: pd.DataFrame) -> str:
    counts, n = table["verdict"].value_counts(), max(1, len(table))
    cells = [
        f"<li><b>{len(table):,}</b> records</li>",
        f"<li><b>{table['image_id'].nunique():,}</b> images</li>",
    ]
    for verdict in VERDICTS:
        count = int(counts.get(verdict, 0))
        cells.append(f'<li class="{verdict}"><b>{count:,}</b> {SIGNS[verdict]} {verdict} ({count / n:.0%})</li>')
    return "".join(cells)


def _metric(heading: str, part: pd.DataFrame) -> str:
    html = formatted(part).to_html(index=False, escape=True, border=0)
    return f'<h3>{escape(heading)}</h3><div class="wide">{html}</div>'


def _figure(caption: str, file: str | Path) -> str:
    data = _data_uri(Path(file).read_bytes(), "png")
    text = escape(caption)
    return f'<figure><img src="{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _gallery(table: pd.DataFrame, most: int) -> str:
    """The controls and the cards."""
    if not len(table) or most < 1:
        return "<p>No gallery was asked for.</p>" if len(table) else "<p>No records.</p>"
    rows = chosen(table, most)
    sets = open_sets(rows)
    if sets is None:
        return "<p>No gallery: the record sets of this table are not there, or it names none.</p>"
    said = f"All {len(table):,} records" if len(rows) == len(table) else (
        f"{len(rows):,} of {len(table):,} records: the {most - most // 2:,} worst, "
        "and an even choice of the others"
    )  # fmt: skip
    cards = [_card(sets[row["record_set"]], row) for row in rows.to_dict("records")]
    options = "".join(f'<option value="{verdict}">{verdict}</option>' for verdict in VERDICTS)
    return (
        f"<p>{said}, abstentions and lowest first. Yellow: the mask; blue: the truth, where known; "
        "right: uncertainty, bright is high.</p>"
        '<form id="filter"><label>verdict <select id="verdict"><option value="">all</option>'
        f"{options}</select></label>"
        '<label>id <input id="search" type="search" placeholder="part of an id"></label>'
        '<output id="shown"></output></form>'
        f'<div id="cards">{"".join(cards)}</div>'
    )


def _card(records: RecordSet, row: Mapping[str, Any]) -> str:
    view = load_view(records, row, SIDE)
    pair = np.concatenate(
        [view.outlined(), np.full((view.mask.shape[0], 4, 3), 128, np.uint8), view.coloured()], axis=1
    )
    height, width = pair.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(pair).save(buffer, format="JPEG", quality=80, subsampling=0)
    name, verdict = escape(str(row["record_id"])), escape(str(row["verdict"]))
    lines = [f"<b>{interval(row['predicted_dice'], row['low'], row['high'])}</b>"]
    lines += [escape(text) for text in dict.fromkeys([*remarks(row), *view.lacks()])]
    image = _data_uri(buffer.getvalue(), "jpeg")
    return (
        f'<article data-verdict="{verdict}" data-id="{name} {escape(str(row["image_id"]))}">'
        f'<img loading="lazy" decoding="async" width="{width}" height="{height}" src="{image}" alt="{name}">'
        f'<p class="id">{name}</p><p>{"<br>".join(lines)}</p>'
        f'<p class="{verdict}">{SIGNS.get(str(row["verdict"]), "")} {verdict}</p></article>'
    )


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
