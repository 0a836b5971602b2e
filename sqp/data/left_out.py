"""What of a folder is not read, said in sentences, so that nothing is left out in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqp.data.folders import IMAGE_FOLDERS, SUFFIXES, TRUTH_FOLDERS, child
from sqp.errors import printable

UNREAD = (
    *(".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd"),
    *(".dcm", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".mat"),
)
"""Suffixes of images that no layout reads."""


def left_out(path: Path, given: Iterable[Path] = ()) -> list[str]:
    """Images of a plain folder that are not read: of other types, and in subfolders that are not among the `given`."""
    folder = child(path, IMAGE_FOLDERS) or path
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
    strange = [entry.name for entry in entries if entry.name.lower().endswith(UNREAD)]
    expected = {other.resolve() for other in given}
    below = [
        e.name for e in entries if Path(e).is_dir() and Path(e).resolve() not in expected and _holds_images(Path(e))
    ]
    return [
        *counted(strange, "file{s} {are} of a type that is not read"),
        *counted(below, "subfolder{s} with images {are} not read"),
    ]


def counted(names: Sequence[str], what: str) -> list[str]:
    """One sentence, or none.

    >>> counted(["z.png", "y.png"], "mask{s} {are} of no image"), counted([], "mask{s} {are} of no image")
    (['2 masks are of no image, e.g. z.png'], [])
    """
    ending, verb = ("", "is") if len(names) == 1 else ("s", "are")
    return [f"{len(names)} {what.format(s=ending, are=verb)}, e.g. {printable(names[0])}"] if names else []


def _holds_images(folder: Path) -> bool:
    """Whether images lie in a folder that is neither known for its masks nor written by sqp."""
    if folder.name in (*IMAGE_FOLDERS, *TRUTH_FOLDERS) or (folder / "run.yaml").exists():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(SUFFIXES) and entry.name[0] != "." for entry in entries)
