"""The entry point: what the user points at -> a sorted list of cases, matched with masks made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol, overload

from sqp.data.folders import SUFFIXES, match_stems
from sqp.data.images import PROBABILITY_SUFFIXES
from sqp.errors import ConfigError, lookup
from sqp.types import Case


class Layout(Protocol):
    """A way in which a data set lies on disk: a module with these two functions."""

    def recognise(self, path: Path) -> bool:
        """Whether `path` looks like this layout; cheap."""

    def load(self, path: Path) -> list[Case]:
        """Its cases, in any order, nothing decoded."""


@dataclass(frozen=True)
class CaseList(Sequence[Case]):
    """Cases sorted by `image_id`, and what could not be used.

    `unmatched`: ids of images that have no file in the folder of masks or probabilities that was given, so
    nothing is there to be judged; they are not among `cases`. `extra`: files of the given folders that fit no
    image. `without_truth`: ids of cases that have no ground truth; these are kept, their Dice will be NaN.
    """

    cases: list[Case]
    unmatched: tuple[str, ...] = ()
    extra: tuple[Path, ...] = ()

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
) -> CaseList:
    """Cases from a folder, a single image, a CSV or the root of a data set (`sqp.data.LAYOUTS`).

    `truth`, `masks` (to be judged) and `probs` are folders, or single files for a single image, matched by
    stem; an ending such as `_segmentation` or `-mask` does not count, nor, where nothing else fits, upper and lower
    case. `truth` replaces the layout's own. `labels` are the values of label maps that make the structure (volumes).
    Raises `ConfigError` for a missing path, an unknown layout, no images, two images of one id, and where
    nothing matches.
    """
    path = Path(images)
    if not path.exists():
        raise ConfigError(f"--images {path} does not exist: check the path")
    cases = _layout(path, layout).load(path)
    if not cases:
        raise ConfigError(f"no images in {path}: looked for {', '.join(SUFFIXES)}")
    cases = _sorted_without_duplicates([replace(case, labels=tuple(labels)) for case in cases] if labels else cases)

    unmatched: set[str] = set()
    extra: list[Path] = []
    for option, given, suffixes in (
        ("--truth", truth, SUFFIXES),
        ("--masks", masks, SUFFIXES),
        ("--probs", probs, PROBABILITY_SUFFIXES),
    ):
        if given is None:
            continue
        files = _match(option, Path(given), cases, suffixes)
        ids = {case.image_id for case in cases}
        extra += [file for stem, file in files.items() if stem not in ids]
        cases = [_with_file(option, case, files.get(case.image_id)) for case in cases]
        if option != "--truth":
            unmatched |= ids - files.keys()
    kept = [case for case in cases if case.image_id not in unmatched]
    if not kept:
        raise ConfigError(f"no image of {path} has a file both in --masks {masks} and in --probs {probs}")
    return CaseList(kept, tuple(sorted(unmatched)), tuple(extra))


def _layout(path: Path, name: str) -> Layout:
    from sqp.data import LAYOUTS  # the table imports this file

    if name != "auto":
        chosen = lookup("layout", name, LAYOUTS)
        if not chosen.recognise(path):
            raise ConfigError(f"--images {path} is not of the layout '{name}': point at its root, or use 'auto'")
        return chosen
    for candidate in LAYOUTS.values():
        if candidate.recognise(path):
            return candidate
    what = f"holds no images ({', '.join(SUFFIXES)})" if path.is_dir() else "is no image, no volume and no .csv"
    raise ConfigError(f"--images {path} {what} and is of no known layout: known are {', '.join(LAYOUTS)}")


def _sorted_without_duplicates(cases: list[Case]) -> list[Case]:
    cases = sorted(cases, key=lambda case: case.image_id)
    for a, b in pairwise(cases):
        if a.image_id == b.image_id:
            raise ConfigError(f"two images have the id '{a.image_id}': {a.image_path} and {b.image_path}; rename one")
    return cases


def _match(option: str, given: Path, cases: list[Case], suffixes: Sequence[str]) -> Mapping[str, Path]:
    """image_id -> file of the given folder; `ConfigError` where none matches."""
    if given.is_file():
        if len(cases) != 1:
            raise ConfigError(f"{option} {given} is one file for {len(cases)} images: give a folder")
        return {cases[0].image_id: given}
    if not given.is_dir():
        raise ConfigError(f"{option} {given} does not exist: check the path")
    ids = {case.image_id for case in cases}
    files = match_stems(given, ids, suffixes)
    if not files:
        raise ConfigError(f"{option} {given} holds no files of {', '.join(suffixes)}")
    if not ids & files.keys():
        raise ConfigError(
            f"none of the {len(files)} files in {option} {given} matches one of the {len(ids)} images: "
            f"'{next(iter(files.values())).name}' against '{cases[0].image_path.name}'; names must agree "
            "up to the suffix, or end in _segmentation, _mask, _lesion or _seg (or with a dash)"
        )
    return files


def _with_file(option: str, case: Case, file: Path | None) -> Case:
    if option == "--truth":
        return replace(case, truth_paths=(file,) if file else ())
    return replace(case, mask_path=file) if option == "--masks" else replace(case, probability_path=file)
