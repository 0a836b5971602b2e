"""How well the quality model judges masks of a maker that it has never seen, beside the referee alone.

python -m studies.leave_one_maker_out configs/leave_one_maker_out.yaml runs/leave_one_maker_out [--makers fpn ...]
python -m studies.leave_one_maker_out configs/leave_one_maker_out.yaml runs/leave_one_maker_out --bundles default fast

A maker is the segmenter of a record set; all that was made from its masks, and its calibration records, are left out of
the training. The referee is the first of the config's that is not the maker left out. Test rows are the natural masks
of each maker, and these with the corrupted ones; masks that the referee's own model made under its own prompts
(`referee_own`) are no evidence of anything and left out. `referee_dice` goes through a line fitted on the calibration
records of the seen makers where an error in Dice is asked for. 95 % intervals and differences (model - method) on the
same bootstrap resamples of whole groups. Everything goes on where it stopped; with --makers the others keep their rows.
With --bundles nothing is trained: these, which have seen all makers, judge the same rows, beside the first referee.
Writes OUT/makers.csv and OUT/makers.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.bundles import BUNDLES, bundle_folder
from sqp.core.errors import ConfigError, lookup
from sqp.evaluation.comparison import MEDIAN, MODEL, compare
from sqp.evaluation.paired import Paired
from sqp.evaluation.rows import check_groups
from sqp.metrics.failures import failure_auroc
from sqp.metrics.nan_reasons import join
from sqp.metrics.stats import Resamples
from sqp.quality import Bundle
from sqp.records import RecordSet
from sqp.report.tables import HEADINGS, write_csv
from studies.runner import (
    collected,
    command,
    option,
    predictions,
    predictions_key,
    shown,
    status,
    study,
    write_page,
)

REFEREE = "referee_dice"
FAILED_BELOW = 0.7
KEYS = ["left_out", "referee", "makers", "subset", "method"]
NAMES = {"pearson": "Pearson", "spearman": "Spearman", "mae": "MAE", "auroc": "AUROC (Dice < 0.7)"}
SEEN = "all seen"

Sets = dict[str, dict[str, list[Path]]]
"""referee -> maker -> record sets."""


def found_sets(pattern: str) -> Sets:
    """The record sets that a pattern names, by referee and maker."""
    path, sets = Path(pattern), Sets()
    for run in sorted(Path(path.anchor).glob(f"{path.relative_to(path.anchor)}/run.yaml")):
        config = RecordSet(run.parent).config
        by_maker = sets.setdefault(config["referee"]["name"], {})
        by_maker.setdefault(config["segmenter"]["name"], []).append(run.parent)
    if not sets:
        raise ConfigError(f"no record set matches records: {pattern}")
    return sets


def judged(settings: Mapping[str, Any], sets: Mapping[str, list[Path]], left_out: str, home: Path) -> pd.DataFrame:
    """Test and calibration rows of all makers with the predictions of a model that has not seen one of them.

    The column `maker` says whose record set a row is of.
    """
    seen = [folder for maker, folders in sets.items() if maker != left_out for folder in folders]
    result = command("train", settings["train"], {"records": list(map(str, seen)), "out": str(home)})
    print(f"{left_out} left out: {result.summary()}", flush=True)
    return judged_by(result.bundle, sets, home)


def judged_by(path: Path, sets: Mapping[str, list[Path]], home: Path) -> pd.DataFrame:
    """Test and calibration rows of all makers, judged by a bundle that has seen no test group."""
    folders = [folder for several in sets.values() for folder in several if _tested(folder)]
    bundle = Bundle.load(path)
    # the maker left out may be another segmenter
    work, anywhere = home / predictions_key(path, folders), bundle.anywhere
    rows = predictions(work, anywhere, folders, splits=["test", "calibration"])
    check_groups(rows[rows["split"] == "test"], bundle.info["groups_sha256"], path)
    makers = {str(folder): maker for maker, folders in sets.items() for folder in folders}
    rows = rows.assign(maker=rows["record_set"].map(makers))
    return rows[~rows["referee_own"].astype(bool) & rows["dice"].notna()].reset_index(drop=True)


def _tested(folder: Path) -> bool:
    return bool(RecordSet(folder).table["split"].isin(["test", "calibration"]).any())


def table_of(rows: pd.DataFrame, left_out: str, referee: str, n_resamples: int) -> pd.DataFrame:
    """A row a maker (and all seen ones together), subset and method."""
    test = rows[rows["split"] == "test"]
    calibration = rows[(rows["split"] == "calibration") & (rows["maker"] != left_out)]
    others = [maker for maker in test["maker"].unique() if maker != left_out]
    who = {left_out: [left_out], SEEN: others} | {maker: [maker] for maker in others}
    parts = []
    for name, makers in who.items():
        of_these = test[test["maker"].isin(makers)]
        for subset, part in (("natural", of_these[of_these["natural"].astype(bool)]), ("all", of_these)):
            if len(part):
                keys = {"left_out": left_out, "referee": referee, "makers": name, "subset": subset}
                parts.append(compared(part.reset_index(drop=True), calibration, n_resamples).assign(**keys))
    if not parts:
        raise ConfigError(f"no test record with truth beside the referee {referee}: generate the split test, too")
    table = pd.concat(parts, ignore_index=True)
    return table[[*KEYS, *(name for name in table if name not in KEYS)]]


def compared(test: pd.DataFrame, calibration: pd.DataFrame, n_resamples: int) -> pd.DataFrame:
    """The model, the referee alone and a constant: `compare`'s statistics and the AUROC of finding failures."""
    table = compare(test, calibration, [REFEREE], n_resamples)
    table = table[table["method"].isin([MODEL, REFEREE, MEDIAN])].reset_index(drop=True)
    dice = test["dice"].to_numpy(float)
    methods = {MODEL: (test["predicted_dice"].to_numpy(float),), REFEREE: (test[REFEREE].to_numpy(float),)}
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
    differences = {f"{name}_difference": f"{heading}: model - {REFEREE}" for name, heading in NAMES.items()}
    for (left_out, referee, subset), part in table.groupby(["left_out", "referee", "subset"], sort=False):
        yield f"## {left_out} left out, referee {referee}: {subset} masks"
        yield shown(part, {key: headings[key] for key in order})
        yield shown(part[part["method"] == REFEREE], {"makers": "masks of", "n_paired": "n", **differences})


@study(
    "config",
    "out",
    option("--makers", nargs="+", help="leave only these out"),
    option("--bundles", nargs="+", default=[], choices=list(BUNDLES), help="judge with these, train nothing"),
    required=("records", "referees", "train"),
    optional=("n_resamples",),
)
def main(args: argparse.Namespace) -> None:
    """Train, judge and write the table of the makers asked for; the others keep their rows."""
    settings = args.settings
    sets = found_sets(settings["records"])
    makers = list(dict.fromkeys(maker for by_maker in sets.values() for maker in by_maker))
    n_resamples = int(settings.get("n_resamples", 2000))
    for name in args.bundles:
        referee = settings["referees"][0]
        rows = judged_by(bundle_folder(Path(name)), sets[referee], args.out / name)
        write_csv(table_of(rows, f"none ({name})", referee, n_resamples), args.out / name / "makers.csv")
    for maker in [] if args.bundles else args.makers or makers:
        lookup("maker", maker, dict.fromkeys(makers))
        referee = next((name for name in settings["referees"] if name != maker and maker in sets.get(name, {})), None)
        if referee is None:
            raise ConfigError(
                f"{maker} is left out, and no record set of it has another referee (referees: "
                f"{', '.join(settings['referees'])}): generate its masks with --referee of another model"
            )
        rows = judged(settings, sets[referee], maker, args.out / maker)
        write_csv(table_of(rows, maker, referee, n_resamples), args.out / maker / "makers.csv")
    table = collected([args.out / name for name in (*makers, *BUNDLES)], "makers.csv", args.out)
    about = (
        f"Test split. Differences are model - {REFEREE}: correlations and AUROC above 0 and MAE below 0 are in the "
        "model's favour."
    )
    write_page(args.out / "makers.md", f"# Makers left out of {args.config.name}", about, *blocks_of(table))


if __name__ == "__main__":
    sys.exit(status(main))
