"""The images of a run that nothing is said of: how many, and why, all of them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import pandas as pd

OPEN = 6  # more lines than so many are folded


def skipped_sentence(table: pd.DataFrame, skipped: Mapping[str, str]) -> str:
    """How many of the images were skipped, where some were; `skipped` maps an image id to why.

    >>> skipped_sentence(pd.DataFrame({"image_id": ["a", "b"]}), {"c": "truncated"})
    '1 of 3 images was skipped.'
    """
    if not skipped:
        return ""
    images = {*table["image_id"].astype(str), *skipped}
    return f"{len(skipped):,} of {len(images):,} images {'was' if len(skipped) == 1 else 'were'} skipped."


def skipped_html(skipped: Mapping[str, str]) -> str:
    """A list of the skipped images and the reasons, folded if it is long; nothing where there are none."""
    if not skipped:
        return ""
    lines = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in skipped.items())
    folded = "" if len(skipped) > OPEN else " open"
    return (
        f'<section id="part-skipped"><h3>Skipped images</h3><details{folded}><summary>{len(skipped):,} without a '
        f"prediction, and why</summary><ul>{lines}</ul></details></section>"
    )
