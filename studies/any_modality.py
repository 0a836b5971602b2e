"""One judge for any modality that is shown a few references: how well it does on a task that it has never seen.

python -m studies.any_modality configs/any.yaml runs/any [--only records choose report bundles]
    [--parts first second held] [--bundles research-any]

records: masks of every quality of each task, judged beside k references, which are drawn from train and never share a
group with what is judged; test masks are the same for each k. OUT/frozen.csv lists them with their hashes.
choose: each model of the config is trained on all tasks but one, and judges that one's masks of calibration and val, as
it is and corrected by the references; OUT/choose.csv. report: the model that the config names as `chosen` on the masks
of test; OUT/report.csv, means.csv, any.png and report.md. bundles: that model trained on the tasks of each bundle, its
interval as wide as those ask that were left out of them, and judged on the other tasks; OUT/bundles. One of all tasks
needs no masks of test. Everything goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.bundles import BUNDLES
from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Case
from sqp.evaluation.comparison import MEDIAN, MODEL
from sqp.quality import Bundle
from sqp.quality.bundle.licences import check_licences
from sqp.quality.bundle.storage import CORRECTION
from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.correction import FEWEST, correction_of, masks_of_references
from sqp.records import RecordSet, read_record_sets
from sqp.records.frozen import mask_hash
from sqp.report.figures import save
from sqp.report.tables import HEADINGS, write_csv
from studies.any_report import ALONE, RCA, figure, over_tasks, placed, pooled_quantile, table_of, with_intervals
from studies.classical import masks
from studies.runner import (
    command,
    generate_config,
    kept,
    option,
    predictions,
    predictions_key,
    shown,
    status,
    study,
    write_page,
)
from studies.tasks import PARTS, all_tasks, built_once, draw, parts_of, write_cases

STEPS = ("records", "choose", "report", "bundles")
ENCODER = "litemedsam"
AGAINST = ["referee_dice", *RCA, "predicted_iou", "area"]
NOT_TEST = PARTS[:-1]
CHOOSING = ["held"]
KINDS = ["spread", "natural"]

Tasks = Mapping[str, list[Case]]
Sets = dict[str, list[Path]]
"""task -> its record sets."""


def records(settings: Mapping[str, Any], tasks: Tasks, parts: Sequence[str], out: Path) -> Iterator[Path]:
    """The record sets OUT/records/TASK/MAKER/PART_K_DRAW, part by part over all tasks, and test last.

    OUT/references/TASK/PART_K_DRAW are those of the references, by which predictions are corrected.
    """
    of_encoder = {"segmenter": settings["makers"][ENCODER]["segmenter"]}
    for part in parts:
        for task, cases in tasks.items():
            judged, pool = parts_of(cases, settings["judged"])[part]
            with built_once(ENCODER) as built:
                for maker, k, number in runs(settings, part):
                    home = out / "data" / task
                    keys = images_of(settings["makers"][maker], judged, part, home)
                    if k:
                        table = home / f"references_{part}_{k}_{number}.csv"
                        keys["references"] = str(write_cases(draw(pool, k, number), table, masks=True))
                    keys |= {"out": str(out / "records" / task / maker / f"{part}_{k}_{number}")}
                    own = {"encodings": str(out / "encodings"), **keys}
                    made = command("generate", settings["generate"], _options(settings["makers"][maker]), own)
                    print(f"{task}, {maker}, {part}, k = {k}: {made.summary()} ({made.seconds:.0f} s)", flush=True)
                    yield made.out
                    if maker == ENCODER and k >= FEWEST and part in ("held", "test"):
                        config = generate_config({**settings["generate"], **of_encoder, **own}, made.out)
                        masks_of_references(config, out / "references" / task / made.out.name)
                for segmenter in built:
                    segmenter.known.clear()


def runs(settings: Mapping[str, Any], part: str) -> Iterator[tuple[str, int, int]]:
    """(maker, number of references, which draw of these) of a part; several draws of test alone."""
    for maker, values in settings["makers"].items():
        for k in values["references"][part]:
            draws = values.get("draws", {}).get(k, 1) if part == "test" else 1
            yield from ((maker, k, number) for number in range(draws))


def images_of(maker: Mapping[str, Any], judged: Sequence[Case], part: str, home: Path) -> dict[str, Any]:
    """The options that name the images of a part, with classical masks where the maker is these."""
    if maker.get("masks") != "classical":
        return {"images": str(write_cases(judged, home / f"{part}.csv"))}
    return {"images": str(masks(judged, home / f"classical_{part}")), "masks_licence": [judged[0].licence]}


def _options(maker: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `sqp generate` in the section of a maker."""
    return {key: value for key, value in maker.items() if key not in ("references", "draws", "masks")}


def found_sets(out: Path, tasks: Sequence[str], parts: Sequence[str]) -> Sets:
    """The record sets of tasks that are there, of some parts."""
    found = {
        task: sorted(
            run.parent
            for run in (out / "records" / task).glob("*/*/run.yaml")
            if run.parent.name.split("_")[0] in parts
        )
        for task in tasks
    }
    for task, folders in found.items():
        if not folders:
            raise ConfigError(f"no record set of {task} in {out / 'records'}: run the step records first")
    return found


def frozen(out: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """The masks of test by their hashes, a row a mask: they are there before any model is.

    Of the first record set of each maker; those beside other references have the same masks.
    """
    rows = []
    for task, folders in found_sets(out, tasks, ["test"]).items():
        for folder in {folder.parent: folder for folder in reversed(folders)}.values():
            records = RecordSet(folder)
            table = records.table[["record_id", "group", "variant", "dice"]]
            hashes = [mask_hash(records.mask(name)) for name in table["record_id"]]
            rows.append(table.assign(task=task, mask_sha256=hashes))
    return pd.concat(rows, ignore_index=True)


def everywhere(
    settings: Mapping[str, Any], name: str, out: Path, parts: Sequence[str], tasks: Sequence[str], home: Path
) -> pd.DataFrame:
    """The masks of each of these tasks in turn, judged by a model that was trained on the others of them."""
    judged = []
    for task in tasks:
        sets = found_sets(out, [other for other in tasks if other != task], NOT_TEST)
        path = trained(settings, name, sets, home / task)
        judged.append(judged_by(path, out, {task: found_sets(out, [task], parts)[task]}, home / task))
    return pd.concat(judged, ignore_index=True)


def trained(settings: Mapping[str, Any], name: str, sets: Sets, home: Path) -> Path:
    """The bundle of a model of the config, trained on record sets."""
    records = [str(folder) for folders in sets.values() for folder in folders]
    result = command("train", settings["train"], settings["models"][name], {"records": records, "out": str(home)})
    shutil.rmtree(home / "cache", ignore_errors=True)
    print(f"{home}: {result.summary()}", flush=True)
    return Path(result.bundle)


def judged_by(path: Path, out: Path, sets: Sets, home: Path) -> pd.DataFrame:
    """The rows of record sets with the predictions of a bundle, corrected by the references where there are enough.

    `alone` is the prediction without them, `corrected` whether there were.
    """
    bundle, folders = Bundle.load(path), [folder for several in sets.values() for folder in several]
    rows = placed(predictions(home / predictions_key(path, folders), lambda: bundle, folders))
    rows = rows.assign(alone=rows["predicted_dice"], corrected=False)
    found = []
    for (task, part, k, number), some in rows.groupby(["task", "part", "k", "draw"]):
        spoilt = out / "references" / task / f"{part}_{k}_{number}" / "records"
        if spoilt.exists():
            known = predictions(home / predictions_key(path, [spoilt]), partial(Bundle.load, path), [spoilt])
            some = correction_of(bundle, known)(some).assign(corrected=True)
        found.append(some)
    return pd.concat(found, ignore_index=True)


def calibration_rows(tasks: Sequence[str], out: Path) -> pd.DataFrame:
    """Those of tasks, on which scores get their lines; no model is asked."""
    sets = found_sets(out, tasks, ["held"])
    table = read_record_sets([folder for folders in sets.values() for folder in folders])
    return placed(table[table["split"] == "calibration"])


def choose(settings: Mapping[str, Any], out: Path) -> pd.DataFrame:
    """A row a model of the config, number of references and kind of masks: means over tasks, on what is not test."""
    tables = []
    for name in settings["models"]:
        rows = everywhere(settings, name, out, CHOOSING, list(settings["tasks"]), out / "judge" / name)
        for what, column in (("corrected", "predicted_dice"), ("alone", "alone")):
            table = table_of(rows.assign(predicted_dice=rows[column]), rows.iloc[:0], [], 10, KINDS)
            tables.append(over_tasks(table[table["method"] == MODEL]).assign(model=name, judge=what))
    return pd.concat(tables, ignore_index=True)


def report(settings: Mapping[str, Any], out: Path) -> None:
    """The chosen model on the masks of test, each task beside a model that has not seen it."""
    name, tasks = settings["chosen"], list(settings["tasks"])
    lookup("model of the config", name, settings["models"])
    home, alpha = out / "judge" / name, float(settings["train"].get("alpha", 0.1))
    rows, others = (everywhere(settings, name, out, parts, tasks, home) for parts in (["test"], CHOOSING))
    table = whole_table(with_intervals(rows, others, alpha), settings, out)
    means = over_tasks(table)
    write_csv(table, out / "report.csv")
    write_csv(means, out / "means.csv")
    save(figure(means), out / "any.png")
    write_page(out / "report.md", *blocks(table, means))


def whole_table(rows: pd.DataFrame, settings: Mapping[str, Any], out: Path) -> pd.DataFrame:
    """`table_of` with the judge before its correction as a further method."""
    n_resamples, calibration = int(settings.get("n_resamples", 1000)), calibration_rows(list(settings["tasks"]), out)
    table = table_of(rows, calibration, AGAINST, n_resamples, KINDS)
    alone = rows[rows["corrected"]].assign(predicted_dice=lambda some: some["alone"])
    before = table_of(alone, calibration, [], n_resamples, KINDS)
    before = before[before["method"] == MODEL].drop(columns=["coverage", "width"]).assign(method=ALONE)
    return pd.concat([table, before], ignore_index=True)


def blocks(table: pd.DataFrame, means: pd.DataFrame) -> Iterator[str]:
    """The tables of the page."""
    told = {"pearson": "r", "spearman": "Spearman", "mae": "MAE", "aurc": "AURC"} | {
        n: n for n in ("coverage", "width")
    }
    both = {"method": HEADINGS["method"], "n": "n", "sd_dice": "SD(Dice)"}
    yield "## Means over tasks"
    yield shown(means, {"k": "k", "subset": "masks"} | both | {"least_pearson": "least r"} | told)
    for (k, subset), part in table.groupby(["k", "subset"], sort=False):
        kept_methods = part[part["method"].isin([MODEL, ALONE, MEDIAN, *AGAINST])]
        yield f"## k = {k}, {subset} masks"
        yield shown(kept_methods, {"task": "task", "n_groups": "groups"} | both | told)


def bundle(settings: Mapping[str, Any], name: str, out: Path) -> Path:
    """The chosen model trained on the tasks of a bundle, its intervals as wide as those ask that were left out of them.

    What it says of the test masks of all other tasks is written to OUT/NAME.csv, where there are such.
    """
    tasks, chosen = lookup("bundle of the config", name, settings["bundles"])["tasks"], settings["chosen"]
    made = Bundle.load(trained(settings, chosen, found_sets(out, tasks, NOT_TEST), out / "train" / name))
    whole = list(tasks) == list(settings["tasks"])  # then each was left out for the report already
    rows = everywhere(settings, chosen, out, CHOOSING, tasks, out / "judge" / (chosen if whole else f"{chosen}-{name}"))
    alpha = made.conformal.alpha
    plain, corrected = (
        {
            "quantile": pooled_quantile(some, alpha),
            "groups": some["group"].nunique(),
            "records": len(some),
        }
        for some in (rows[~rows["corrected"]], rows[rows["corrected"]])
    )
    target = out / "bundles" / name
    shutil.rmtree(target, ignore_errors=True)
    replace(made, conformal=Conformal(alpha=alpha, **plain), info=made.info | {CORRECTION: corrected}).save(target)
    if name in BUNDLES:
        check_licences(made.info, BUNDLES[name], name)
    unseen = [task for task in settings["tasks"] if task not in tasks]
    if unseen:
        judged = judged_by(target, out, found_sets(out, unseen, ["test"]), out / "train" / name)
        write_csv(whole_table(judged, settings, out), out / f"{name}.csv")
    return target


@study(
    "config",
    "out",
    option("--only", nargs="+", choices=STEPS, default=list(STEPS)),
    option("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="that records are made of"),
    option("--bundles", nargs="+", help="these alone of the config"),
    required=("tasks", "most", "judged", "generate", "makers", "train", "models", "chosen", "bundles"),
    optional=("n_resamples",),
)
def main(args: argparse.Namespace) -> None:
    """Make what is not there yet, step by step."""
    settings, out = args.settings, args.out
    out.mkdir(parents=True, exist_ok=True)
    if "records" in args.only:
        for _ in records(settings, all_tasks(settings, out), args.parts, out):
            pass
        if "test" in args.parts:
            kept(out / "frozen.csv", lambda: frozen(out, list(settings["tasks"])))
    if "choose" in args.only:
        write_csv(choose(settings, out), out / "choose.csv")
    if "report" in args.only:
        report(settings, out)
    for name in args.bundles or settings["bundles"] if "bundles" in args.only else ():
        print(f"bundle: {bundle(settings, name, out)}", flush=True)


if __name__ == "__main__":
    sys.exit(status(main))
