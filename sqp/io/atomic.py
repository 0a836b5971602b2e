"""Files that appear whole or not at all: written beside their place under a temporary name, then renamed."""

from __future__ import annotations

import errno
import io
import json
import re
import secrets
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sqp.errors import SqpError

LEFT = re.compile(r"\..+\.(\d+|[0-9a-f]{16})\.tmp")  # names of temporary files, also of those of older releases
FLOAT16_CAP = float(np.finfo(np.float16).max)  # 65504: where an unbounded map (EPKL) is cut in storage


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write(file)` on a temporary file and rename it to `path`; a full disk is told in one sentence."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # nobody can lay a link there beforehand
    try:
        with temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SqpError(
                f"the disk is full, could not write {path}; finished records stay: free some space "
                "and run the same command again"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def clear_left(folder: Path) -> None:
    """Remove the temporary files that a killed run left in a folder into which no other run writes."""
    for path in folder.glob(".*.tmp"):
        if LEFT.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON, with NaN for missing numbers."""
    write_atomic(path, lambda file: file.write(json.dumps(value).encode()))


def write_text(path: Path, text: str) -> None:
    """UTF-8 text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """bool `[h, w]` -> 8-bit PNG, 0 or 255."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    write_atomic(path, lambda file: image.save(file, format="PNG", compress_level=3))


def write_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Named arrays -> npz of float16, clipped at ±65504, lightly deflated (numpy's own level costs 5 x the time)."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in maps.items():
                buffer = io.BytesIO()
                half = np.clip(array, -FLOAT16_CAP, FLOAT16_CAP).astype(np.float16)
                np.lib.format.write_array(buffer, np.ascontiguousarray(half), allow_pickle=False)
                archive.writestr(f"{name}.npy", buffer.getvalue())

    write_atomic(path, write)
