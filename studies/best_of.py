"""Best-of over a pool of prompters: each image's mask by the predicted quality, by a score, or by an oracle.

python -m studies.best_of runs/best_of --model runs/isic2018/model/bundle --split test \
    otsu=runs/isic2018/records localizer=runs/localizer centre=runs/centre cam=runs/cam_gradcam

Each method is NAME=DIR, a record set of the same images (DIR:PROMPTER for a further prompter of a set), all by the
segmenter and sampler that the bundle expects, or any with --anywhere. The single method is chosen on val. Writes
OUT/best_of.csv. The paper (Classification-to-Segmentation, section 4.3) takes the best mask by the ground truth: an
oracle, which a clinic does not have. Here the quality model chooses; how much of the oracle's gain over the single
method that is best on val it keeps is the share `recovered`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError, lookup
from sqp.metrics.agreement import spearman
from sqp.metrics.stats import Resamples, bootstrap
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.predict import predict_records
from sqp.records import RecordSet
from sqp.report.tables import write_csv
from studies.runner import option, status, study

PREDICTED, ORACLE = "predicted_dice", "oracle"
SCORES = ("c_lesion", "soft_dice_confidence", "predicted_iou")
KEPT = ("image_id", "group", "split", "dice", "iou")


@dataclass
class Pool:
    """A row an image and method: `KEPT`, the columns that may choose, method. Every image has every method."""

    rows: pd.DataFrame
    methods: list[str]
    left_out: dict[str, int]  # images of a split that not every method has

    def wide(self, split: str, column: str) -> pd.DataFrame:
        """`[images, methods]` of a split, in the order of `methods`."""
        part = self.rows[self.rows["split"] == split]
        return part.pivot(index="image_id", columns="method", values=column)[self.methods]


def read_pool(
    folders: Mapping[str, str | Path],
    bundle: Bundle | None,
    splits: Sequence[str],
    progress: bool = True,
) -> Pool:
    """The natural records of each method's record set (of the set's own prompter), on the images that all have.

    `folders`: method -> record set, or `DIR:PROMPTER` for a further prompter of it. With a bundle the records get its
    `predicted_dice`. ConfigError for fewer than two methods, records without truth, and a pool without an image.
    """
    if len(folders) < 2:
        raise ConfigError(f"best-of needs at least two methods; given: {', '.join(folders) or 'none'}")
    parts = [
        _records(name, str(folder), bundle, splits, progress).assign(method=name) for name, folder in folders.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    whole = rows.groupby("image_id")["method"].transform("nunique") == len(folders)
    left_out = rows[~whole].groupby("split")["image_id"].nunique().to_dict()
    rows = rows[whole]
    for split in splits:
        if not (rows["split"] == split).any():
            raise ConfigError(f"no image of split {split} is in all of {', '.join(folders)}: generate them alike")
    return Pool(rows, list(folders), {str(k): int(v) for k, v in left_out.items()})


def _records(name: str, folder: str, bundle: Bundle | None, splits: Sequence[str], progress: bool) -> pd.DataFrame:
    head, colon, tail = folder.rpartition(":")
    path, prompter = (head, tail) if colon and not Path(folder).exists() else (folder, "")
    records = RecordSet(path)
    table = records.table
    own = table["prompter"] == (prompter or lookup("key of run.yaml", "prompter", records.config))
    plain = table["natural"] & (table["parent_record_id"] == "") & (table["segmenter"] != "given")
    table = table[own & plain & table["split"].isin(splits)]
    if table.empty:
        raise ConfigError(f"{name}: {folder} holds no natural record of its prompter in splits {', '.join(splits)}")
    if table["dice"].isna().any():
        raise ConfigError(f"{name}: records of {folder} have no Dice: best-of is measured on images with truth")
    if bundle is not None:
        table = predict_records(bundle, [path], record_ids=set(table["record_id"]), progress=progress)
    columns = [*KEPT, *([PREDICTED] if bundle is not None else []), *(s for s in SCORES if s in table.columns)]
    return table.drop_duplicates("image_id")[columns]


def best_of(pool: Pool, split: str, val: str = "val", n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A row for each single method, for the best single one on `val`, for best-of by each column, for the oracle.

    Columns: method, kind, n, groups, dice with its 95 % interval over groups, iou, failures (share of IoU = 0),
    spearman of the method's predicted Dice with its Dice, recovered: (best-of - single) / (oracle - single) with its
    interval on the same resamples. Where a choice has only NaN to choose by it takes the best single method.
    """
    dice, iou = pool.wide(split, "dice"), pool.wide(split, "iou")
    group = pool.rows.drop_duplicates("image_id").set_index("image_id")["group"].loc[dice.index]
    single = pool.wide(val, "dice").mean().idxmax()
    resamples = Resamples.draw(group.to_numpy(), n_resamples, seed)
    fallback = pool.methods.index(str(single))

    choosers = [name for name in (PREDICTED, *SCORES) if name in pool.rows.columns]
    choices = {name: np.full(len(dice), k) for k, name in enumerate(pool.methods)}
    kinds = dict.fromkeys(pool.methods, "single")
    for name in choosers:
        choices[f"best-of by {name}"] = choose(pool.wide(split, name).to_numpy(), fallback)
        kinds[f"best-of by {name}"] = "best-of"
    choices["best-of by the truth (oracle)"] = dice.to_numpy().argmax(axis=1)
    kinds["best-of by the truth (oracle)"] = ORACLE
    rows = []
    images = np.arange(len(dice))
    base, top = dice[single].to_numpy(), dice.to_numpy().max(axis=1)
    for name, choice in choices.items():
        found, overlap = dice.to_numpy()[images, choice], iou.to_numpy()[images, choice]
        low, high = bootstrap(np.mean, found, resamples=resamples)
        row = {"method": name, "kind": kinds[name], "best_on_val": name == single, "n": len(dice)}
        row |= {"groups": int(group.nunique()), "dice": found.mean(), "dice_low": low, "dice_high": high}
        row |= {"iou": overlap.mean(), "failures": float((overlap == 0).mean())}
        if kinds[name] == "single" and PREDICTED in choosers:
            row["spearman"] = spearman(pool.wide(split, PREDICTED)[name].to_numpy(), found)
        if kinds[name] == "best-of":
            interval = bootstrap(recovered, found, base, top, resamples=resamples)
            row |= {"recovered": recovered(found, base, top)}
            row |= {"recovered_low": interval.low, "recovered_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


def choose(values: np.ndarray, fallback: int) -> np.ndarray:
    """The column of largest value of each row of `[n, k]`, NaN never; `fallback` where all are NaN.

    >>> choose(np.array([[0.2, 0.9], [np.nan, 0.1], [np.nan, np.nan]]), 0).tolist()
    [1, 1, 0]
    """
    known = ~np.isnan(values)
    return np.where(known.any(axis=1), np.where(known, values, -np.inf).argmax(axis=1), fallback)


def recovered(found: np.ndarray, single: np.ndarray, oracle: np.ndarray) -> float:
    """Share of the oracle's gain over the single method that is kept, from Dice `[n]`; NaN where there is no gain.

    >>> recovered(np.array([0.8, 0.9]), np.array([0.7, 0.8]), np.array([0.9, 1.0])).__round__(6)
    0.5
    """
    gain = float(np.mean(oracle) - np.mean(single))
    return float(np.mean(found) - np.mean(single)) / gain if gain > 0 else float("nan")


@study(
    "out",
    option("methods", nargs="+", metavar="NAME=DIR"),
    option("--model", type=Path, help="bundle of a quality model; without it only scores choose"),
    option("--anywhere", action="store_true", help="judge records made otherwise than the bundle expects"),
    option("--split", default="test"),
    option("--val", default="val"),
)
def main(args: argparse.Namespace) -> None:
    """Read the pool, choose, and print the table."""
    wrong = [text for text in args.methods if "=" not in text]
    if wrong:
        raise ConfigError(f"write a method as NAME=DIR, not '{wrong[0]}'")
    bundle = Bundle.load(args.model) if args.model else None
    if bundle is not None and args.anywhere:
        bundle = bundle.anywhere()
    folders = dict(text.split("=", 1) for text in args.methods)
    pool = read_pool(folders, bundle, tuple(dict.fromkeys((args.val, args.split))))
    table = best_of(pool, args.split, args.val)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(table, args.out / "best_of.csv")
    print(table.to_string(index=False, float_format="%.3f"))
    for split, n in pool.left_out.items():
        print(f"{n} images of split {split} left out: not every method has them")


if __name__ == "__main__":
    sys.exit(status(main))
