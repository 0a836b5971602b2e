"""Parts of the HTML page that a stage hands in: a table, a figure or markdown, with a title and a caption."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from sqp.errors import lookup
from sqp.io.tables import read_own_csv
from sqp.report.inline import data_uri


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
