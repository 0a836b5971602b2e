"""The hash that says which file it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqp.core.errors import CaseError
from sqp.core.untrusted import check_regular

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
    return ";".join(f"{_look(path)} {sha256_of_all(_parts(path))}" for path in paths)


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
