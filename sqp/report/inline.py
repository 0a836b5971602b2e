"""What a self-contained page is made of: its frame, assets of this folder, and pictures as data addresses."""

from __future__ import annotations

import base64
import hashlib
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

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
    """The text of a file that lies beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


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
