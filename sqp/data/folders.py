"""The plain layout: a folder of images, or `images/` beside `masks/`; and the matching by stems."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from pathlib import Path

from sqp.data.images import IMAGE_SUFFIXES
from sqp.errors import ConfigError
from sqp.types import Case

IMAGE_FOLDERS = ("images", "image", "imgs")
TRUTH_FOLDERS = ("masks", "mask", "truth", "ground_truth", "groundtruth", "gt", "labels")

_MASK_ENDING = re.compile(r"_(segmentation|mask|lesion|seg)$", re.IGNORECASE)
_NO_IMAGE = re.compile(r"_superpixels$", re.IGNORECASE)  # ISIC 2017 keeps them among its images


def recognise(path: Path) -> bool:
    """An image file, a folder with `images/`, or a folder with image files in it."""
    if path.is_file():
        return path.suffix.lower() in IMAGE_SUFFIXES
    return path.is_dir() and (child(path, IMAGE_FOLDERS) is not None or any(True for _ in _files(path)))


def load(path: Path) -> list[Case]:
    """A case per image; files of its stem in `masks/` (or another of `TRUTH_FOLDERS`) are its truth.

    In one flat folder, `a_mask.png` (or another ending of a mask) beside `a.jpg` is the truth of `a`.
    """
    if path.is_file():
        return [Case(path.stem, path)]
    folder = child(path, IMAGE_FOLDERS) or path
    images = by_stem(folder)
    if folder == path:
        truth = {cut_ending(stem): file for stem, file in images.items() if cut_ending(stem) in images}
        truth = {stem: file for stem, file in truth.items() if file != images[stem]}
        images = {stem: file for stem, file in images.items() if file not in truth.values()}
    else:
        truth_folder = child(path, TRUTH_FOLDERS)
        truth = match_stems(truth_folder, images) if truth_folder else {}
    return [
        Case(stem, file, truth_paths=(truth[stem],) if stem in truth else (), dataset=path.resolve().name)
        for stem, file in images.items()
    ]


def by_stem(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Stem -> file of a folder, sorted; superpixels are left out. Two files of one stem: `ConfigError`."""
    return _unique((file.stem, file) for file in sorted(_files(folder, tuple(suffixes))))


def match_stems(folder: Path, ids: Container[str], suffixes: Iterable[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """As `by_stem`, for masks: an ending as `_mask` is cut off, unless the whole stem is in `ids`."""
    files = sorted(_files(folder, tuple(suffixes)))
    return _unique((file.stem if file.stem in ids else cut_ending(file.stem), file) for file in files)


def cut_ending(stem: str) -> str:
    """The stem without the ending of a mask.

    >>> cut_ending("ISIC_0000000_Segmentation")
    'ISIC_0000000'
    """
    return _MASK_ENDING.sub("", stem)


def child(path: Path, names: Iterable[str]) -> Path | None:
    """The first of the folders `names` in `path`; one unpacked into itself (`a/a`) is opened."""
    for name in names:
        folder = path / name
        if folder.is_dir():
            return folder / name if (folder / name).is_dir() else folder
    return None


def _files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Iterable[Path]:
    """Files of a folder with one of the suffixes; hidden ones and superpixels are left out."""
    if not folder.is_dir():
        raise ConfigError(f"folder {folder} does not exist: check the path")
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, dot, suffix = entry.name.rpartition(".")
            if stem and dot + suffix.lower() in suffixes and stem[0] != "." and not _NO_IMAGE.search(stem):
                yield folder / entry.name


def _unique(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for stem, file in files:
        if stem in found:
            raise ConfigError(f"{found[stem]} and {file} are both for '{stem}': remove or rename one of them")
        found[stem] = file
    return found
