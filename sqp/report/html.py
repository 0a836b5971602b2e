"""What a self-contained page is made of: its frame, assets, sections, and pictures as data addresses."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sqp.core.errors import lookup
from sqp.core.tables import read_own_csv

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body>
{body}{script}
</body>
</html>
"""


def document(title: str, css: str, body: str, script: str = "") -> str:
    """A whole page around the HTML of its body, in the style of `page.css` and then `css`, and its one script.

    Its Content-Security-Policy lets this script alone run, by its hash, pictures come from the page itself, and nothing
    be fetched or sent: what a file name or a table smuggles into the body stays text.
    """
    allowed = "'none'"
    if script:
        script = f"\n{script.strip()}\n"
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    return FRAME.format(
        policy=f"{POLICY}; script-src {allowed}",
        title=escape(title),
        css=asset("page.css") + css,
        body=body.strip(),
        script=f"\n<script>{script}</script>" if script else "",
    )


def asset(name: str) -> str:
    """The text of a file in `assets`."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def picture(image: np.ndarray, quality: int = 80) -> str:
    """uint8 `[h, w, 3]` -> a JPEG as an address."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return data_uri(buffer.getvalue(), "jpeg")


def png(path: str | Path) -> str:
    """A PNG file as an address."""
    return data_uri(Path(path).read_bytes(), "png")


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of a picture as an address that holds them; `kind` is webp, png, jpeg or svg+xml."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Section:
    """`body`: a data frame, text in markdown, or a file: .png, .svg, .md or .csv; `caption` says how to read it.

    Sections of one `group`, where that is not "", are folded under its name.
    """

    title: str
    body: str | Path | pd.DataFrame
    caption: str = ""
    group: str = ""

    @property
    def is_figure(self) -> bool:
        """Is it a picture; pictures stand side by side."""
        return isinstance(self.body, Path) and self.body.suffix in IMAGES


def section_html(section: Section) -> str:
    """The section as HTML that needs no other file. ConfigError for a file of an unknown kind.

    Examples:
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
    named = "" if section.group else f' id="{anchor(section.title)}"'  # what is folded is linked to as a whole
    return f"<section{named}><h3>{title}</h3>{inner}{caption}</section>"


def sections_html(sections: Sequence[Section]) -> str:
    """Sections one after the other: pictures side by side, then the rest."""
    figures = "".join(section_html(section) for section in sections if section.is_figure)
    rest = "".join(section_html(section) for section in sections if not section.is_figure)
    return (f'<div class="figures">{figures}</div>' if figures else "") + rest


def folded_html(group: str, sections: Sequence[Section]) -> str:
    """The sections of a group, folded; its heading says how much is inside."""
    figures = sum(section.is_figure for section in sections)
    counts = [(figures, "figure"), (len(sections) - figures, "table")]
    inside = ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counts if n)
    return (
        f'<details class="fold" id="{anchor(group)}"><summary><h2>{escape(group)}</h2> <span>{inside}</span></summary>'
        f"{sections_html(sections)}</details>"
    )


def anchor(title: str) -> str:
    """The id of a section in the page.

    Examples:
        >>> anchor("Spread, isic2018: MAE")
        'part-spread-isic2018-mae'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"part-{title.lower()}").strip("-")


def _table(table: pd.DataFrame) -> str:
    """Three decimals, a dash for what is missing; text as it is."""
    shown = table.astype(object).where(table.notna(), "–")
    html = shown.to_html(index=False, escape=True, border=0, float_format="{:.3f}".format)
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
