"""Everybody on the same rows: quality models, referees alone, the segmenter's own scores, cleanlab, and the annotators.

python -m studies.rivals runs/default_bundle/records/none default fast --out runs/rivals [--split val]

ROOT holds record sets as `studies.default_bundle` makes them (ROOT/MAKER/PART), those of `--domains` left out. Every
model and score judges the records of the split; a score that a record lacks (a referee's of its own mask, a segmenter's
of masks that it did not make) counts where it is there, and differences (model - score) are on those rows. Where an
error in Dice is asked for a score goes through a line fitted on the calibration records. `cleanlab` is its quality of a
segmentation label (softmin of the probability of the given class; Lad and Mueller, arXiv 2307.05080), fed with the
supervised referee's probabilities; install it with `pip install cleanlab`. The annotators' floor: Dice of two official
masks of one lesion (ISIC 2017 and 2018), of lesions that were chosen since they differ. Writes OUT/SPLIT/rivals.csv and
rivals.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from sqp.bundles import bundle_folder
from sqp.core.errors import ConfigError
from sqp.core.frame import frame_from
from sqp.data import read_mask
from sqp.evaluation.comparison import MEDIAN, MODEL, compare
from sqp.evaluation.rows import check_groups
from sqp.metrics.overlap import dice
from sqp.metrics.stats import bootstrap
from sqp.quality import Bundle
from sqp.records import RecordSet
from sqp.report.tables import HEADINGS, write_csv
from studies.runner import kept, option, predictions, predictions_key, sets_below, shown, status, study, write_page

CLEANLAB = "cleanlab"
SCORES = [
    *("supervised_dice", "referee_dice", "soft_dice_confidence", "pairwise_dice", "predicted_iou", "stability"),
    *(CLEANLAB, "area"),
]
MAP = "supervised/probability"
KEYS = ["record_set", "record_id"]
JUDGED = ("predicted_dice", "low", "high", "scale", "verdict")
COLUMNS = {key: HEADINGS[key] for key in ("method", "n", "n_groups", "sd_dice")}
COLUMNS |= {"pearson": "Pearson", "spearman": "Spearman", "mae": "MAE", "coverage": "coverage", "width": "width"}
COLUMNS |= {"pearson_difference": "Pearson: model - score", "mae_difference": "MAE: model - score", "note": "note"}


def quality(records: RecordSet, record_id: str) -> float:
    """cleanlab's quality of a record's mask, 0..1, on the grid of the supervised referee."""
    try:
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError as error:
        raise ConfigError("rivals needs cleanlab, which is not installed: pip install cleanlab") from error
    p = records.maps(record_id, [MAP])[MAP].astype(float)
    mask = records.mask(record_id)
    numbers = records.frame_numbers(record_id, MAP)
    assert numbers is not None  # older record sets have no such map
    mask = frame_from(numbers, mask.shape, p.shape).mask_to_grid(mask).numpy()
    scores, _ = get_label_quality_scores(
        mask[None].astype(int), np.stack([1 - p, p])[None], method="softmin", verbose=False
    )
    return float(scores[0])


def with_cleanlab(rows: pd.DataFrame) -> pd.DataFrame:
    """The ids of the rows with cleanlab's quality of each."""
    sets = {folder: RecordSet(folder) for folder in rows["record_set"].unique()}
    pairs = zip(rows["record_set"], rows["record_id"], strict=True)
    values = [quality(sets[folder], name) for folder, name in tqdm(pairs, total=len(rows), desc=CLEANLAB, disable=None)]
    return rows[["record_set", "record_id"]].assign(**{CLEANLAB: values})


def annotators(home: Path) -> pd.DataFrame:
    """Dice of both official masks of each lesion that has two, by image."""
    files = sorted((home / "masks_2017").glob("*.png"))
    values = [dice(read_mask(home / "masks" / file.name), read_mask(file)) for file in files]
    return pd.DataFrame({"image_id": [file.stem for file in files], "dice": values})


def judged(models: list[str], folders: list[Path], split: str, out: Path) -> pd.DataFrame:
    """Rows of the split and of calibration, a column of predictions a model, and cleanlab's."""
    splits, table = [split, "calibration"], None
    for model in models:
        path = bundle_folder(Path(model))
        bundle = Bundle.load(path)
        work = out / Path(model).name / predictions_key(path, folders)
        rows = predictions(work, lambda: bundle.anywhere(), folders, splits=splits)  # noqa: B023  (called at once)
        check_groups(rows[rows["split"] == "test"], bundle.info["groups_sha256"], path)
        mine = {name: f"{name}:{Path(model).name}" for name in JUDGED}
        rows = rows.rename(columns=mine)
        table = rows if table is None else table.merge(rows[[*KEYS, *mine.values()]], on=KEYS)
    assert table is not None
    table = table[table["dice"].notna() & ~table["referee_own"].astype(bool)].reset_index(drop=True)
    key = predictions_key(bundle_folder(Path(models[0])), folders)
    return table.merge(kept(out / f"{CLEANLAB}-{split}-{key}.csv", lambda: with_cleanlab(table)), on=KEYS)


def compared(table: pd.DataFrame, models: list[str], split: str, n_resamples: int) -> pd.DataFrame:
    """A block a model: `compare` on the rows of the split, natural and all."""
    parts = []
    calibration = table[table["split"] == "calibration"]
    these = table[table["split"] == split]
    scores = [name for name in SCORES if name in table and these[name].notna().any()]
    for model in models:
        mine = {f"{name}:{Path(model).name}": name for name in JUDGED}
        for subset, part in (("natural", these[these["natural"].astype(bool)]), ("all", these)):
            part = part.rename(columns=mine).reset_index(drop=True)
            found = compare(part, calibration.rename(columns=mine), scores, n_resamples)
            parts.append(
                found[found["method"].isin([MODEL, *scores, MEDIAN])].assign(model=Path(model).name, subset=subset)
            )
    return pd.concat(parts, ignore_index=True)


@study(
    "root",
    option("models", nargs="+", help="names or folders of bundles"),
    option("--out", type=Path, required=True),
    option("--split", default="test", help="val to choose, test to report"),
    option("--domains", nargs="*", default=["ham10000"], help="PARTs that are another data set, left out"),
    option("--isic", type=Path, default=Path("../shared/data/isic2018"), help="where two official masks lie"),
    option("--n_resamples", type=int, default=2000),
)
def main(args: argparse.Namespace) -> None:
    """Judge, compare, write."""
    folders = sets_below(args.root, args.split, args.domains)
    out = args.out / args.split
    out.mkdir(parents=True, exist_ok=True)
    table = compared(judged(args.models, folders, args.split, out), args.models, args.split, args.n_resamples)
    write_csv(table, out / "rivals.csv")
    blocks = []
    for (model, subset), part in table.groupby(["model", "subset"], sort=False):
        blocks += [f"## {model}: {subset} masks", shown(part, COLUMNS)]
    if (args.isic / "masks_2017").is_dir():
        floor = annotators(args.isic)
        low, high = bootstrap(np.mean, floor["dice"].to_numpy(), group=floor["image_id"].to_numpy())
        blocks += [
            "## Annotators",
            f"Two official masks of {len(floor)} lesions, chosen since they differ: mean Dice "
            f"{floor['dice'].mean():.3f} [{low:.3f}, {high:.3f}], {1 - floor['dice'].mean():.3f} apart on average.",
        ]
    write_page(out / "rivals.md", f"# Rivals, split {args.split}", *blocks)


if __name__ == "__main__":
    sys.exit(status(main))
