"""How often the bundles abstain from images of another kind than they learned from, and what they say of the others.

python -m studies.strange_images configs/strange_images.yaml runs/strange_images

The true masks of a few images of each set are judged by `sqp predict`, as given masks; of the sets in `swapped` once
more with red and blue changed for each other. Every mask is perfect, so a rejected one is wrong. Nothing is trained
or chosen. Writes OUT/strange_images.csv and .md: the share of masks with each verdict and the mean predicted Dice, 95
% intervals by group.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from sqp.core.types import Case
from sqp.data import read_image
from sqp.evaluation.paired import mean_cells
from sqp.metrics.stats import Resamples
from sqp.quality.judging.verdict import VERDICTS
from sqp.report.tables import write_csv
from studies.runner import command, shown, status, study, write_page
from studies.tasks import all_tasks, write_cases

SWAPPED = "red and blue swapped"


def sets(settings: Mapping[str, Any], out: Path) -> Iterator[tuple[str, list[Case]]]:
    """Name -> the cases of each set, and of copies with other colours."""
    for name, source in settings["tasks"].items():
        asked = {"tasks": {name: source}, "most": {source["split"]: settings["most"]}}
        cases = all_tasks(asked, out)[name]
        yield name, cases
        if name in settings["swapped"]:
            yield f"{name}, {SWAPPED}", [swapped(case, out / "swapped") for case in cases]


def swapped(case: Case, folder: Path) -> Case:
    """A copy of an image whose red is its blue."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{case.image_id}.png"
    Image.fromarray(read_image(case.image_path)[..., ::-1].copy()).save(file, compress_level=1)
    return replace(case, image_path=file)


def said(bundle: str, name: str, cases: list[Case], n_resamples: int, out: Path) -> dict[str, Any]:
    """A row: the shares of the verdicts of a bundle on a set, and the mean Dice that it predicts."""
    file = out / "data" / f"{name.replace(', ', '_').replace(' ', '_')}.csv"
    table = write_cases(cases, file, masks=True)
    asked = {"model": bundle, "images": str(table), "worst": 0, "gallery": 0}
    rows = command("predict", asked, {"out": str(out / "predict" / bundle / table.stem)}).table
    resamples = Resamples.draw(rows["group"].astype(str).to_numpy(), n_resamples)
    row: dict[str, Any] = {"bundle": bundle, "images": name, "n": len(rows), "n_groups": rows["group"].nunique()}
    for verdict in VERDICTS:
        row |= mean_cells(verdict, rows["verdict"].eq(verdict).to_numpy(float), resamples)
    return row | mean_cells("predicted", rows["predicted_dice"].to_numpy(float), resamples)


@study("config", "out", required=("bundles", "tasks", "most", "swapped"), optional=("n_resamples",))
def main(args: argparse.Namespace) -> None:
    """Judge, count."""
    n_resamples = int(args.settings.get("n_resamples", 2000))
    found = list(sets(args.settings, args.out))
    rows = [said(bundle, *one, n_resamples, args.out) for bundle in args.settings["bundles"] for one in found]
    table = pd.DataFrame(rows)
    write_csv(table, args.out / "strange_images.csv")
    columns = {"bundle": "bundle", "images": "images", "n": "n", "n_groups": "groups"}
    columns |= {verdict: verdict for verdict in VERDICTS} | {"predicted": "mean predicted Dice"}
    write_page(args.out / "strange_images.md", "# What is said of strange images", shown(table, columns))


if __name__ == "__main__":
    sys.exit(status(main))
