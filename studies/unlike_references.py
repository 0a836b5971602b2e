"""How often an image is taken for one of another kind than the references: of their own task, and of all others.

python -m studies.unlike_references configs/unlike_references.yaml OUT

Images of train are references, drawn several times; those of calibration and val are held beside them, whose likeness
is looked at for the first time here. Slices of volumes stand for themselves: their references are slices of four
volumes, as `sqp predict --references` shows them. Writes OUT/unlike_references.csv and .md: the share of images below
`UNLIKE`, 95 % intervals by group of the mean over draws. Mean encodings by LiteMedSAM are kept in OUT/summaries.csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sqp.core.seeding import numpy_generator
from sqp.core.types import Case, Segmenter
from sqp.data import find_cases
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits
from sqp.data.volumes import read_structure, read_volume, windowed
from sqp.evaluation.paired import mean_cells
from sqp.metrics.stats import Resamples
from sqp.records.load import load_case
from sqp.report.tables import write_csv
from sqp.segmenters import build_segmenter
from sqp.uncertainty.likeness import UNLIKE, likeness_to_references
from studies.runner import kept, shown, status, study, write_page
from studies.tasks import LABELS, all_tasks, colours

VOLUMES = "slices of volumes"
OF_VOLUMES = 4
"""Volumes whose slices are the references."""


class Image(NamedTuple):
    """A split, a group, and the mean encoding `[c]`."""

    split: str
    group: str
    summary: Tensor


def summary(segmenter: Segmenter, image: np.ndarray) -> Tensor:
    """The mean `[c]` of an image's encoding, as in-context segmenters that read it compare images."""
    return segmenter.encode(image).features[0].float().flatten(1).mean(1)


def slices(cases: Sequence[Case], source: Mapping[str, Any], each: int) -> Iterator[tuple[Case, np.ndarray]]:
    """Volumes of train and val, as many as are asked for, with `each` slices that hold the structure."""
    placed = apply_splits(list(cases), read_splits(source["splits"]))
    for split in ("train", "val"):
        for case in [case for case in placed if case.split == split][: int(source[split])]:
            voxels = windowed(read_volume(case.image_path).voxels)
            holds = np.flatnonzero(read_structure(case.truth_paths[0], LABELS)[0].any((1, 2)))
            for z in holds[np.linspace(0, len(holds) - 1, min(each, len(holds))).round().astype(int)]:
                yield case, colours(voxels[z])


def summaries(settings: Mapping[str, Any], out: Path) -> pd.DataFrame:
    """A row an image: task, split, group, and its mean encoding."""
    segmenter = build_segmenter("litemedsam", None, "cpu", "auto")
    rows = [
        (task, case.split, case.group, *summary(segmenter, load_case(case).image).tolist())
        for task, cases in all_tasks(settings, out).items()
        for case in cases
    ]
    source = settings["volumes"] | settings["tasks"][settings["volumes"]["task"]]
    drawn = slices(find_cases(Path(source["images"])).cases, source, int(settings["volumes"]["slices"]))
    rows += [(VOLUMES, case.split, case.image_id, *summary(segmenter, image).tolist()) for case, image in drawn]
    return pd.DataFrame(rows, columns=["task", "split", "group", *map(str, range(len(rows[0]) - 3))])


def images(table: pd.DataFrame) -> dict[str, list[Image]]:
    """Task -> its images, from `summaries`."""
    found: dict[str, list[Image]] = {}
    for task, split, group, *encoding in table.itertuples(index=False):
        found.setdefault(task, []).append(Image(split, str(group), torch.tensor(encoding)))
    return found


def references(pool: Sequence[Image], task: str, k: int, number: int) -> list[Image]:
    """k images of a pool; of volumes the slices of four, at most k of them."""
    rng = numpy_generator(0, task, "unlike", k, number)
    if task == VOLUMES:
        groups = rng.permutation(sorted({one.group for one in pool}))[:OF_VOLUMES]
        pool = [one for one in pool if one.group in groups]
    return [pool[i] for i in rng.permutation(len(pool))[:k]]


def told(found: Mapping[str, list[Image]], task: str, k: int, draws: int) -> pd.DataFrame:
    """A row an image that is held beside references of a task: whose it is, its group, how often it is told."""
    pool = [one for one in found[task] if one.split == "train"]
    shares: dict[tuple[str, int], list[bool]] = {}
    for number in range(draws):
        chosen = references(pool, task, k, number)
        parts = [one.summary for one in chosen], [one.group for one in chosen]
        for of, everything in found.items():
            for i, one in enumerate(everything):
                if one.split != "train":
                    likeness = likeness_to_references(one.summary, *parts)
                    shares.setdefault((of, i), []).append(likeness < UNLIKE)
    rows = [{"of": of, "group": found[of][i].group, "told": float(np.mean(all_))} for (of, i), all_ in shares.items()]
    return pd.DataFrame(rows)


def mean_told(rows: pd.DataFrame, name: str, n_resamples: int) -> dict[str, float]:
    """n and the mean of `told`, with its interval by group."""
    resamples = Resamples.draw(rows["group"].astype(str).to_numpy(), n_resamples)
    return {f"n_{name}": len(rows)} | mean_cells(name, rows["told"].to_numpy(float), resamples)


@study("config", "out", required=("tasks", "most", "volumes", "ks", "draws"), optional=("n_resamples",))
def main(args: argparse.Namespace) -> None:
    """Encode, draw references, count."""
    settings, out = args.settings, args.out
    out.mkdir(parents=True, exist_ok=True)
    found = images(kept(out / "summaries.csv", lambda: summaries(settings, out)))
    related = {VOLUMES, settings["volumes"]["task"]}
    rows = []
    for task in found:
        for k in settings["ks"]:
            if k > sum(one.split == "train" for one in found[task]):
                continue
            table = told(found, task, k, int(settings["draws"]))
            own = table[table["of"] == task]
            others = table[~table["of"].isin(related if task in related else {task})]
            by_task = others.groupby("of")["told"].mean()
            n_resamples = int(settings.get("n_resamples", 2000))
            rows.append(
                {"task": task, "k": k}
                | mean_told(own, "own", n_resamples)
                | mean_told(others, "others", n_resamples)
                | {"least": by_task.idxmin(), "least_told": by_task.min()}
            )
    table = pd.DataFrame(rows)
    means = table.groupby("k")[["own", "others"]].mean().reset_index().assign(task="mean of tasks", least="")
    table = pd.concat([table, means], ignore_index=True)
    write_csv(table, out / "unlike_references.csv")
    names = {"task": "references of", "k": "k", "n_own": "n", "own": "of their own task", "n_others": "n, others"}
    names |= {"others": "of other tasks", "least": "least of", "least_told": "there"}
    write_page(out / "unlike_references.md", "# Images taken for another kind", f"`{args.config}`", shown(table, names))


if __name__ == "__main__":
    sys.exit(status(main))
