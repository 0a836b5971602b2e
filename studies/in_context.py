"""In-context segmenters beside each other: UniverSeg fitted here by episodes, and those that nobody fits.

python -m studies.in_context configs/in_context.yaml OUT [--only tasks fit personalised universeg report]

Tasks: writes OUT/tasks.csv, a row an image of every task, slices of volumes as PNG in OUT/slices, and OUT/fit.csv, the
same without the tasks that are left out. Fit: `sqp fit segmenter` on that. By the name of each: images of val (at most
`most` a task) are drawn after k images of train, the same ones by each: OUT/NAME/TASK.csv, a row an image, set of
references and k; alone, and as the referee draws it, with LiteMedSAM in the box of that. Of as many references as the
largest k has a smaller one takes disjoint sets, at most `sets`. Report: OUT/dice.csv, all of them, and
OUT/in_context.md, mean Dice by task and k and the paired differences from `personalised`, intervals by group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.core.volume import Volume
from sqp.data import find_cases
from sqp.data.reading import read, read_structure_or_mask
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits
from sqp.metrics.overlap import dice
from sqp.metrics.stats import bootstrap
from sqp.networks.inputs import normalised
from sqp.prompts import PROMPTERS
from sqp.prompts.activation import without_small
from sqp.records.encodings import encoded
from sqp.records.referees.referee import beside_priors
from sqp.records.referees.shown import Shown
from sqp.report.tables import markdown, write_csv
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, build_segmenter
from sqp.segmenters.by_examples import Examples, Reference, content_of_image
from sqp.uncertainty.batches import decode_best
from studies.runner import command, kept, listed, loaded_with_truth, option, rows_of_cases, status, study, write_page

NAMES = tuple(IN_CONTEXT_SEGMENTERS)
STEPS = ("tasks", "fit", *NAMES, "report")
PLAIN = "personalised"
OTHERS = {f"{name} - {PLAIN}": name for name in NAMES if name != PLAIN}
"""Difference -> whose; the plainest of them is what the others must beat."""
KEYS = ("data", "left_out", "fit", "ks", "sets", "most")
SLICES = {
    "hippocampus-0": (0, ()),
    "hippocampus-1": (1, ()),
    "hippocampus-anterior": (1, (1,)),
}
"""Task -> the axis that a slice of a volume is across, and the labels of its structure, () for all."""


def tasks(settings: Mapping[str, Any], out: Path) -> None:
    """OUT/tasks.csv and OUT/fit.csv."""
    data = Path(settings["data"])
    rows = [listed(case) | {"dataset": "isic2018"} for case in of_splits(data / "isic2018", "isic2018")]
    rows += of_many(data / "many")
    for case in of_splits(data / "hippocampus", "hippocampus"):
        rows += slices(case, out / "slices")
    table = pd.DataFrame(rows)
    table = table[table["split"].isin(["train", "val"])]
    write_csv(table, out / "tasks.csv")
    write_csv(table[~table["dataset"].isin(settings["left_out"])], out / "fit.csv")


def of_splits(folder: Path, name: str) -> list[Case]:
    """The cases of a data set in the splits of `configs/splits`."""
    return apply_splits(list(find_cases(folder).cases), read_splits(Path(f"configs/splits/{name}.json")))


def of_many(folder: Path) -> list[dict[str, str]]:
    """The rows of its labels.csv as rows of a table of cases."""
    labels = pd.read_csv(folder / "labels.csv", dtype=str)
    rows = []
    for row in labels.to_dict("records"):
        files = {
            kind: next((folder / row["dataset"] / kind).glob(f"{row['image_id']}.*")) for kind in ("images", "masks")
        }
        rows.append(
            {
                "image_id": f"{row['dataset']}_{row['image_id']}",
                "image": str(files["images"].absolute()),
                "truth": str(files["masks"].absolute()),
                **{name: row[name] for name in ("group", "split", "dataset", "licence")},
            }
        )
    return rows


def slices(case: Case, out: Path) -> Iterator[dict[str, str]]:
    """A row a task of `SLICES`: the slice of a volume on which most of the structure lies, as PNG."""
    if case.split not in ("train", "val"):
        return
    volume = read(case.image_path)
    assert isinstance(volume, Volume)
    grey = normalised(volume.voxels)
    grey = (255 * (grey - grey.min()) / (grey.max() - grey.min())).astype(np.uint8)
    for task, (axis, labels) in SLICES.items():
        truth = read_structure_or_mask(case.truth_paths[0], labels or (1, 2))
        index = int(np.moveaxis(truth, axis, 0).sum((1, 2)).argmax())
        files = {}
        for kind, voxels in (("images", grey), ("masks", truth * np.uint8(255))):
            files[kind] = out / task / kind / f"{case.image_id}.png"
            files[kind].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.take(voxels, index, axis)).save(files[kind])
        yield listed(case) | {
            "image_id": f"{task}_{case.image_id}",
            "image": str(files["images"].absolute()),
            "truth": str(files["masks"].absolute()),
            "dataset": task,
        }


def fit(settings: Mapping[str, Any], out: Path) -> None:
    """UniverSeg on the tasks of OUT/fit.csv."""
    options = {"images": str(out / "fit.csv"), "out": str(out / "fit"), "network": "universeg"}
    command("fit segmenter", options, settings["fit"])


class Candidate:
    """An in-context segmenter, and LiteMedSAM, which draws a second answer in the box of its first one."""

    def __init__(self, name: str, checkpoint: Path | None, encodings: Path) -> None:
        self.encodings = encodings
        self.base = build_segmenter("litemedsam", precision="auto")
        self.segmenter = IN_CONTEXT_SEGMENTERS[name](self.base, checkpoint)

    def reference(self, case: Case) -> Reference:
        """A case as it is shown."""
        loaded = loaded_with_truth(case)
        embedding = self.base.encode(loaded.image) if self.segmenter.reads_encoding else None
        features = self.segmenter.features(loaded.image, embedding)
        return Reference(case.image_id, content_of_image(loaded.image), features, loaded.truths[0])

    def shown(self, references: Sequence[Reference]) -> Shown:
        """A set of references, from which the segmenter learns once."""
        return Shown(Examples(self.segmenter, references))

    def rows(self, case: Case, sets: Mapping[int, Sequence[Shown]]) -> Iterator[dict[str, Any]]:
        """A row a k and set of references: the Dice on a case, alone and as a referee."""
        loaded = loaded_with_truth(case)
        embedding = encoded(self.base, loaded.image, self.encodings)
        whole = embedding.frame.grid_to_image
        for k, some in sets.items():
            for number, shown in enumerate(some):
                priors = shown.answers(loaded.image, embedding)
                drawn = without_small(whole(priors[0]).numpy() >= 0, 1.0)
                box = PROMPTERS["mask_box"](loaded.image, mask=drawn)
                second = list(decode_best(self.base, embedding, box).logits[:, 0]) if box else []
                answers = {"first": priors[:1], "alone": priors, "as referee": beside_priors(priors, second)}
                reached = {}
                for what, logits in answers.items():
                    mask = whole(torch.stack(logits).sigmoid().mean(0)).numpy() >= 0.5
                    reached[what] = dice(mask, loaded.truths[0])
                yield {"task": case.dataset, "k": k, "set": number, **reached}


def judge(name: str, settings: Mapping[str, Any], out: Path) -> None:
    """OUT/NAME/TASK.csv: the Dice of every query, the tasks that were left out first."""
    candidate = Candidate(name, fitted(out) if name == "universeg" else None, out / "encodings")
    cases: dict[tuple[str, str], list[Case]] = {}
    for case in find_cases(out / "tasks.csv").cases:
        cases.setdefault((case.dataset, case.split), []).append(case)
    tasks = sorted({task for task, split in cases if split == "val"}, key=lambda t: (t not in settings["left_out"], t))
    for task in tasks:
        kept(out / name / f"{task}.csv", partial(rows_of_task, task, cases, candidate, settings))


def rows_of_task(
    task: str, cases: Mapping[tuple[str, str], Sequence[Case]], candidate: Candidate, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """A row a query, k and set of references."""
    rng = numpy_generator(0, "in_context", task)
    chosen = {split: rng.permutation(len(cases[task, split])) for split in ("train", "val")}
    shown = [cases[task, "train"][i] for i in chosen["train"][: max(settings["ks"])]]
    queries = [cases[task, "val"][i] for i in chosen["val"][: settings["most"]]]
    references = [candidate.reference(case) for case in shown]
    sets = {
        k: [candidate.shown(references[i : i + k]) for i in range(0, len(references) - k + 1, k)][: settings["sets"]]
        for k in settings["ks"]
    }
    return rows_of_cases(queries, partial(candidate.rows, sets=sets))


def report(settings: Mapping[str, Any], out: Path) -> None:
    """OUT/dice.csv and OUT/in_context.md, of the tasks that all segmenters have drawn."""
    both = set.intersection(*({file.stem for file in (out / name).glob("*.csv")} for name in NAMES))
    tables = [pd.read_csv(out / name / f"{task}.csv").assign(segmenter=name) for task in sorted(both) for name in NAMES]
    write_csv(pd.concat(tables), out / "dice.csv")
    keys = ["task", "group", "image_id", "k"]
    values = ["first", "alone", "as referee"]
    # an image counts once a k: the mean over its sets of references
    images = pd.concat(tables).groupby([*keys, "segmenter"], as_index=False)[values].mean()
    blocks = []
    for what in ("alone", "as referee"):
        wide = images.pivot(index=keys, columns="segmenter", values=what).reset_index()
        wide = wide.assign(**{difference: wide[name] - wide[PLAIN] for difference, name in OTHERS.items()})
        lines = [line_of(task, k, part) for (task, k), part in wide.groupby(["task", "k"])]
        for title, seen in (("mean of seen tasks", False), ("mean of unseen tasks", True)):
            some = wide[wide["task"].isin(settings["left_out"]) == seen]
            lines += [line_of(title, k, part) for k, part in some.groupby("k")]
        blocks += [f"{what.capitalize()}:", markdown(pd.DataFrame(lines))]
    write_page(out / "in_context.md", "# In-context segmenters on val", *blocks)


def line_of(task: str, k: int, part: pd.DataFrame) -> dict[str, str]:
    """A row of the report: mean Dice of each, over tasks of the means of their images, and the paired differences."""
    line = {"task": task, "k": str(k), "images": str(len(part))}
    order = part["task"].astype("category").cat.codes.to_numpy()
    group = (
        part["task"].str.split("-").str[0] + "/" + part["group"].astype(str)
    ).to_numpy()  # a volume has several tasks

    def over_tasks(values: np.ndarray, names: np.ndarray) -> float:
        return float(np.mean([values[names == name].mean() for name in np.unique(names)]))

    for name in (*NAMES, *OTHERS):
        low, high = bootstrap(over_tasks, part[name].to_numpy(float), order, group=group)
        value = over_tasks(part[name].to_numpy(float), order)
        line[name] = f"{value:{'+' if name in OTHERS else ''}.3f} [{low:.3f}, {high:.3f}]"
    return line


def fitted(out: Path) -> Path:
    """The checkpoint of the step fit."""
    return out / "fit" / "universeg-seed0.safetensors"


@study("config", "out", option("--only", nargs="*", default=list(STEPS), choices=STEPS), required=KEYS)
def main(args: argparse.Namespace) -> None:
    """The steps that are asked for."""
    if "tasks" in args.only:
        tasks(args.settings, args.out)
    if "fit" in args.only:
        fit(args.settings, args.out)
    for name in NAMES:
        if name in args.only:
            judge(name, args.settings, args.out)
    if "report" in args.only:
        report(args.settings, args.out)


if __name__ == "__main__":
    sys.exit(status(main))
