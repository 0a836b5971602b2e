"""Intervals on images from elsewhere: those that a bundle ships, plain split-conformal ones, and weighted ones.

python -m studies.weighted_conformal runs/default_bundle/records/none default fast --out runs/weighted_conformal

ROOT holds record sets as `studies.default_bundle` makes them (ROOT/MAKER/PART). A target is the split `--split` of the
images that were learned from, or another data set (a PART all of whose records are of no split of the bundle's, given
by `--domains`). Of each target: coverage and mean width of 90 % intervals. `plain` is the quantile over the groups of
the calibration split (sqp.quality.judging.conformal); `weighted` is that of Tibshirani et al. (NeurIPS 2019,
arXiv 1904.06019), where a calibration group counts as much as images like it are more frequent among the target's: the
ratio of densities is that of a logistic regression on the lesion network's features of an image, cross-fitted over
groups, and needs images of the target, no truth. `effective` is Kish's number of calibration groups after weighing. An
image that is too unlike for its interval to end counts as covered, with width 1. Writes OUT/SPLIT/intervals.csv and
intervals.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sqp.bundles import bundle_folder
from sqp.evaluation.paired import mean_cells
from sqp.metrics.intervals import covered
from sqp.metrics.stats import Resamples
from sqp.quality import Bundle
from sqp.quality.judging.conformal import group_quantile
from sqp.records import RecordSet
from sqp.records.schema import FEATURE_PREFIX, SUPERVISED_EMBEDDING
from sqp.report.tables import write_csv
from studies.runner import option, predictions, predictions_key, sets_below, shown, status, study, write_page

FEATURE = f"{FEATURE_PREFIX}{SUPERVISED_EMBEDDING}"
ALPHA, COMPONENTS, FOLDS = 0.1, 16, 5
COLUMNS = {"bundle": "bundle", "target": "masks of", "method": "interval", "n": "n", "groups": "groups"}
COLUMNS |= {"covered": "coverage", "width": "width", "endless": "without end", "effective": "effective"}


def density_ratio(calibration: np.ndarray, target: np.ndarray, groups: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """How much more frequent images like each are among the target's: of the calibration images, of the target's.

    Args:
        calibration: features `[n, d]` of the calibration images.
        target: features `[m, d]` of the target's images.
        groups: the group of each calibration image, and of each of the target's.

    Returns:
        float64 `[n]` and `[m]`, above 0; each from a regression that has not seen the image's group.
    """
    x, y = np.concatenate([calibration, target]), np.repeat([0, 1], [len(calibration), len(target)])
    names = np.concatenate([[f"{which} {group}" for group in of] for which, of in enumerate(groups)])
    odds = np.empty(len(x))
    for seen, held in GroupKFold(FOLDS, shuffle=True, random_state=0).split(x, y, names):
        parts = min(COMPONENTS, *x[seen].shape)
        model = make_pipeline(StandardScaler(), PCA(parts, random_state=0), LogisticRegression(C=0.1))
        odds[held] = np.exp(model.fit(x[seen], y[seen]).decision_function(x[held])) * (1 - y[seen].mean())
        odds[held] /= y[seen].mean()
    return [odds[y == 0], odds[y == 1]]


def weighted_quantiles(
    residual: np.ndarray, group: np.ndarray, weight: np.ndarray, new: np.ndarray, alpha: float = ALPHA
) -> np.ndarray:
    """The half width in scales for each new image; infinite where it weighs more than alpha by itself.

    Args:
        residual: normalised residuals of the calibration records `[n]`.
        group: their groups `[n]`, whose records share one weight.
        weight: ratio of densities of each record's image `[n]`.
        new: that of each new image `[m]`.
        alpha: share that may lie outside.

    Returns:
        float64 `[m]`.
    """
    _, index, counts = np.unique(group, return_inverse=True, return_counts=True)
    mass = weight / counts[index]
    order = np.argsort(residual, kind="stable")
    level = (1 - alpha) * (mass.sum() + new) - 1e-9
    position = np.searchsorted(np.cumsum(mass[order]), level)
    return np.append(residual[order], np.inf)[position]


def of_images(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features `[n, d]`, group `[n]`, position `[rows]` of each row's image) of the images of some records."""
    _, first, position = np.unique(rows["image_id"].astype(str), return_index=True, return_inverse=True)
    sets = {folder: RecordSet(folder) for folder in rows["record_set"].unique()}
    features = [
        sets[row.record_set].maps(row.record_id, [FEATURE])[FEATURE].astype(float).ravel()
        for row in rows.iloc[first].itertuples()
    ]
    return np.stack(features), rows["group"].astype(str).to_numpy()[first], position


def intervals(calibration: pd.DataFrame, target: pd.DataFrame) -> pd.DataFrame:
    """A row a method: n, groups, coverage, width with their intervals by group, and the effective groups."""
    residual = ((calibration["dice"] - calibration["predicted_dice"]).abs() / calibration["scale"]).to_numpy(float)
    group = calibration["group"].astype(str).to_numpy()
    features, groups, at = of_images(calibration)
    new_features, new_groups, new_at = of_images(target)
    weight, new = density_ratio(features, new_features, [groups, new_groups])
    of_group = pd.Series(weight).groupby(groups).mean().to_numpy()
    plain = np.full(len(target), group_quantile(residual, group, ALPHA))
    ways: dict[str, tuple[np.ndarray, float]] = {
        "plain": (plain, float(len(of_group))),
        "weighted": (
            weighted_quantiles(residual, group, weight[at], new[new_at]),
            float(of_group.sum() ** 2 / (of_group**2).sum()),
        ),
    }
    mean, scale = target["predicted_dice"].to_numpy(float), target["scale"].to_numpy(float)
    ends = {"as shipped": (target["low"].to_numpy(float), target["high"].to_numpy(float), np.nan)}
    for name, (quantile, effective) in ways.items():
        ends[name] = (np.clip(mean - quantile * scale, 0, 1), np.clip(mean + quantile * scale, 0, 1), effective)
    resamples = Resamples.draw(target["group"].astype(str).to_numpy())
    rows, dice = [], target["dice"].to_numpy(float)
    for name, (low, high, effective) in ends.items():
        row: dict[str, object] = {"method": name, "n": len(target), "groups": len(set(target["group"]))}
        row |= mean_cells("covered", covered(low, high, dice), resamples) | mean_cells("width", high - low, resamples)
        endless = int(np.isinf(ways[name][0]).sum()) if name in ways else 0
        rows.append(row | {"endless": endless, "effective": effective})
    return pd.DataFrame(rows)


def judged(bundle: Path, folders: Sequence[Path], splits: Sequence[str] | None, work: Path) -> pd.DataFrame:
    """Rows with a prediction and truth, whose mask the lesion network did not draw itself."""
    open_bundle: Callable[[], Bundle] = lambda: Bundle.load(bundle).anywhere()  # noqa: E731
    rows = predictions(work / predictions_key(bundle, folders), open_bundle, folders, splits=splits)
    known = rows["dice"].notna() & rows["predicted_dice"].notna() & ~rows["referee_own"].astype(bool)
    return rows[known].reset_index(drop=True)


@study(
    "root",
    option("models", nargs="+", help="names or folders of bundles"),
    option("--out", type=Path, required=True),
    option("--split", default="val", help="val to choose, test to report"),
    option("--domains", nargs="*", default=["ham10000"], help="PARTs that are another data set"),
)
def main(args: argparse.Namespace) -> None:
    """Judge, weigh, count."""
    home = sets_below(args.root, args.split, args.domains)
    elsewhere = {name: [run.parent for run in sorted(args.root.glob(f"*/{name}/run.yaml"))] for name in args.domains}
    out, tables = args.out / args.split, []
    for model in args.models:
        folder, work = bundle_folder(Path(model)), out / Path(model).name
        rows = judged(folder, home, [args.split, "calibration"], work)
        calibration = rows[rows["split"] == "calibration"].reset_index(drop=True)
        targets = {args.split: rows[rows["split"] == args.split].reset_index(drop=True)}
        targets |= {name: judged(folder, sets, None, work) for name, sets in elsewhere.items() if sets}
        for name, target in targets.items():
            tables.append(intervals(calibration, target).assign(bundle=Path(model).name, target=name))
    table = pd.concat(tables, ignore_index=True)
    write_csv(table, out / "intervals.csv")
    write_page(out / "intervals.md", f"# 90 % intervals, split {args.split}", shown(table, COLUMNS))


if __name__ == "__main__":
    sys.exit(status(main))
