"""How well the quality model judges masks of a maker that it has never seen, beside its best inputs alone.

python -m studies.leave_one_maker_out configs/leave_one_maker_out.yaml runs/leave_one_maker_out [--makers fpn ...]
python -m studies.leave_one_maker_out configs/leave_one_maker_out.yaml runs/leave_one_maker_out --bundles default fast

A maker is the folder above a record set's, or the family that the config puts it into (a network and its early epochs
are no strangers). All its masks are left out of training and calibration, a model a maker. Judged are the natural masks
of each maker, and these with the corrupted ones, of the config's `split` (val to choose, test to report); masks that a
referee's own model made (`referee_own`) are no evidence of anything and left out. Sets whose name is in `domains` are
of images from elsewhere, which no model has learned from, and are judged by all. The scores of `against` go through a
line fitted on the calibration records of the seen makers where an error in Dice is asked for. 95 % intervals and
differences (model - score) on the same bootstrap resamples of whole groups. Everything goes on where it stopped; with
--makers the others keep their rows. With --bundles nothing is trained: these, which have seen all makers, judge the
same rows.
Writes OUT/SPLIT/makers.csv and makers.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.bundles import bundle_folder
from sqp.core.errors import ConfigError, lookup
from sqp.evaluation.comparison import MEDIAN, MODEL, compare
from sqp.evaluation.paired import Paired
from sqp.evaluation.rows import check_groups
from sqp.metrics.failures import failure_auroc
from sqp.metrics.nan_reasons import join
from sqp.metrics.stats import Resamples
from sqp.quality import Bundle
from sqp.report.tables import HEADINGS, write_csv
from studies.runner import (
    collected,
    command,
    holds,
    option,
    predictions,
    predictions_key,
    shown,
    status,
    study,
    write_page,
)

FAILED_BELOW = 0.7
KEYS = ["left_out", "makers", "subset", "method"]
NAMES = {"pearson": "Pearson", "spearman": "Spearman", "mae": "MAE", "auroc": "AUROC (Dice < 0.7)"}
SEEN = "all seen"

Sets = dict[str, list[Path]]
"""maker -> record sets."""


def found_sets(settings: Mapping[str, Any]) -> tuple[Sets, Sets]:
    """The record sets that the config's patterns name, by maker: those that are learned from, and of other domains."""
    patterns = [settings["records"]] if isinstance(settings["records"], str) else settings["records"]
    families = {maker: family for family, makers in settings.get("families", {}).items() for maker in makers}
    learned, elsewhere = Sets(), Sets()
    for folder in chain.from_iterable(map(matching, patterns)):
        sets = elsewhere if folder.name in settings.get("domains", []) else learned
        sets.setdefault(families.get(folder.parent.name, folder.parent.name), []).append(folder)
    if not learned:
        raise ConfigError(f"no record set matches records: {', '.join(patterns)}")
    return learned, elsewhere


def matching(pattern: str) -> list[Path]:
    """The record sets that match a pattern."""
    path = Path(pattern)
    return [run.parent for run in sorted(Path(path.anchor).glob(f"{path.relative_to(path.anchor)}/run.yaml"))]


def judged(settings: Mapping[str, Any], learned: Sets, elsewhere: Sets, left_out: str, home: Path) -> pd.DataFrame:
    """Rows of all makers with the predictions of a model that has not seen one of them."""
    seen = [folder for maker, folders in learned.items() if maker != left_out for folder in folders]
    result = command("train", settings["train"], {"records": list(map(str, seen)), "out": str(home)})
    print(f"{left_out} left out: {result.summary()}", flush=True)
    return judged_by(result.bundle, settings, learned, elsewhere, home)


def judged_by(path: Path, settings: Mapping[str, Any], learned: Sets, elsewhere: Sets, home: Path) -> pd.DataFrame:
    """Rows of the judged split and of calibration of all makers, and of other domains, judged by a bundle.

    The columns `maker` and `domain` ("" at home) say whose record set a row is of.
    """
    split, bundle = settings.get("split", "test"), Bundle.load(path)
    parts = []
    for sets, splits in ((learned, [split, "calibration"]), (elsewhere, None)):
        folders = [f for several in sets.values() for f in several if splits is None or holds(f, splits)]
        if not folders:
            continue
        work = home / predictions_key(path, folders)
        # the maker left out may be another segmenter
        rows = predictions(work, lambda: bundle.anywhere(), folders, splits=splits)
        names = {str(folder): maker for maker, several in sets.items() for folder in several}
        domain = ["" if splits else Path(folder).name for folder in rows["record_set"]]
        parts.append(rows.assign(maker=rows["record_set"].map(names), domain=domain))
    rows = pd.concat(parts, ignore_index=True)
    check_groups(rows[rows["split"] == "test"], bundle.info["groups_sha256"], path)
    return rows[~rows["referee_own"].astype(bool) & rows["dice"].notna()].reset_index(drop=True)


def table_of(rows: pd.DataFrame, left_out: str, settings: Mapping[str, Any]) -> pd.DataFrame:
    """A row a maker (and all seen ones together, and each domain), subset and method."""
    home = rows["domain"] == ""
    calibration = rows[home & (rows["split"] == "calibration") & (rows["maker"] != left_out)]
    judged = rows[home & (rows["split"] == settings.get("split", "test"))]
    others = [maker for maker in judged["maker"].unique() if maker != left_out]
    who = {left_out: [left_out], SEEN: others} | {maker: [maker] for maker in others}
    parts = {name: judged[judged["maker"].isin(makers)] for name, makers in who.items()}
    parts |= {f"{name}: {maker}": part for (name, maker), part in rows[~home].groupby(["domain", "maker"])}
    parts |= {f"{name}: all": part for name, part in rows[~home].groupby("domain")}
    tables = []
    for name, part in parts.items():
        for subset, these in (("natural", part[part["natural"].astype(bool)]), ("all", part)):
            if len(these):
                table = compared(these.reset_index(drop=True), calibration, settings)
                tables.append(table.assign(left_out=left_out, makers=name, subset=subset))
    if not tables:
        raise ConfigError("no record with truth of the judged split: generate it, too")
    table = pd.concat(tables, ignore_index=True)
    return table[[*KEYS, *(name for name in table if name not in KEYS)]]


def compared(test: pd.DataFrame, calibration: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The model, scores alone and a constant: `compare`'s statistics and the AUROC of finding failures."""
    against, n_resamples = settings["against"], int(settings.get("n_resamples", 2000))
    table = compare(test, calibration, against, n_resamples)
    table = table[table["method"].isin([MODEL, *against, MEDIAN])].reset_index(drop=True)
    dice = test["dice"].to_numpy(float)
    methods = {MODEL: (test["predicted_dice"].to_numpy(float),)}
    methods |= {name: (test[name].to_numpy(float),) for name in against}
    paired = Paired(_failures, (dice,), Resamples.draw(test["group"].astype(str).to_numpy(), n_resamples))
    found = pd.DataFrame([{"method": name, **paired.row(name, methods)} for name in methods]).set_index("method")
    added = [name for name in found if name.startswith("auroc")]
    table = table.join(found[added], on="method")
    failed = int((dice < FAILED_BELOW).sum())
    reason = "" if 0 < failed < len(dice) else f"{failed} of {len(dice)} masks failed: no AUROC"
    return table.assign(n_failed=failed, note=[join(note, reason) for note in table["note"]])


def _failures(weights: np.ndarray, score: np.ndarray, dice: np.ndarray) -> dict[str, np.ndarray]:
    return {"auroc": failure_auroc.over(weights, score, (dice < FAILED_BELOW).astype(float))}


def blocks_of(table: pd.DataFrame) -> Iterator[str]:
    """The tables of the page."""
    headings = {key: HEADINGS[key] for key in ("method", "n", "n_groups", "sd_dice", "coverage", "width", "note")}
    headings |= NAMES | {"makers": "masks of", "n_failed": "Dice < 0.7"}
    order = ["makers", "method", "n", "n_groups", "n_failed", "sd_dice", *NAMES, "coverage", "width", "note"]
    differences = {f"{name}_difference": f"{heading}: model - score" for name, heading in NAMES.items()}
    for (left_out, subset), part in table.groupby(["left_out", "subset"], sort=False):
        yield f"## {left_out} left out: {subset} masks"
        yield shown(part, {key: headings[key] for key in order})
        scores = part[~part["method"].isin([MODEL, MEDIAN])]
        yield shown(scores, {"makers": "masks of", "method": "score", "n_paired": "n", **differences})


@study(
    "config",
    "out",
    option("--makers", nargs="+", help="leave only these out"),
    option("--bundles", nargs="+", default=[], help="judge with these, names or folders; train nothing"),
    option("--split", help="in place of the config's"),
    option("--records", nargs="+", help="patterns of record sets, in place of the config's"),
    required=("records", "against", "train"),
    optional=("n_resamples", "families", "domains", "split"),
)
def main(args: argparse.Namespace) -> None:
    """Train, judge and write the table of the makers asked for; the others keep their rows."""
    settings = args.settings | {key: value for key in ("split", "records") if (value := getattr(args, key))}
    learned, elsewhere = found_sets(settings)
    out = args.out / settings.get("split", "test")
    for name in [Path(name).name for name in args.bundles] or args.makers or learned:
        (out / name).mkdir(parents=True, exist_ok=True)
    for name in args.bundles:
        rows = judged_by(bundle_folder(Path(name)), settings, learned, elsewhere, out / Path(name).name)
        write_csv(table_of(rows, f"none ({Path(name).name})", settings), out / Path(name).name / "makers.csv")
    for maker in [] if args.bundles else args.makers or learned:
        lookup("maker", maker, dict.fromkeys(learned))
        rows = judged(settings, learned, elsewhere, maker, args.out / "models" / maker)
        write_csv(table_of(rows, maker, settings), out / maker / "makers.csv")
    table = collected([folder for folder in sorted(out.iterdir()) if folder.is_dir()], "makers.csv", out)
    text = (
        f"Split {settings.get('split', 'test')}. Differences are model - score: correlations and AUROC above 0 and MAE "
        "below 0 are in the model's favour."
    )
    write_page(out / "makers.md", f"# Makers left out of {args.config.name}", text, *blocks_of(table))


if __name__ == "__main__":
    sys.exit(status(main))
