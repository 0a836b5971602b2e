"""What of the given folders is not read, or not as it might be meant, in sentences: nothing is left out in silence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqp.core.errors import printable
from sqp.core.types import Case
from sqp.data.images import turned_in_place
from sqp.data.layouts.folders import IMAGE_FOLDERS, SUFFIXES, TRUTH_FOLDERS, child

UNREAD = (
    *(".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd"),
    *(".dcm", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".mat"),
)
"""Suffixes of images that no layout reads."""
MOST_NAMED = 5
"""So many subfolders are named in a sentence."""


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

    Examples:
        >>> counted(["z.png", "y.png"], "mask{s} {are} of no image"), counted([], "mask{s} {are} of no image")
        (['2 masks are of no image, e.g. z.png'], [])
    """
    ending, verb = ("", "is") if len(names) == 1 else ("s", "are")
    return [f"{len(names)} {what.format(s=ending, are=verb)}, e.g. {printable(names[0])}"] if names else []


def by_cause(reasons: Mapping[str, str]) -> list[str]:
    """One line a cause, the most frequent first: reasons that differ in names and numbers alone are told once.

    Examples:
        >>> by_cause({"a": "a.png is 3x3 pixels", "b": "b.png is 4x4 pixels", "c": "c.png is empty"})
        ['a: a.png is 3x3 pixels (and 1 like it)', 'c: c.png is empty']
    """
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(cause_of(reason), []).append(name)
    ordered = sorted(found.values(), key=len, reverse=True)
    more = [f" (and {len(names) - 1} like it)" if len(names) > 1 else "" for names in ordered]
    return [f"{names[0]}: {reasons[names[0]]}{rest}" for names, rest in zip(ordered, more, strict=True)]


def cause_of(reason: str) -> str:
    """The reason without names and numbers.

    Examples:
        >>> cause_of("a.png is 3x3 pixels") == cause_of("b.png is 4x4 pixels")
        True
    """
    return re.sub(r"\S*[\d./]\S*", "", reason)


def turned_notes(cases: Iterable[Case]) -> list[str]:
    """The images with truth or a mask that their orientation tag turns, so that a mask of the raw pixels is misplaced.

    Those that change their height and width are not among them: their mask does not fit, and is refused when read.
    """
    turned = []
    for case in cases:
        drawn = [*case.truth_paths, *filter(None, (case.mask_path, case.probability_path))]
        if any(turned_in_place(case.image_path, file) for file in drawn):
            turned.append(case.image_path.name)
    return counted(turned, "image{s} {are} turned by the EXIF tag: a mask drawn on the raw pixels would be misplaced")


def _holds_images(folder: Path) -> bool:
    """Whether images lie in a folder that is neither known for its masks nor written by sqp."""
    if folder.name in (*IMAGE_FOLDERS, *TRUTH_FOLDERS) or (folder / "run.yaml").exists():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(SUFFIXES) and entry.name[0] != "." for entry in entries)


def instead(folder: Path) -> str:
    """What lies in a folder in place of masks that are read: files of other types, or subfolders with files."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
    other = [entry.name for entry in entries if entry.name.lower().endswith(UNREAD)]
    if other:
        return f", but {printable(other[0])}: convert such files to PNG, volumes to NIfTI"
    below = [entry.name for entry in entries if entry.is_dir() and _holds_images(Path(entry))]
    if len(below) > 1:  # e.g. a folder a class
        more = ", ..." if len(below) > MOST_NAMED else ""
        return f", but its subfolders do: give one of them ({', '.join(map(printable, below[:MOST_NAMED]))}{more})"
    return f", but the subfolder {printable(below[0])} does: give that one" if below else ""
