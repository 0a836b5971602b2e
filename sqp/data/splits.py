"""Groups (lesions, patients) -> splits, made once with a seed, and the rules of the two data sets.

A group is never cut. Its place depends on the seed, the data set and the group's name alone, through a hash,
so the order of the files does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from sqp.core.errors import ConfigError
from sqp.core.names import SPLITS
from sqp.core.seeding import derive_seed
from sqp.core.types import Case

FRACTIONS: Mapping[str, float] = {"train": 0.6, "calibration": 0.15, "val": 0.1, "test": 0.15}
HAM10000_TRAIN: Mapping[str, float] = {"segmenter": 0.45, "train": 0.40, "calibration": 0.15}
ISIC2018_TRAIN: Mapping[str, float] = {"train": 0.75, "calibration": 0.25}

SAME_LESION: Mapping[str, str] = {"HAM_0004919": "HAM_0000140"}
"""Lesions of HAM10000 under two ids (ISIC_0025226 and ISIC_0030074, by eye): the one -> the other."""
LEFT_OUT = ", and rows whose group has a row in test, or else in val, are left out"

REMEDY = "`sqp splits --images DATA --out OUT.json`"

Groups = dict[str, tuple[str, ...]]


class TooFewGroupsError(ConfigError):
    """The groups do not suffice to give each split one."""


@dataclass(frozen=True)
class Splits:
    """split -> group -> image ids, with what is needed to make them again.

    `left_out`: group -> images in no split, since others of their group are in one that stays as it is.
    """

    splits: dict[str, Groups]
    dataset: str = ""
    seed: int = 0
    rule: str = ""
    labels_sha256: str = ""
    left_out: Groups = field(default_factory=dict)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images and groups of each split."""
        return {
            split: {"images": sum(map(len, groups.values())), "groups": len(groups)}
            for split, groups in self.splits.items()
        }


def make_splits(
    cases: Iterable[Case], fractions: Mapping[str, float] = FRACTIONS, seed: int = 0, dataset: str = ""
) -> Splits:
    """Splits by group: in a seeded random order, cut where the cumulative share of the images reaches the
    fractions.

    Raises `ConfigError` for fractions that do not sum to 1, an unknown split, and (`TooFewGroupsError`) where a split
    stays empty.

    Examples:
        >>> cases = [Case(f"i{k}", "x.png", group=f"g{k // 2}") for k in range(40)]
        >>> make_splits(cases, {"train": 0.75, "test": 0.25}).counts()
        {'train': {'images': 30, 'groups': 15}, 'test': {'images': 10, 'groups': 5}}
    """
    _check_fractions(fractions)
    groups = _by_group(cases)
    rule = f"all images by group: {_said(fractions)}"
    return Splits(_cut(groups, fractions, seed, dataset), dataset, seed, rule)


def with_default_splits(cases: Iterable[Case], seed: int = 0) -> tuple[list[Case], Splits | None]:
    """The cases, split by group in the default `FRACTIONS`, and these splits, if no case has a split yet.

    Only groups with truth are placed, so that every split has some; the others keep the split "". Where a case has a
    split, none has truth (there is nothing to learn from), or the groups are too few, the cases come back as they are,
    with None. The same cases and seed give the same splits, whatever the order.
    """
    cases = list(cases)
    known = {case.group for case in cases if case.truth_paths}
    labelled = [case for case in cases if case.group in known]
    if not labelled or any(case.split for case in cases):
        return cases, None
    try:
        splits = make_splits(labelled, seed=seed)
    except TooFewGroupsError:
        return cases, None
    return apply_splits(cases, splits), splits


def ham10000_splits(cases: Iterable[Case], seed: int = 0) -> Splits:
    """HAM10000: test, val kept; train by lesion in `HAM10000_TRAIN`; without what has a row in one before it."""
    cases = [replace(case, group=SAME_LESION.get(case.group, case.group)) for case in cases]
    rule = f"test and val of labels.csv kept; its train by lesion_id: {_said(HAM10000_TRAIN)}{LEFT_OUT}"
    splits, left = _from_official(cases, HAM10000_TRAIN, seed, "ham10000")
    return Splits(splits, "ham10000", seed, rule, left_out=left)


def isic2018_splits(cases: Iterable[Case], seed: int = 0) -> Splits:
    """ISIC 2018: groups with two masks to `raters`; test, val kept; train in `ISIC2018_TRAIN`; without what has a row
    in one before it.
    """
    cases = list(cases)
    doubles = {case.group for case in cases if len(case.truth_paths) > 1}
    splits, left = _from_official([c for c in cases if c.group not in doubles], ISIC2018_TRAIN, seed, "isic2018")
    splits["raters"] = _by_group(case for case in cases if case.group in doubles)
    rule = (
        "groups of the images with two official masks to raters; of the others test and val of labels.csv "
        f"kept, its train by group: {_said(ISIC2018_TRAIN)}{LEFT_OUT}"
    )
    return Splits(splits, "isic2018", seed, rule, left_out=left)


def halved(splits: Splits, split: str = "train") -> tuple[Splits, Splits]:
    """Twice the same splits, for cross-fitting: in each the groups of one half of `split` are in `segmenter` instead.

    A network that is fitted on `segmenter` of one of them makes the masks of its `split`, which it has not seen. The
    halves depend on seed, data set and the groups' names alone. ConfigError where there are not two groups.
    """
    groups = splits.splits.get(split, {})
    if len(groups) < 2:
        raise ConfigError(f"the split '{split}' has {len(groups)} groups; two halves need at least two")
    order = _shuffled(groups, splits.seed, f"{splits.dataset} halves")
    halves = []
    for number in range(2):
        fitted = set(order[number::2])
        parted = {
            "segmenter": {**splits.splits.get("segmenter", {}), **{g: groups[g] for g in groups if g in fitted}},
            split: {g: groups[g] for g in groups if g not in fitted},
        }
        rule = f"{splits.rule}; half {number + 1} of {split} in segmenter"
        halves.append(replace(splits, splits={**splits.splits, **parted}, rule=rule))
    return halves[0], halves[1]


def apply_splits(cases: Iterable[Case], splits: Splits) -> list[Case]:
    """The cases with `split` and `group` as in `splits`; those that it does not list get the split "", so that they can
    be counted.

    The cases' own groups are held, too: raises `ConfigError` where two images of one group of the data sit in two
    splits, and where none of the cases is listed.
    """
    cases = list(cases)
    where = {
        image_id: (split, group)
        for split, groups in splits.splits.items()
        for group, ids in groups.items()
        for image_id in ids
    }
    if cases and not any(case.image_id in where for case in cases):
        listed = f", e.g. '{next(iter(where))}'" if where else ""
        raise ConfigError(
            f"the splits list {len(where)} images{listed}, but none of the {len(cases)} images of the data, e.g. "
            f"'{cases[0].image_id}': give the split file of this data, or make one with {REMEDY}"
        )
    first: dict[str, tuple[str, str]] = {}
    out = []
    for case in cases:
        split, group = where.get(case.image_id, ("", case.group))
        image_id, other = first.setdefault(case.group, (case.image_id, split)) if split else ("", "")
        if other != split:
            raise ConfigError(
                f"leakage: group {case.group} of the data sits in two splits, image {image_id} in {other} and image "
                f"{case.image_id} in {split}: make the split file again with {REMEDY}"
            )
        out.append(replace(case, split=split, group=group))
    return out


def subset_by_group(cases: Sequence[Case], n_images: int, seed: int = 0) -> list[Case]:
    """Whole groups, at least `n_images` images in all, in the proportions of the splits, sorted."""
    if n_images >= len(cases):
        return sorted(cases, key=lambda case: case.image_id)
    kept: set[tuple[str, str]] = set()
    for split in {case.split for case in cases}:
        groups = _by_group(case for case in cases if case.split == split)
        wanted = -(-n_images * sum(map(len, groups.values())) // len(cases))  # rounded up
        for group in _shuffled(groups, seed, "subset"):
            if wanted <= 0:
                break
            kept.add((split, group))
            wanted -= len(groups[group])
    return sorted((c for c in cases if (c.split, c.group) in kept), key=lambda case: case.image_id)


def _from_official(
    cases: Iterable[Case], train: Mapping[str, float], seed: int, dataset: str
) -> tuple[dict[str, Groups], Groups]:
    """val and test of the cases' own column `split`, its train cut by `train`; and what is left out of all of them.

    A group that spans them (near-duplicates) keeps its rows of test, or else of val. It is left out after the cut, so
    that the others stay where they were.
    """
    official: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.split not in ("train", "val", "test"):
            raise ConfigError(
                f"image {case.image_id} of {dataset} has the split '{case.split}': "
                "use the data set with its labels.csv, whose column split is train, val or test"
            )
        official[case.split].append(case)
    test, val = _by_group(official["test"]), _by_group(official["val"])
    parts = {**_cut(_by_group(official["train"]), train, seed, dataset), "val": val}
    left: dict[str, list[str]] = defaultdict(list)
    for name, groups in parts.items():
        for group in [g for g in groups if g in test or (g in val and name != "val")]:
            left[group] += groups[group]
    gone = set(chain.from_iterable(left.values()))
    kept = {name: {g: ids for g, ids in groups.items() if gone.isdisjoint(ids)} for name, groups in parts.items()}
    return {**kept, "test": test}, {group: tuple(sorted(ids)) for group, ids in sorted(left.items())}


def _cut(groups: Groups, fractions: Mapping[str, float], seed: int, dataset: str) -> dict[str, Groups]:
    total = sum(map(len, groups.values()))
    names = [name for name, fraction in fractions.items() if fraction > 0]
    ends = [sum(fractions[name] for name in names[: k + 1]) * total for k in range(len(names))]
    out: dict[str, Groups] = {name: {} for name in names}
    before = 0
    for group in _shuffled(groups, seed, dataset):
        middle = before + len(groups[group]) / 2  # a group goes where its middle lies
        index = next((k for k, end in enumerate(ends) if middle < end), len(names) - 1)
        out[names[index]][group] = groups[group]
        before += len(groups[group])
    empty = [name for name in names if not out[name]]
    if empty:
        raise TooFewGroupsError(
            f"{len(groups)} groups are too few for the splits {', '.join(names)} ({empty[0]} stays empty): "
            "give more images or fewer splits"
        )
    return {name: dict(sorted(found.items())) for name, found in out.items()}


def _shuffled(groups: Iterable[str], seed: int, key: str) -> list[str]:
    return sorted(groups, key=lambda group: (derive_seed(seed, key, group), group))


def _by_group(cases: Iterable[Case]) -> Groups:
    found: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        found[case.group].append(case.image_id)
    return {group: tuple(sorted(ids)) for group, ids in sorted(found.items())}


def _said(fractions: Mapping[str, float]) -> str:
    return ", ".join(f"{split} {fraction:.0%}" for split, fraction in fractions.items())


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = [name for name in fractions if name not in SPLITS]
    if unknown:
        raise ConfigError(f"unknown split '{unknown[0]}' in the fractions. known: {', '.join(SPLITS)}")
    if min(fractions.values(), default=-1) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"the fractions of the splits {dict(fractions)} must be positive and sum to 1")
