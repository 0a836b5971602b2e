"""One self-contained HTML file about predictions: the verdict, figures, tables, a gallery of the cases. No network.

Parts of the HTML page that a stage hands in: a table, a figure or markdown, with a title and a caption.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import matplotlib as mpl
import pandas as pd
from matplotlib.colors import to_hex

from sqp.core.errors import lookup
from sqp.core.files import write_text
from sqp.core.tables import read_own_csv
from sqp.quality.judging.verdict import VERDICTS
from sqp.report.findings import Findings, skipped_html
from sqp.report.gallery import ErrorMaps, as_json, chosen, gallery_cases
from sqp.report.inline import asset, data_uri, document
from sqp.report.view import COLOURS, ERROR_COLOURS


@dataclass(frozen=True)
class Section:
    """`body`: a data frame, text in markdown, or a file: .png, .svg, .md or .csv; `caption` says how to read it."""

    title: str
    body: str | Path | pd.DataFrame
    caption: str = ""

    @property
    def is_figure(self) -> bool:
        """Is it a picture; pictures stand side by side."""
        return isinstance(self.body, Path) and self.body.suffix in IMAGES


def section_html(section: Section) -> str:
    """The section as HTML that needs no other file. ConfigError for a file of an unknown kind.

    >>> section_html(Section("Risk < 1", "| a |\\n| - |\\n| 1 |"))[:46]
    '<section id="part-risk-1"><h3>Risk &lt; 1</h3>'
    """
    body = section.body
    if isinstance(body, pd.DataFrame):
        inner = _table(body)
    elif isinstance(body, Path):
        inner = lookup("kind of file for the page", body.suffix, KINDS)(body, section)
    else:
        inner = _markdown(body)
    caption = f"<p>{escape(section.caption)}</p>" if section.caption else ""
    title = escape(section.title)
    return f'<section id="{anchor(section.title)}"><h3>{title}</h3>{inner}{caption}</section>'


def anchor(title: str) -> str:
    """The id of a section in the page.

    >>> anchor("Spread, isic2018: MAE")
    'part-spread-isic2018-mae'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"part-{title.lower()}").strip("-")


def _table(table: pd.DataFrame) -> str:
    """Three decimals, a dash for what is missing; text as it is."""
    told = table.astype(object).where(table.notna(), "–")
    html = told.to_html(index=False, escape=True, border=0, float_format="{:.3f}".format)
    return f'<div class="wide" tabindex="0">{html}</div>'


def _markdown(text: str) -> str:
    """CommonMark with tables; HTML inside stays text."""
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = re.sub(r"<(/?)h[1-6]>", r"<\1h4>", html)  # below the section's own heading
    return f'<div class="wide" tabindex="0">{html}</div>'


def _picture(path: Path, section: Section) -> str:
    data = data_uri(path.read_bytes(), IMAGES[path.suffix])
    return f'<img src="{data}" alt="{escape(section.caption or section.title)}">'


IMAGES = {".png": "png", ".svg": "svg+xml"}
KINDS: dict[str, Callable[[Path, Section], str]] = {
    **dict.fromkeys(IMAGES, _picture),
    ".csv": lambda path, section: _table(read_own_csv(path, "make it again")),
    ".md": lambda path, section: _markdown(path.read_text(encoding="utf-8")),
}


SIGNS = {
    "accept": "✓",
    "review": "?",
    "reject": "✗",
    "abstain": "–",
}  # a verdict is never told by colour alone
SCRIPTS = ("page_theme.js", "page_cards.js", "page_viewer.js", "page_gallery.js")  # in the order in which they run


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
) -> Path:
    """Write the page; returns its path.

    `table` is a predictions table (with `record_set`, where a gallery is wanted), `findings` the verdict in words,
    `sections` figures and tables in order, `gallery` the most cases: with more records half of the places go to the
    lowest predictions, the rest evenly over the others. `error_maps` draws those of the cases that are shown; `skipped`
    maps the images that have no prediction to why.
    """
    said, cases = _gallery(table, gallery, error_maps)
    figures = [section_html(section) for section in sections if section.is_figure]
    tables = [section_html(section) for section in sections if not section.is_figure]
    body = Template(asset("page.html")).substitute(
        title=escape(title),
        headline=escape(findings.headline),
        points="".join(f"<li>{escape(point)}</li>" for point in findings.points),
        counts=_counts(table),
        notes=f"<p>{escape(notes)}</p>" if notes else "",
        links=_links(sections, bool(skipped)),
        skipped=skipped_html(skipped or {}),
        figures=f'<div id="figures">{"".join(figures)}</div>' if figures else "",
        tables="".join(tables),
        said=said,
        cases=cases,
    )
    script = "\n".join(['(() => {\n"use strict";', *map(asset, SCRIPTS), "})();"])
    colours = f":root {{ --uncertainty: {_gradient(COLOURS)}; --error: {_gradient(ERROR_COLOURS)}; }}"
    write_text(Path(path), document(title, asset("page_gallery.css") + colours, body, script))
    return Path(path)


def _gradient(name: str) -> str:
    """A colour map as a gradient of CSS, dark to bright."""
    colours = [to_hex(mpl.colormaps[name](step / 8)) for step in range(9)]
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
    named = [*[("part-skipped", "Skipped images")] * skipped, *((anchor(one.title), one.title) for one in sections)]
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
    return (
        f"{len(rows):,} of {len(table):,} cases: the {most - most // 2:,} worst, and an even choice of the others.",
        as_json(cases),
    )
