"""Files that appear whole or not at all, and the hashes that say which file it was.

What is written lies beside its place under a temporary name first, then is renamed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sqp.core.errors import CaseError, ConfigError, SqpError
from sqp.core.untrusted import check_regular

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


def reserve_arrays(home: Path, arrays: Mapping[str, tuple[type, tuple[int, ...]]], remedy: str) -> None:
    """Memory maps of zeros, HOME/NAME.npy of a dtype and shape each; SqpError where the disk has no room for them."""
    need = sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in arrays.values())
    if need > _free(home):
        raise SqpError(f"the training cache needs {need / 1e9:.1f} GB in {home}: free some space, or choose {remedy}")
    for name, (dtype, shape) in arrays.items():
        reserved_memmap(home / f"{name}.npy", dtype, shape)


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


def cache_dir() -> Path:
    """Where what is fetched or made once lies for all runs of a user: `$SQP_CACHE`, else ~/.cache/sqp."""
    return Path(os.environ.get("SQP_CACHE") or Path.home() / ".cache" / "sqp").expanduser()


def write_json(path: Path, value: Any) -> None:
    """JSON, with NaN for missing numbers."""
    write_atomic(path, lambda file: file.write(json.dumps(value).encode()))


def write_text(path: Path, text: str) -> None:
    """UTF-8 text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """bool `[h, w]` -> 8-bit PNG, 0 or 255."""
    png = png_of(mask)
    write_atomic(path, lambda file: file.write(png))


def png_of(mask: np.ndarray) -> bytes:
    """The file that `write_mask` writes."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def half(array: np.ndarray) -> np.ndarray:
    """A map as it is stored: float16, clipped at ±65504."""
    return np.ascontiguousarray(np.clip(array, -FLOAT16_CAP, FLOAT16_CAP).astype(np.float16))


def write_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Named arrays -> npz of float16, clipped at ±65504, lightly deflated (numpy's own level costs 5 x the time)."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in maps.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, half(array), allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy", FIRST_DAY)  # the same bytes for the same maps
                archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 1)

    write_atomic(path, write)


UNREADABLE = "unreadable"


def sha256_of(path: str | Path) -> str:
    """sha256 of a file, as 64 hex digits; read in pieces."""
    with check_regular(path, error=CaseError).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_or_nothing(path: Path) -> str:
    """`sha256_of`, or "unreadable": whoever reads the file will say why, and for its own case alone."""
    try:
        return sha256_of(path)
    except (OSError, CaseError):
        return UNREADABLE


def look_of(path: Path) -> tuple[int, int]:
    """Time and size of a file, by which a cache knows it again; zeros where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def sha256_of_all(paths: Iterable[str | Path]) -> str:
    """sha256 of the hashes of several files, whatever their order: what was made from them is old where it differs."""
    return hashlib.sha256("".join(sorted(map(sha256_of, paths))).encode()).hexdigest()


def stamp_of(paths: Iterable[Path]) -> str:
    """What tells later whether files, or folders of files, have changed: size, time and sha256 of each, parted by ;."""
    hashed = [(path, sha256_of_all(_parts(path))) for path in paths]  # first: that fills a file of a mirror
    return ";".join(f"{_look(path)} {digest}" for path, digest in hashed)


def unchanged(stamp: str, paths: Sequence[Path]) -> bool:
    """Whether the files are those of a stamp. Only where size or time differ is a file read.

    False too where there are more or fewer of them, and where one is gone.
    """
    stamped = stamp.split(";")
    return len(stamped) == len(paths) and all(map(_is, stamped, paths))


def content_of(parts: Iterable[bytes]) -> str:
    """Size and sha256 of each of the files that make a record, parted by ;."""
    return ";".join(f"{len(part)} {hashlib.sha256(part).hexdigest()}" for part in parts)


def changed_source(stamp: str, paths: Sequence[str | Path]) -> Path | None:
    """The first of the files of a stamp that has changed since. One that is gone, or has no stamp, cannot be told."""
    for stamped, path in zip(stamp.split(";"), map(Path, paths), strict=False):
        if stamped and path.exists() and not _is(stamped, path):
            return path
    return None


def _is(stamped: str, path: Path) -> bool:
    look, _, digest = stamped.rpartition(" ")
    try:
        return look == _look(path) or digest == sha256_of_all(_parts(path))
    except (OSError, CaseError):
        return False


def _look(path: Path) -> str:
    """Size and time of a file; of a folder how many files, their size together and the latest time."""
    stats = [part.stat() for part in _parts(path)]
    return f"{len(stats)} {sum(s.st_size for s in stats)} {max((s.st_mtime_ns for s in stats), default=0)}"


def _parts(path: Path) -> list[Path]:
    """The file, or the files of a folder (a DICOM series)."""
    return sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".") if path.is_dir() else [path]
