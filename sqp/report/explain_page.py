"""The report of `explain`: findings in words, figures, tables, in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from sqp.io.atomic import write_text
from sqp.report.explain_tables import ABOUT, TITLES, readable
from sqp.report.inline import document, png


def write_explain_page(
    path: str | Path,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Sequence[tuple[str, Path]]],
    told: Sequence[str],
    *,
    intro: str,
    interactive: str = "",
) -> Path:
    """Write the page; returns its path.

    `figures`: table -> (caption, PNG file) that stand with it; those under `cases` come first. `interactive` is the
    address of the interactive embedding, beside this page.
    """
    title = "What the quality model looks at"
    body = [f"<h1>{title}</h1>", f"<p>{escape(intro)}</p>"]
    body += ["<ul>", *(f"<li>{escape(sentence)}</li>" for sentence in told), "</ul>"]
    body += [_figure(*one) for one in figures.get("cases", ())]
    for name, heading in TITLES.items():
        if name not in tables:
            continue
        body += [f"<h2>{escape(heading)}</h2>", f"<p>{escape(ABOUT[name])}</p>"]
        if name == "embedding" and interactive:
            body.append(f'<p><a href="{escape(interactive)}">The same points to hover over and to choose from</a></p>')
        body += [_figure(*one) for one in figures.get(name, ())]
        body.append(
            f'<div class="wide">{readable(name, tables[name]).to_html(index=False, escape=True, border=0)}</div>'
        )
    write_text(Path(path), document(title, "", "\n".join(body)))
    return Path(path)


def _figure(caption: str, file: Path) -> str:
    text = escape(caption)
    return f'<figure><img src="{png(file)}" alt="{text}"><figcaption>{text}</figcaption></figure>'
