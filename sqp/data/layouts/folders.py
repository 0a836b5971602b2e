"""The plain layout: a folder of images or volumes, or `images/` beside `masks/`; and the matching by stems."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from sqp.core.errors import ConfigError, printable
from sqp.core.types import Case
from sqp.data.images import IMAGE_SUFFIXES
from sqp.data.masks import holds_photograph
from sqp.data.volumes import VOLUME_SUFFIXES

SUFFIXES = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
IMAGE_FOLDERS = ("images", "image", "imgs", "imagesTr")  # the last as the Medical Segmentation Decathlon has them
SAYS_TRUTH = ("truth", "ground_truth", "groundtruth", "gt", "labels", "labelsTr")
TRUTH_FOLDERS = ("masks", "mask", *SAYS_TRUTH)

_MASK_ENDING = re.compile(
    r"[_-](segmentation|mask|lesion|seg|labels?|gt|groundtruth|annotation|prediction|pred)$", re.IGNORECASE
)
_PREDICTION = re.compile(r"[_-](prediction|pred)$", re.IGNORECASE)
_CHANNEL = re.compile(r"_\d{4}$")
_NO_IMAGE = re.compile(r"_superpixels$", re.IGNORECASE)  # ISIC 2017 keeps them among its images


def recognise(path: Path) -> bool:
    """An image file, a folder with `images/`, or a folder with image files in it."""
    if path.is_file():
        return path.name.lower().endswith(SUFFIXES)
    return path.is_dir() and (child(path, IMAGE_FOLDERS) is not None or any(True for _ in _files(path)))


def load(path: Path) -> list[Case]:
    """A case per image; files of its stem in `masks/` (or another of `TRUTH_FOLDERS`) are its truth.

    In one flat folder, `a_mask.png` (or another ending of a mask) beside `a.jpg` is the truth of `a`, unless it is a
    photograph (`images.holds_photograph`): then it is an image of its own. `a_pred.png` is neither image nor truth.
    """
    if path.is_file():
        return [Case(composed(stem_of(path)), path)]
    folder = child(path, IMAGE_FOLDERS) or path
    images = by_stem(folder)
    if folder == path:
        marked = [stem for stem in images if cut_ending(stem) != stem]
        owners = match_names(map(cut_ending, marked), images)
        masks = [s for s in marked if cut_ending(s) in owners and not holds_photograph(images[s])]
        truth = _unique((owners[cut_ending(s)], images[s]) for s in masks if not _PREDICTION.search(s))
        images = {stem: file for stem, file in images.items() if stem not in masks}
    else:
        truth_folder = child(path, TRUTH_FOLDERS)
        truth = match_stems(truth_folder, images) if truth_folder else {}
    return [
        Case(stem, file, truth_paths=(truth[stem],) if stem in truth else (), dataset=path.resolve().name)
        for stem, file in images.items()
    ]


def by_stem(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> dict[str, Path]:
    """Stem -> file of a folder, sorted; superpixels are left out. Two files of one stem: `ConfigError`."""
    return _unique((composed(stem_of(file)), file) for file in sorted(_files(folder, tuple(suffixes))))


def match_stems(
    folder: Path, ids: Iterable[str], suffixes: Iterable[str] = SUFFIXES, leave: Collection[str] = ()
) -> dict[str, Path]:
    """As `by_stem`, for masks: the key is the one of `ids` that the stem names (`match_names`), else the whole stem.

    A file that has the very name of an id keeps away those that name it with an ending. Files of the names `leave` are
    left out.
    """
    ids = list(ids)
    found = sorted(file for file in _files(folder, tuple(suffixes)) if file.name not in leave)
    files = {file: composed(stem_of(file)) for file in found}
    named = match_names(files.values(), ids)
    exact = {named[stem] for stem in files.values() if stem in named and _same_name(stem, named[stem])}

    def key(stem: str) -> str:
        wanted = named.get(stem, stem)
        return stem if wanted in exact and not _same_name(stem, wanted) else wanted

    found_files = _unique((key(stem), file) for file, stem in files.items())
    return _with_channels(found_files, ids)


STEM = "{stem}"
"""In a pattern of names: the name of the image's file, without its suffix."""


def named_by(pattern: str, folder: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """Image id -> the file in a folder that the pattern names, e.g. `{stem}_unet_fold0` or `{stem}/mask.png`.

    Its suffix may be left out. Images of which there is no such file are not among them; two files of one name:
    ConfigError.
    """
    files: dict[Path, dict[str, list[Path]]] = {}
    found = []
    for image_id, image in images.items():
        wanted = folder / pattern.replace(STEM, stem_of(image))
        if wanted.parent not in files:
            here = files[wanted.parent] = {}
            for file in sorted(_files(wanted.parent)) if wanted.parent.is_dir() else []:
                for name in {composed(file.name), composed(stem_of(file))}:
                    here.setdefault(name, []).append(file)
        found += [(image_id, file) for file in files[wanted.parent].get(composed(wanted.name), [])]
    return _unique(found)


def channels_of(ids: Iterable[str]) -> dict[str, list[str]]:
    """Case -> its images in the names of nnU-Net, which end in the number of a channel from 0000 on.

    Examples:
        >>> channels_of(["c_0000", "c_0001", "d_0007", "e"])
        {'c': ['c_0000', 'c_0001']}
    """
    found: dict[str, list[str]] = {}
    for image_id in sorted(ids):
        if _CHANNEL.search(image_id):
            found.setdefault(_CHANNEL.sub("", image_id), []).append(image_id)
    return {case: names for case, names in found.items() if names[0].endswith("_0000")}


def _with_channels(files: dict[str, Path], ids: Collection[str]) -> dict[str, Path]:
    """The files of cases whose images are the channels of nnU-Net go to each of these that has none of its own."""
    for case, names in channels_of(ids).items():
        lacking = [name for name in names if name not in files]
        if case in files and case not in ids and lacking:
            file = files.pop(case)
            files |= dict.fromkeys(lacking, file)
    return files


def match_names(names: Iterable[str], ids: Iterable[str]) -> dict[str, str]:
    """Name -> the id that it names: equal in Unicode's composed form, whole or without the endings of a mask (the fewer
    are cut, the better); ids that nothing names so are matched whatever the case of the letters, if that is unique.

    Examples:
        >>> match_names(["a-mask", "B_seg", "c", "d_lesion_mask"], ["a", "b", "d"])
        {'a-mask': 'a', 'd_lesion_mask': 'd', 'B_seg': 'b'}
    """
    forms = {name: _without_endings(composed(name)) for name in names}
    known = {composed(image_id): image_id for image_id in ids}
    found = {name: known[form] for name, tried in forms.items() for form in reversed(tried) if form in known}
    folded: dict[str, list[str]] = {}
    for form in known.keys() - {composed(image_id) for image_id in found.values()}:
        folded.setdefault(form.casefold(), []).append(known[form])
    for name, tried in forms.items():
        matches = next((folded[form.casefold()] for form in tried if form.casefold() in folded), [])
        if name not in found and len(matches) == 1:
            found[name] = matches[0]
    return found


def stem_of(path: Path) -> str:
    """The name without its suffix, the double one of NIfTI too.

    Examples:
        >>> stem_of(Path("liver.1.nii.gz")), stem_of(Path("a.png"))
        ('liver.1', 'a')
    """
    return re.sub(r"\.nii$", "", path.stem, flags=re.IGNORECASE) if path.suffix.lower() == ".gz" else path.stem


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC): macOS writes an accented letter as two signs, others as one.

    Bytes that are no UTF-8 are spelt out, so that an id can always be written.
    """
    return unicodedata.normalize("NFC", printable(name))


def cut_ending(stem: str) -> str:
    """The stem without the ending of a mask.

    Examples:
        >>> cut_ending("ISIC_0000000_Segmentation")
        'ISIC_0000000'
    """
    return _MASK_ENDING.sub("", stem)


def _without_endings(stem: str) -> list[str]:
    """The stem, and what is left of it as its endings are cut one by one."""
    tried = [stem]
    while (shorter := cut_ending(tried[-1])) != tried[-1] or (shorter := _cut_suffix(tried[-1])) != tried[-1]:
        tried.append(shorter)
    return tried


def _cut_suffix(stem: str) -> str:
    """The name without the suffix of its image, which some tools keep: `a.jpg` of `a.jpg.png`."""
    return next((stem[: -len(suffix)] for suffix in SUFFIXES if stem.lower().endswith(suffix)), stem)


def _same_name(stem: str, image_id: str) -> bool:
    return stem.casefold() == composed(image_id).casefold()


def child(path: Path, names: Iterable[str]) -> Path | None:
    """The first of the folders `names` in `path` that sqp did not write; one unpacked into itself (`a/a`) is opened."""
    for name in names:
        folder = path / name
        if folder.is_dir() and not (folder / "run.yaml").exists():
            return folder / name if (folder / name).is_dir() else folder
    return None


def _files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterable[Path]:
    """Files of a folder with one of the suffixes; hidden ones and superpixels are left out."""
    if not folder.is_dir():
        raise ConfigError(f"folder {folder} does not exist: check the path")
    with os.scandir(folder) as entries:
        for entry in entries:
            stem = stem_of(Path(entry.name))
            known = entry.name.lower().endswith(suffixes)
            if known and entry.name[0] != "." and not _NO_IMAGE.search(stem):
                yield folder / entry.name


def _unique(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for stem, file in files:
        if stem in found:
            raise ConfigError(f"{found[stem]} and {file} are both for '{stem}': remove or rename one of them")
        found[stem] = file
    return found
