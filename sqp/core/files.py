"""Files that appear whole or not at all: written beside their place under a temporary name, then renamed."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sqp.core.errors import ConfigError, SqpError

LEFT = re.compile(r"\..+\.(\d+|[0-9a-f]{16})\.tmp")  # names of temporary files, also of those of older releases
FLOAT16_CAP = float(np.finfo(np.float16).max)  # 65504: where an unbounded map (EPKL) is cut in storage
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of zip files


_watchers: list[Callable[[Path], None]] = []


@contextmanager
def watched(tell: Callable[[Path], None]) -> Iterator[None]:
    """Call `tell(path)` before each file is written here; of several watchers the innermost is told."""
    _watchers.append(tell)
    try:
        yield
    finally:
        _watchers.pop()


def note_written(path: Path) -> None:
    """Tell the watcher of a file that is written by other means than `write_atomic`."""
    if _watchers:
        _watchers[-1](path)


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write(file)` on a temporary file and rename it to `path`; a full disk is told in one sentence."""
    note_written(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # nobody can lay a link there beforehand
    try:
        with full_disk_told(path.parent, path), temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def full_disk_told(folder: Path, file: Path | None = None) -> Iterator[None]:
    """SqpError naming the folder whose disk is full, where one is: that of the file that could not be written.

    Python names no file where the disk fills while a file is written: then it is `folder`, or the folder for temporary
    files where that has less space left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        named = file or (Path(str(error.filename)) if error.filename else None)
        full = named.parent if named else min(folder, Path(tempfile.gettempdir()), key=_free)
        what = f" (could not write {named.name})" if named else ""
        raise SqpError(
            f"the disk is full in {full}{what}; what was finished stays: free some space there and run the same "
            "command again"
        ) from error


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def reserved_memmap(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    """A .npy file of zeros whose space is taken at once: a memory map on a full disk would end the process."""
    with full_disk_told(path.parent, path):
        np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def check_free(path: Path, overwrite: bool) -> None:
    """ConfigError where a file that a command would write is there already, and was not to be replaced."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder where a file is to be written: name the file")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already; choose another file, or --overwrite")


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
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in maps.items():
                buffer = io.BytesIO()
                half = np.clip(array, -FLOAT16_CAP, FLOAT16_CAP).astype(np.float16)
                np.lib.format.write_array(buffer, np.ascontiguousarray(half), allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy", FIRST_DAY)  # the same bytes for the same maps
                archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 1)

    write_atomic(path, write)
