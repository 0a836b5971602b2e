"""The bundle `any` on masks of fitted networks, beside registration, and on dermoscopy beside the bundle `default`.

python -m studies.any_networks configs/any_networks.yaml runs/any_networks [--only records report]

records: of each task a U-Net is fitted on its images of train; its masks of calibration, val and test, and corruptions
of them, are compared with what references show (drawn from train), by the referee that `any` reads and by registration,
which gives the classic reverse classification accuracy (`atlas_rca_*`). Nothing is trained or chosen here. report: OUT/
networks.csv, means.csv and networks.md; on the task that the config names in `beside` also what that bundle says of
the same masks, without references. Everything goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.bundles import bundle_folder
from sqp.core.types import Case
from sqp.evaluation.comparison import MEDIAN, MODEL, compare
from sqp.quality import Bundle
from sqp.quality.judging.correction import masks_of_references
from sqp.records import read_record_sets
from sqp.report.tables import HEADINGS, write_csv
from studies.any_modality import calibration_rows, found_sets, judged_by
from studies.any_report import RCA, SUBSETS, over_tasks, placed, table_of
from studies.runner import (
    command,
    generate_config,
    option,
    predictions,
    predictions_key,
    shown,
    status,
    study,
    write_page,
)
from studies.tasks import all_tasks, draw, parts_of, write_cases

STEPS = ("records", "report")
PARTS = ("held", "test")
MAKER = "network"
JUDGE, ATLAS = "any", "atlas"
"""The referees of the config: the one that the bundle reads, and the one that registers."""
REGISTERED = {name: f"{ATLAS}_{name}" for name in RCA}
AGAINST = ["referee_dice", *RCA, *REGISTERED.values(), "soft_dice_confidence", "area"]
KINDS = ["spread", "natural"]
TOLD = {"pearson": "r", "spearman": "Spearman", "mae": "MAE", "aurc": "AURC", "coverage": "coverage", "width": "width"}


def tasks_of(settings: Mapping[str, Any], out: Path) -> dict[str, list[Case]]:
    """Task -> its cases, as many a split as `most` says, or `most_of` for this task."""
    found = {}
    for name, source in settings["tasks"].items():
        most = settings.get("most_of", {}).get(name, settings["most"])
        found |= all_tasks({**settings, "tasks": {name: source}, "most": most}, out)
    return found


def records(settings: Mapping[str, Any], task: str, cases: list[Case], out: Path) -> None:
    """The record sets OUT/REFEREE/records/TASK/network/PART_K_DRAW, and those of the masks of the references."""
    home, k = out / "data" / task, int(settings["references"])
    table, fit = write_cases(cases, home / "cases.csv"), out / "fit" / task
    own = {"images": str(table), "train_splits": ["train"], "out": str(fit)}
    checkpoint = next(iter(command("fit segmenter", settings["network"], own).checkpoints))
    of_task = {"segmenter": {"name": settings["network"]["network"], "checkpoint": str(checkpoint)}}
    if task in settings["beside"]:
        of_task["supervised"] = settings["beside"][task]["supervised"]
    for part in PARTS:
        judged, pool = parts_of(cases, 0)[part]
        images = write_cases(judged, home / f"{part}.csv")
        for number in range(settings["draws"][part]):
            name = f"{part}_{k}_{number}"
            shown_now = write_cases(draw(pool, k, number), home / f"references_{name}.csv", masks=True)
            given = {"images": str(images), "references": str(shown_now), "encodings": str(out / "encodings")}
            for referee, options in settings["referees"].items():
                if referee == JUDGE or number == 0:
                    folder = out / referee / "records" / task / MAKER / name
                    keys = {**settings["generate"], **of_task, **given, "referee": options, "out": str(folder)}
                    made = command("generate", keys)
                    print(f"{task}, {referee}, {name}: {made.summary()} ({made.seconds:.0f} s)", flush=True)
            if part == "test":
                plain = {**settings["generate"], **given, "referee": settings["referees"][JUDGE]}
                config = generate_config({**plain, "segmenter": {"name": "litemedsam"}}, out)
                masks_of_references(config, out / JUDGE / "references" / task / name)


def with_registration(rows: pd.DataFrame, out: Path, task: str, part: str) -> pd.DataFrame:
    """The rows with the reverse scores by registration, for the first draw of the references."""
    table = placed(read_record_sets(found_sets(out / ATLAS, [task], [part])[task]))
    keys = ["draw", "record_id"]
    return rows.merge(table[[*keys, *RCA]].rename(columns=REGISTERED), on=keys, how="left")


def judged_rows(settings: Mapping[str, Any], task: str, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of test as `any` judges them, and those of calibration, on which scores get their lines."""
    path = bundle_folder(Path(settings["judge"]))
    root = out / JUDGE
    test = judged_by(path, root, found_sets(root, [task], ["test"]), out / "judged" / task)
    held = calibration_rows([task], root).reset_index(drop=True)
    return with_registration(test, out, task, "test"), with_registration(held, out, task, "held")


def beside(
    rows: pd.DataFrame, held: pd.DataFrame, name: str, folders: list[Path], home: Path, n_resamples: int
) -> pd.DataFrame:
    """`any` and another bundle on the same rows, each as a model; differences are `any` - the other one."""
    path = bundle_folder(Path(name))
    other = predictions(home / predictions_key(path, folders), lambda: Bundle.load(path).anywhere(), folders)
    judged = {column: f"{name}:{column}" for column in ("predicted_dice", "low", "high", "scale")}
    keys = ["record_set", "record_id"]
    added = other[[*keys, *judged]].rename(columns=judged)
    rows, held = (part.merge(added, on=keys) for part in (rows, held))
    both = []
    for subset in KINDS:
        part = rows[SUBSETS[subset](rows)].reset_index(drop=True)
        column = judged["predicted_dice"]
        mine = compare(part, held, [column], n_resamples, details=False)
        swapped = part.drop(columns=list(judged)).rename(columns={new: old for old, new in judged.items()})
        theirs = compare(swapped, held, [], n_resamples, details=False)
        differs = mine[mine["method"] == column].filter(like="_difference").iloc[0]
        both += [mine[mine["method"] == MODEL].assign(method=JUDGE, subset=subset, **differs)]
        both += [theirs[theirs["method"] == MODEL].assign(method=path.name, subset=subset)]
    return pd.concat(both, ignore_index=True)


def report(settings: Mapping[str, Any], out: Path) -> None:
    """Tables of all tasks, of their means, and beside the other bundle."""
    n_resamples = int(settings.get("n_resamples", 1000))
    parts = {task: judged_rows(settings, task, out) for task in settings["tasks"]}
    rows, held = (pd.concat(some, ignore_index=True) for some in zip(*parts.values(), strict=True))
    table = table_of(rows, held, AGAINST, n_resamples, KINDS)
    new = [task for task in settings["tasks"] if task not in settings["beside"]]
    means = over_tasks(table[table["task"].isin(new)])
    write_csv(table, out / "networks.csv")
    write_csv(means, out / "means.csv")
    kept_methods = [MODEL, MEDIAN, *AGAINST]
    both = {"method": HEADINGS["method"], "n": "n", "sd_dice": "SD(Dice)"}
    blocks = [
        f"## Means over {len(new)} tasks that `{JUDGE}` has not seen",
        shown(
            means[means["method"].isin(kept_methods)], {"subset": "masks"} | both | {"least_pearson": "least r"} | TOLD
        ),
    ]
    for subset, part in table.groupby("subset", sort=False):
        of_subset = part[part["method"].isin(kept_methods)]
        blocks += [f"## {subset} masks", shown(of_subset, {"task": "task", "n_groups": "groups"} | both | TOLD)]
    for task, other in settings["beside"].items():
        folders = found_sets(out / JUDGE, [task], PARTS)[task]
        found = beside(*parts[task], other["bundle"], folders, out / "judged" / task, n_resamples)
        write_csv(found, out / f"{task}.csv")
        columns = {"subset": "masks", "n_groups": "groups"} | both | {key: TOLD[key] for key in TOLD if key != "aurc"}
        columns |= {"pearson_difference": f"r: {JUDGE} - {Path(other['bundle']).name}"}
        blocks += [f"## {task}, beside `{Path(other['bundle']).name}`", shown(found, columns)]
    write_page(out / "networks.md", f"# Masks of fitted networks, {settings['references']} references", *blocks)


@study(
    "config",
    "out",
    option("--only", nargs="+", choices=STEPS, default=list(STEPS)),
    required=("tasks", "most", "judge", "references", "draws", "network", "generate", "referees", "beside"),
    optional=("most_of", "n_resamples"),
)
def main(args: argparse.Namespace) -> None:
    """Make what is not there yet, step by step."""
    args.out.mkdir(parents=True, exist_ok=True)
    if "records" in args.only:
        for task, cases in tasks_of(args.settings, args.out).items():
            records(args.settings, task, cases, args.out)
    if "report" in args.only:
        report(args.settings, args.out)


if __name__ == "__main__":
    sys.exit(status(main))
