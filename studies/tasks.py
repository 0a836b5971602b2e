"""Tasks of many modalities as tables of cases, and references drawn from them. `any_modality` uses it.

A task is a data set with one structure: the sets of ../shared/data/many, the CC-0 rows of ISIC 2018, and the middle
slices of MSD hippocampus. Images and groups are named after their task, so that no two sets share a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from sqp.core.files import write_mask
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case, Decoded, Embedding, Prompt, Segmenter
from sqp.data import find_cases
from sqp.data.layouts.folders import match_stems
from sqp.data.licences import of_licences
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits, subset_by_group
from sqp.data.volumes import read_structure, read_volume, windowed
from sqp.report.tables import write_csv
from sqp.segmenters import SEGMENTERS
from studies.runner import listed

HELD = ("calibration", "val")
SPLITS = ("train", *HELD, "test")
LABELS = (1, 2)
"""Of hippocampus: anterior and posterior, which are one structure here."""
PARTS = ("first", "second", "held", "test")
"""Halves of train, each judged beside references of the other; calibration and val; test: beside those of train."""


def all_tasks(settings: Mapping[str, Any], out: Path) -> dict[str, list[Case]]:
    """Task -> its cases with their splits, at most `most[split]` of each split, whole groups."""
    found: dict[str, list[Case]] = {}
    for name, source in settings["tasks"].items():
        cases = _named(name, _cases(name, source, out))
        by_split = [[case for case in cases if case.split == split] for split in settings["most"]]
        limits = settings["most"].values()
        found[name] = [case for part, most in zip(by_split, limits, strict=True) for case in _some(part, most)]
    return found


def _cases(name: str, source: Mapping[str, Any], out: Path) -> list[Case]:
    if "labels" in source:
        return _of_many(Path(source["labels"]), name)
    cases = apply_splits(list(find_cases(Path(source["images"])).cases), read_splits(source["splits"]))
    cases = of_licences(cases, source.get("licence", []))
    if "slices" not in source:
        return cases
    return list(middle_slices([case for case in cases if case.split in SPLITS], out / "slices", source))


def _of_many(labels: Path, name: str) -> list[Case]:
    """The rows of one set of `many/labels.csv`."""
    rows = pd.read_csv(labels, dtype=str, keep_default_na=False)
    rows = rows[rows["dataset"] == name]
    home = labels.parent / name
    images, masks = (match_stems(home / kind, rows["image_id"]) for kind in ("images", "masks"))
    return [
        Case(
            image_id=row.image_id,
            image_path=images[row.image_id],
            truth_paths=(masks[row.image_id],),
            group=row.group,
            split=row.split,
            licence=row.licence,
        )
        for row in rows.itertuples()
    ]


def middle_slices(cases: Sequence[Case], folder: Path, source: Mapping[str, Any]) -> Iterator[Case]:
    """The middle slice of each of `slices` volumes as an image and a mask of its labels; one without any is left out.

    Written once into the folder. The licence is that of the config: nothing in the files tells it.
    """
    for case in _some(cases, int(source["slices"])):
        image, mask = (folder / kind / f"{case.image_id}.png" for kind in ("images", "masks"))
        if not mask.exists():
            voxels = windowed(read_volume(case.image_path).voxels)
            labels = read_structure(case.truth_paths[0], LABELS)[0]
            middle = len(voxels) // 2
            for file in (image, mask):
                file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours(voxels[middle])).save(image)
            write_mask(mask, labels[middle])
        if np.asarray(Image.open(mask)).any():
            yield replace(case, image_path=image, truth_paths=(mask,), licence=str(source["slice_licence"]))


def colours(grey: np.ndarray) -> np.ndarray:
    """A grey slice `[h, w]` as an image `[h, w, 3]`."""
    return np.repeat(grey[..., None], 3, 2)


def _some(cases: Sequence[Case], most: int) -> list[Case]:
    """At most so many, whole groups while they fit, in an order of the seed alone."""
    return subset_by_group(cases, most, 0)[:most] if len(cases) > most else list(cases)


def _named(task: str, cases: Sequence[Case]) -> list[Case]:
    return [
        replace(
            case,
            image_id=f"{task}_{case.image_id}",
            group=f"{task}_{case.group or case.image_id}",
            dataset=task,
        )
        for case in cases
    ]


def parts_of(cases: Sequence[Case], judged: int) -> dict[str, tuple[list[Case], list[Case]]]:
    """Part -> (images that are judged, images that references are drawn from): of other groups, and never of test.

    The halves of train are cut by group; of each at most `judged` are judged.
    """
    train = [case for case in cases if case.split == "train"]
    groups = sorted({case.group for case in train})
    order = numpy_generator(0, "halves").permutation(len(groups))
    first = {groups[i] for i in order[: len(order) // 2]}
    one = [case for case in train if case.group in first]
    other = [case for case in train if case.group not in first]
    held = [case for case in cases if case.split in HELD]
    test = [case for case in cases if case.split == "test"]
    return {"first": (_some(one, judged), other), "second": (_some(other, judged), one)} | {
        "held": (held, train),
        "test": (test, train),
    }


def draw(pool: Sequence[Case], k: int, number: int) -> list[Case]:
    """k references of a pool, or as many as there are. Draws have no image in common, while the pool lasts.

    One order of the pool serves all: those of 32 begin with those of 8, and so on.
    """
    order = numpy_generator(0, "references").permutation(len(pool))
    start = (k * number) % max(1, len(pool) - k + 1)
    return [pool[i] for i in order[start : start + k]]


def write_cases(cases: Sequence[Case], path: Path, masks: bool = False) -> Path:
    """A CSV of cases; with `masks` as references: the truth is the mask."""
    rows = pd.DataFrame([listed(case) for case in cases])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(rows.rename(columns={"truth": "mask"}) if masks else rows, path)
    return path


class Remembered:
    """A segmenter that answers each prompt of an image once: the same masks are judged beside several references.

    Box prompts alone, whose answers do not depend on those beside them.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.known: dict[tuple[bytes, object], tuple[torch.Tensor, ...]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.segmenter, name)

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """As the segmenter does."""
        image = blake2b(embedding.features.numpy().tobytes(), digest_size=16).digest()
        keys = [(image, prompt.box) for prompt in prompts]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self.known}
        if new:
            made = self.segmenter.decode(embedding, list(new.values()))
            assert made.tokens is not None
            for row, key in enumerate(new):
                self.known[key] = made.logits[row], made.iou[row], made.tokens[row]
        return Decoded(*(torch.stack(parts) for parts in zip(*(self.known[key] for key in keys), strict=True)))


@contextmanager
def built_once(name: str) -> Iterator[list[Remembered]]:
    """Inside the `with` the segmenter of a name is built once for each of its options, and remembers its answers."""
    built: dict[str, Remembered] = {}
    builder, everyone = SEGMENTERS[name], list[Remembered]()

    def build(*args: Any, **options: Any) -> Any:
        key = repr((args, sorted(options.items(), key=str)))
        if key not in built:
            built[key] = Remembered(builder(*args, **options))
            everyone.append(built[key])
        return built[key]

    SEGMENTERS[name] = build
    try:
        yield everyone
    finally:
        SEGMENTERS[name] = builder
