"""`sqp compare`: finished runs side by side: what differs in their configs, val metrics, test tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.config.checks import check_ranges
from sqp.config.compare import CompareConfig
from sqp.core.files import write_text
from sqp.core.ownership import owned
from sqp.evaluation.runs import FinishedRun, differences, read_runs
from sqp.metrics.agreement import mae, spearman
from sqp.metrics.stats import paired_difference
from sqp.records.schema import CORRUPTED, NATURAL, REFINED, kinds
from sqp.report.figures import run_figure, save
from sqp.report.findings import MODEL
from sqp.report.tables import formatted, markdown, write_csv

ALL = "all"
WRITTEN = 1e-6  # predictions.csv is written to as many places
NAMES = {"sd": "sd_dice", "within_group_spearman": "within_spearman"}  # of the metrics that `train` keeps in run.yaml


@dataclass
class CompareResult:
    """`text`: all of it as markdown; `table`: a row per run, split, subset, data set and method."""

    text: str
    table: pd.DataFrame
    files: dict[str, Path]

    def summary(self) -> str:
        """What the terminal shows."""
        return "\n".join([_brief(self.table), "", *[f"{name}: {path}" for name, path in self.files.items()]])


def run(config: CompareConfig) -> CompareResult:
    """Read the runs; write comparison.md, comparison.csv and, where there is a table of methods, comparison.png."""
    check_ranges(config)
    runs = read_runs(config.runs)
    with owned(config.out, "compare"):
        return _run(config, runs)


def _run(config: CompareConfig, runs: Sequence[FinishedRun]) -> CompareResult:
    """Into a folder that is this run's own."""
    table = pd.concat([one.methods() for one in runs], ignore_index=True)
    text = "\n\n".join([f"# {len(runs)} runs", *_configs(runs), *_val(runs), *_models(runs, config), *_methods(table)])
    out = Path(config.out)
    write_text(out / "comparison.md", text + "\n")
    files = {"table": out / "comparison.md", "numbers": write_csv(table, out / "comparison.csv")}
    if len(table):
        files["figure"] = save(run_figure(table), out / "comparison.png")
    return CompareResult(text, table, files)


def _configs(runs: Sequence[FinishedRun]) -> list[str]:
    table = differences(runs)
    return ["## What differs", markdown(table) if len(table) else "Their configs and versions are the same."]


def _val(runs: Sequence[FinishedRun]) -> list[str]:
    """Metrics on the split val of the runs that were trained."""
    rows = []
    for one in runs:
        told = one.told.get("train")
        if told is not None:
            rows.append({"method": one.name, **{NAMES.get(key, key): value for key, value in told["val"].items()}})
    if not rows:
        return []
    return [
        "## Split val, as training ended",
        markdown(formatted(pd.DataFrame(rows)).rename(columns={"method": "run"})),
    ]


def _models(runs: Sequence[FinishedRun], config: CompareConfig) -> list[str]:
    """Each model against the first one's on the test records that both have, in pairs."""
    tested = [(one.name, table) for one in runs if (table := one.predictions()) is not None]
    if len(tested) < 2:
        return []
    (first, base), *others = tested
    rows, notes = [], []
    for name, table in others:
        both, note = _shared(base, table)
        if note:
            notes.append(f"{name} and {first} were not tested on the same masks: {note}")
        both = both.dropna(subset=["predicted_dice", "predicted_dice_other"])
        for subset in (NATURAL, REFINED, CORRUPTED):
            part = kinds(both) == subset
            if part.sum() > 1:
                rows.append({"run": name, "against": first, "masks": subset} | _difference(both[part], config))
    about = (
        "Run - the first, on the masks that both have; 95 % intervals from resamples of whole groups. Spearman above "
        "0 and MAE below 0 are in the run's favour."
    )
    return ["## Model against model", about, *notes, *([markdown(pd.DataFrame(rows))] if rows else [])]


def _shared(base: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the first with the other's prediction, of the masks that both have, and what is missing.

    Record sets that were made apart give one id to masks of one image, segmenter, prompter and sampler; weights and
    numbers of samples may differ, and so the masks. So ids count as shared where the true Dice is the same, too.
    """
    both = base.merge(table[["record_id", "predicted_dice", "dice"]], on="record_id", suffixes=("", "_other"))
    same = (both["dice"] - both["dice_other"]).abs() <= WRITTEN
    if same.sum() == max(len(base), len(table)):
        return both, ""
    note = f"{len(table):,} and {len(base):,}, of which {same.sum():,} are shared"
    if not same.all():
        note += f" ({(~same).sum():,} more have one id, but another true Dice: they were generated differently)"
    if not same.any():
        return both[same], f"{note}: these models cannot be compared in pairs; evaluate both on the same record sets."
    return both[same], f"{note}: only these are compared here, while the tables below are of all."


def _difference(both: pd.DataFrame, config: CompareConfig) -> dict[str, str]:
    """Differences in Spearman and MAE as text."""
    row = {"n": f"{len(both):,}"}
    for heading, statistic in (("Spearman", spearman), ("MAE", mae)):
        found = paired_difference(
            statistic, both["dice"], both["predicted_dice_other"], both["predicted_dice"],
            group=both["group"].astype(str), n_resamples=config.n_resamples, seed=config.seed,
        )  # fmt: skip
        numbers = {"mae": [found.value], "mae_low": [found.low], "mae_high": [found.high]}
        row[heading] = formatted(pd.DataFrame(numbers)).iloc[0, 0]
    return row


def _methods(table: pd.DataFrame) -> list[str]:
    """A table per split and subset: the models of all runs, then each score; once where all runs agree on it."""
    blocks = []
    here = table[(table["dataset"] == ALL) & (table["n"] > 0)] if len(table) else table
    for (split, subset), part in here.groupby(["split", "subset"], sort=False) if len(here) else ():
        merged = agreed(part.drop(columns=["split", "subset", "dataset", "fit"], errors="ignore"))
        shown = formatted(merged)
        shown.insert(1, "run", merged["run"])
        blocks += [f"## Split {split}: {subset}", markdown(shown)]
    return blocks


def agreed(part: pd.DataFrame) -> pd.DataFrame:
    """Rows by method, the model first; a score whose own figures are the same in all runs has one row, run `all N`.

    Its difference is left out there: it is against each run's own model.
    """
    count = part["run"].nunique()
    compared = [name for name in part.columns if "difference" in name]
    own = part.drop(columns=["run", "n_paired", "note", "p", "p_holm", *compared], errors="ignore")
    rows = []
    for method in dict.fromkeys([MODEL, *part["method"]]):
        mine = part["method"] == method
        same = method != MODEL and 1 < count == mine.sum() and len(own[mine].round(6).drop_duplicates()) == 1
        rows.append(
            part[mine].head(1).assign(run=f"all {count}", **dict.fromkeys(compared, np.nan)) if same else part[mine]
        )
    return pd.concat(rows, ignore_index=True)


def _brief(table: pd.DataFrame) -> str:
    """The models on the test splits, for the terminal."""
    here = table[(table["method"] == MODEL) & (table["dataset"] == ALL)] if len(table) else table
    if here.empty:
        return "no table of methods in these runs"
    shown = here[["run", "split", "subset", "n", "pearson", "spearman", "mae", "rmse"]]
    return shown.to_string(index=False, float_format="{:.3f}".format)
