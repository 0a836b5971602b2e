"""The entry point: what the user points at -> a sorted list of cases, matched with masks made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import overload

from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Case
from sqp.data.images import PROBABILITY_SUFFIXES
from sqp.data.layouts import LAYOUTS
from sqp.data.layouts.folders import (
    SAYS_TRUTH,
    STEM,
    SUFFIXES,
    TRUTH_FOLDERS,
    channels_of,
    child,
    match_stems,
    named_by,
    stem_of,
)
from sqp.data.left_aside import counted, instead, left_out

PATTERN = f"--mask_pattern '{STEM}_unet_fold0'"
"""How the names of masks are told, as it is typed."""
PLAIN = ("dicom", "folders")
"""Layouts of no known data set: their `masks/` may be anybody's."""


@dataclass(frozen=True)
class CaseList(Sequence[Case]):
    """Cases sorted by `image_id`, and what could not be used.

    `unmatched`: ids of images that have no file in the folder of masks or probabilities that was given, so
    nothing is there to be judged; they are not among `cases`. `extra`: files of the given folders that fit no
    image. `notes`: sentences on what else was left aside. `without_truth`: ids of cases that have no ground truth;
    these are kept, their Dice will be NaN.
    """

    cases: list[Case]
    unmatched: tuple[str, ...] = ()
    extra: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def without_truth(self) -> tuple[str, ...]:
        return tuple(case.image_id for case in self.cases if not case.truth_paths)

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> list[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | list[Case]:
        return self.cases[index]


def find_cases(
    images: str | Path,
    truth: str | Path | None = None,
    masks: str | Path | None = None,
    probs: str | Path | None = None,
    layout: str = "auto",
    labels: Sequence[int] = (),
    option: str = "--images",
    mask_pattern: str | None = None,
) -> CaseList:
    """Cases from a folder, a single image, a CSV or the root of a data set (`LAYOUTS`).

    `truth`, `masks` (to be judged) and `probs` are folders, or single files for a single image, matched by
    stem; an ending such as `_segmentation` or `-mask` does not count, nor, where nothing else fits, upper and lower
    case. `truth` replaces the layout's own. Where masks or probabilities are judged, a plain folder (`PLAIN`) has truth
    only where its folder says so (`folders.SAYS_TRUTH`: `masks/` may hold anybody's), and a file that is judged is
    never the truth of itself. Where `masks` is the folder of the images too, `a_mask.png` is judged beside `a.jpg`.
    `mask_pattern` names the masks (`folders.named_by`) in place of these rules. `labels` are the values that make the
    structure; `option` is what errors call `images`.
    Raises `ConfigError` for a missing path, an unknown layout, no images, two images of one id, where nothing matches,
    and where what is judged is given as images or as truth too.
    """
    path = Path(images)
    if not path.exists():
        raise ConfigError(f"{option} {path} does not exist: check the path")
    name, cases = _loaded(path, layout, option)
    if not cases:
        raise ConfigError(f"no images in {path}: looked for {', '.join(SUFFIXES)}")
    cases = _sorted_without_duplicates([replace(case, labels=tuple(labels)) for case in cases] if labels else cases)
    given = {"--truth": truth, "--masks": masks, "--probs": probs}
    notes = left_out(path, [Path(folder) for folder in given.values() if folder]) if name == "folders" else []
    judged = masks is not None or probs is not None
    notes += _lacking_truth(path, name, cases, SAYS_TRUTH if judged else TRUTH_FOLDERS) if truth is None else []
    cases = _grouped_by_channels(cases)
    cases, beside = _without_unnamed_truth(cases) if judged and name in PLAIN else (cases, {})

    unmatched: set[str] = set()
    extra: list[Path] = []
    for option, folder in given.items():
        if folder is None:
            continue
        pattern = mask_pattern if option == "--masks" else None
        files = _patterned(pattern, Path(folder), cases) if pattern else _match(option, Path(folder), cases)
        ids = {case.image_id for case in cases}
        notes += _replaced(option, cases, files)
        strange = [file for stem, file in files.items() if stem not in ids]
        extra += strange
        notes += counted([file.name for file in strange], f"file{{s}} of {option} {{are}} of no image")
        cases = [_with_file(option, case, files.get(case.image_id)) for case in cases]
        if option == "--truth":
            notes += counted(sorted(ids - files.keys()), "image{s} {are} without a file in --truth")
        if option != "--truth":
            unmatched |= ids - files.keys()
    kept = [case for case in cases if case.image_id not in unmatched]
    if not kept:
        raise ConfigError(f"no image of {path} has a file both in --masks {masks} and in --probs {probs}")
    if truth is None:
        own_truth = [
            str(f) for case in kept if case.image_id not in beside for f in case.truth_paths if _judges(case, f)
        ]
        notes += counted(own_truth, "truth{s} {are} the very file that is judged, and left out")
        kept = [replace(case, truth_paths=tuple(f for f in case.truth_paths if not _judges(case, f))) for case in kept]
        idle = [str(beside[c.image_id]) for c in kept if c.image_id in beside and not _judges(c, beside[c.image_id])]
        notes += counted(idle, "mask{s} beside the images {are} not taken for truth without --truth")
    for own in (file for case in kept for file in case.truth_paths if _judges(case, file)):
        raise ConfigError(f"--truth {own} is the very file that is judged: no mask is its own truth, leave it out")
    return CaseList(kept, tuple(sorted(unmatched)), tuple(extra), tuple(notes))


def _replaced(option: str, cases: list[Case], files: Mapping[str, Path]) -> list[str]:
    """What is told where an option's files take the place of those that a table names."""
    field = {"--masks": "mask_path", "--probs": "probability_path"}.get(option)
    named = [(getattr(case, field), files.get(case.image_id, "")) for case in cases] if field else []
    gone = [str(file) for file, other in named if file and not _same(file, other)]
    return counted(gone, f"mask{{s}} of the table {{are}} replaced by {option}")


def _lacking_truth(path: Path, name: str, cases: list[Case], folders: Sequence[str]) -> list[str]:
    """What is told where a layout has a folder of truth, or some truth, and images are without."""
    folder = child(path, folders) if name in PLAIN and path.is_dir() else None
    bare = sorted(case.image_id for case in cases if not case.truth_paths)
    if not bare or (folder is None and (name in PLAIN or len(bare) == len(cases))):
        return []
    where = f" in {folder}" if folder is not None else ""
    return counted(bare, f"image{{s}} {{are}} without ground truth{where.replace('{', '(').replace('}', ')')}")


def _grouped_by_channels(cases: list[Case]) -> list[Case]:
    """Channels of one case (nnU-Net) are one group, so that no split parts them."""
    own = [case.image_id for case in cases if case.group == case.image_id]
    owner = {image_id: case for case, ids in channels_of(own).items() if len(ids) > 1 for image_id in ids}
    shared = {case.truth_paths for case in cases if case.image_id in owner and case.truth_paths}
    of = {c.image_id: owner[c.image_id] for c in cases if c.image_id in owner and c.truth_paths in shared}
    return [replace(case, group=of.get(case.image_id, case.group)) for case in cases]


def _without_unnamed_truth(cases: list[Case]) -> tuple[list[Case], dict[str, Path]]:
    """The cases without the truths that lie in no folder of `SAYS_TRUTH`, and these by image id."""
    told = [case for case in cases if case.truth_paths]
    apart = {c.image_id: c.truth_paths[0] for c in told if c.truth_paths[0].parent.name not in SAYS_TRUTH}
    return [replace(case, truth_paths=()) if case.image_id in apart else case for case in cases], apart


def _judges(case: Case, file: Path) -> bool:
    """Whether the file is the very one that is judged."""
    return any(_same(file, path) for path in (case.mask_path, case.probability_path) if path is not None)


def _same(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file; False where one leads nowhere."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _loaded(path: Path, name: str, option: str) -> tuple[str, list[Case]]:
    """The layout's name, and its cases."""
    if name != "auto":
        chosen = lookup("layout", name, LAYOUTS)
        if not chosen.recognise(path):
            raise ConfigError(f"{option} {path} is not of the layout '{name}': point at its root, or use 'auto'")
        return name, chosen.load(path)
    for known, candidate in LAYOUTS.items():
        if candidate.recognise(path):
            return known, candidate.load(path)
    what = f"holds no images ({', '.join(SUFFIXES)})" if path.is_dir() else "is no image, no volume and no .csv"
    raise ConfigError(f"{option} {path} {what} and is of no known layout: known are {', '.join(LAYOUTS)}")


def _sorted_without_duplicates(cases: list[Case]) -> list[Case]:
    cases = sorted(cases, key=lambda case: case.image_id)
    for a, b in pairwise(cases):
        if a.image_id == b.image_id and a.image_path == b.image_path and a.mask_path == b.mask_path:
            what = a.image_path if a.mask_path is None else f"{a.image_path} with the mask {a.mask_path}"
            raise ConfigError(
                f"two images have the id '{a.image_id}': {what} is there in two rows; remove one, or give each an own "
                "name in a column image_id"
            )
        if a.image_id == b.image_id:
            raise ConfigError(
                f"two images have the id '{a.image_id}': {a.image_path} and {b.image_path}; "
                "rename one, or give a column image_id"
            )
    return cases


def _match(option: str, given: Path, cases: list[Case]) -> Mapping[str, Path]:
    """image_id -> file of the given folder, the images left out; `ConfigError` where none matches."""
    suffixes = PROBABILITY_SUFFIXES if option == "--probs" else SUFFIXES
    if given.is_file():
        if len(cases) != 1:
            raise ConfigError(f"{option} {given} is one file for {len(cases)} images: give a folder")
        if _same(given, cases[0].image_path):
            raise ConfigError(f"{option} {given} is the image itself: give the file of its mask")
        return {cases[0].image_id: given}
    if not given.is_dir():
        raise ConfigError(f"{option} {given} does not exist: check the path")
    ids = {case.image_id for case in cases}
    images = {case.image_path.name for case in cases if _same(case.image_path.parent, given)}
    files = match_stems(given, ids, suffixes, images)
    if not files and images:
        raise ConfigError(
            f"--images and {option} are the same folder, {given}, and no mask is in it: give that of the masks"
        )
    if not files:
        raise ConfigError(f"{option} {given} holds no files of {', '.join(suffixes)}{instead(given)}")
    if not ids & files.keys():
        raise ConfigError(
            f"none of the {len(files)} files in {option} {given} matches one of the {len(ids)} images: "
            f"'{next(iter(files.values())).name}' against '{cases[0].image_path.name}'; names must agree "
            "up to the suffix, or end in _segmentation, _mask, _lesion, _seg, _label, _gt or _pred (or with a dash); "
            + (f"else say how they are named ({PATTERN}), or " if option == "--masks" else "else ")
            + f"give a CSV with the columns image and {option.strip('-').removesuffix('s')} as --images"
        )
    return files


def _patterned(pattern: str, folder: Path, cases: list[Case]) -> Mapping[str, Path]:
    """image_id -> the file that a pattern names; `ConfigError` where it names none."""
    if not folder.is_dir():
        raise ConfigError(f"--mask_pattern names files in a folder, and --masks {folder} is none")
    files = named_by(pattern, folder, {case.image_id: case.image_path for case in cases})
    if not files:
        example = pattern.replace(STEM, stem_of(cases[0].image_path))
        raise ConfigError(
            f"--mask_pattern '{pattern}' names no file in {folder}: of {cases[0].image_path.name} that would be "
            f"'{example}'"
        )
    return files


def _with_file(option: str, case: Case, file: Path | None) -> Case:
    if option == "--truth":
        return replace(case, truth_paths=(file,) if file else ())
    return replace(case, mask_path=file) if option == "--masks" else replace(case, probability_path=file)
