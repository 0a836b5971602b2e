"""How well masks of volumes are judged beside references that are volumes, as `sqp predict --references` judges them.

python -m studies.volumes_by_references configs/volumes_by_references.yaml runs/volumes_by_references

Of each volume of calibration and test its true mask is corrupted in 3D so that the Dice comes near each target, and
written to OUT/data with the truth; the masks are judged before the truth is looked at again. Writes OUT/volumes.csv
(a row a mask), OUT/agreement.csv and OUT/volumes.md: the model, scores and a constant, 95 % intervals by patient.
A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.core.volume import write_volume_mask
from sqp.data import find_cases
from sqp.data.corruptions import corrupt_to_dice
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits, subset_by_group
from sqp.data.volumes import read_structure
from sqp.evaluation.comparison import MEDIAN, MODEL, compare
from sqp.report.tables import HEADINGS, write_csv
from studies.any_report import RCA
from studies.runner import command, shown, status, study, write_page
from studies.tasks import draw

SCORES = ["referee_dice", *RCA, "area"]
TOLD = {"method": HEADINGS["method"], "n": "n", "n_groups": "patients", "sd_dice": "SD(Dice)", "pearson": "r"}
TOLD |= {"spearman": "Spearman", "mae": "MAE", "coverage": "coverage", "width": "width"}


def drawn(case: Case, settings: Mapping[str, Any], folder: Path) -> Iterator[dict[str, str]]:
    """A row a mask of a volume, with the files of image, mask and truth."""
    truth, geometry = read_structure(case.truth_paths[0], settings["label"])
    true_file = folder / "truth" / f"{case.image_id}.nii.gz"
    _write(true_file, truth, geometry)
    for number, target in enumerate(settings["targets"]):
        rng = numpy_generator(0, case.image_id, "volume mask", number)
        turn = int(numpy_generator(0, case.image_id, "first family").integers(len(settings["families"])))
        family = settings["families"][(turn + number) % len(settings["families"])]
        mask, _ = corrupt_to_dice(family, truth, truth, target, rng)
        name = f"{case.image_id}_{number}"
        _write(folder / "masks" / f"{name}.nii.gz", mask, geometry)
        files = {"image": case.image_path, "mask": folder / "masks" / f"{name}.nii.gz", "truth": true_file}
        yield {"image_id": name, "group": case.group, "split": case.split, "variant": family} | {
            kind: str(file.absolute()) for kind, file in files.items()
        }


def _write(file: Path, mask: np.ndarray, geometry: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_volume_mask(file, mask, geometry)


def some_of(cases: Sequence[Case], split: str, most: int) -> list[Case]:
    """At most so many volumes of a split, whole groups."""
    return subset_by_group([case for case in cases if case.split == split], most, 0)[:most]


def judge(settings: Mapping[str, Any], out: Path) -> pd.DataFrame:
    """The masks of both splits with what `sqp predict` says of them."""
    cases = apply_splits(list(find_cases(Path(settings["images"])).cases), read_splits(settings["splits"]))
    data = out / "data"
    judged = [row for split, most in settings["most"].items() for case in some_of(cases, split, most)
              for row in drawn(case, settings, data)]  # fmt: skip
    write_csv(pd.DataFrame(judged).drop(columns="variant"), data / "judged.csv")
    examples = []
    for case in draw([case for case in cases if case.split == "train"], int(settings["references"]), 0):
        file = data / "references" / f"{case.image_id}.nii.gz"
        _write(file, *read_structure(case.truth_paths[0], settings["label"]))
        examples.append(
            {"image_id": case.image_id, "image": str(case.image_path.absolute()), "mask": str(file.absolute())}
        )
    write_csv(pd.DataFrame(examples), data / "references.csv")
    asked = {"model": settings["model"], "images": str(data / "judged.csv"), "references": str(data / "references.csv")}
    asked |= {"out": str(out / "predict"), "encodings": str(out / "encodings")}
    asked |= {key: settings[key] for key in ("precision", "workers") if key in settings}
    result = command("predict", asked)
    print(result.summary(), flush=True)
    return result.table.merge(pd.DataFrame(judged)[["image_id", "variant"]], on="image_id")


@study(
    "config",
    "out",
    required=("images", "splits", "label", "model", "references", "most", "families", "targets"),
    optional=("precision", "workers", "n_resamples"),
)
def main(args: argparse.Namespace) -> None:
    """Corrupt, judge, compare."""
    rows = judge(args.settings, args.out)
    write_csv(rows, args.out / "volumes.csv")
    scores = [name for name in SCORES if name in rows and rows[name].notna().any()]
    test, calibration = (rows[rows["split"] == split].reset_index(drop=True) for split in ("test", "calibration"))
    table = compare(test, calibration, scores, int(args.settings.get("n_resamples", 2000)), details=False)
    table = table[table["method"].isin([MODEL, MEDIAN, *scores])]
    write_csv(table, args.out / "agreement.csv")
    columns = TOLD | {"mae_difference": "MAE: model - score"}
    text = f"`{args.config}`: {len(test)} masks of {test['group'].nunique()} patients of test."
    write_page(args.out / "volumes.md", "# Volumes beside references that are volumes", text, shown(table, columns))


if __name__ == "__main__":
    sys.exit(status(main))
