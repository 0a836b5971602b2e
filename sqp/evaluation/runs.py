"""Finished runs of `sqp train` and `sqp evaluate`: read back from their folders, and put side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.core.tables import check_numeric, read_own_csv
from sqp.core.untrusted import read_run
from sqp.metrics.agreement import mae, spearman
from sqp.metrics.stats import paired_difference
from sqp.records.schema import CORRUPTED, NATURAL, REFINED, kinds
from sqp.report.findings import MODEL
from sqp.report.predictions import read_predictions
from sqp.report.tables import formatted, markdown

VAL, TEST = "val", "test"
FILES = {"train": "comparison_val.csv", "evaluate": "evaluation.csv"}  # the table of methods that each command leaves
METHODS = ("dataset", "subset", "method", "n")  # columns of a table of methods
TEXT = (*METHODS[:3], "fit", "note")
REMEDY = "run the command that wrote it again"
LEFT_OUT = ("out", "overwrite", "progress")  # these differ, and say nothing


@dataclass(frozen=True)
class FinishedRun:
    """A run: `info` by command the content of its run.yaml, `folders` by command where it lies."""

    name: str
    info: dict[str, dict[str, Any]]
    folders: dict[str, Path]

    def methods(self) -> pd.DataFrame:
        """The tables of methods, val and test, with the columns run and split in front."""
        parts = []
        for command, split in (("train", VAL), ("evaluate", TEST)):
            path = self.folders[command] / FILES[command] if command in self.folders else None
            if path is not None and path.exists():
                table = read_own_csv(path, REMEDY, METHODS, dtype={"dataset": str, "note": str})
                check_numeric(table, [name for name in table if name not in TEXT], path, REMEDY)
                parts.append(table.assign(run=self.name, split=split))
        whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "split", "method"])
        return whole[["run", "split", *[name for name in whole.columns if name not in ("run", "split")]]]

    def predictions(self) -> pd.DataFrame | None:
        """Its predictions of the test rows that have a truth; None without an evaluation."""
        if "evaluate" not in self.folders:
            return None
        table = read_predictions(self.folders["evaluate"], ("dice", "variant", "group"))
        return table[table["dice"].notna()]


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """The runs, each under the shortest name that tells it from the others. ConfigError for a folder that is none."""
    if len(folders) < 2:
        raise ConfigError("compare needs at least two runs: sqp compare RUN RUN ...")
    paths = [Path(folder).resolve() for folder in folders]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice; give each run once")
    return [_read(path, name) for path, name in zip(paths, short_names(paths), strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes to tell them apart.

    Examples:
        >>> short_names([Path("/a/one/model"), Path("/a/two/model")])
        ['one/model', 'two/model']
    """
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def differences(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """The keys whose values are not the same in all runs: columns key, and a run each; – where it has no such key."""
    flat = {
        run.name: {k: v for name, info in run.info.items() for k, v in _flat(name, _settings(info))} for run in runs
    }
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    rows = [{"key": key} | {name: values.get(key, "–") for name, values in flat.items()} for key in keys]
    return pd.DataFrame([row for row in rows if len({row[run.name] for run in runs}) > 1], columns=["key", *flat])


def _settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """Config and versions of a run."""
    config = {key: value for key, value in info["config"].items() if key not in LEFT_OUT}
    return config | {"version": info.get("versions", {})}


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    """Nested keys, dotted, with their values as text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}", inner)
    else:
        yield prefix, str(value)


def _read(folder: Path, name: str) -> FinishedRun:
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist: check the path")
    inner = sorted(folder.iterdir())
    folders = {command: path for path in [folder, *inner] for command in _commands(path)}
    several = [path.name for path in inner for command in _commands(path) if folders[command] != path]
    if not folders:
        raise ConfigError(
            f"{folder} is no run: neither it nor a folder in it has the run.yaml of a finished `sqp train` or "
            "`sqp evaluate`; give the --out of one"
        )
    if several:
        raise ConfigError(f"{folder} holds several runs of one command, {several[0]} among them: give each by itself")
    return FinishedRun(name, {command: read_run(path / "run.yaml") for command, path in folders.items()}, folders)


def _commands(folder: Path) -> list[str]:
    """train or evaluate, where the folder is the finished OUT of one."""
    if not (folder / "run.yaml").is_file():
        return []
    if (folder / "evaluation.csv").exists():
        return ["evaluate"]
    return ["train"] if (folder / "bundle" / "bundle.json").exists() and VAL in read_run(folder / "run.yaml") else []


ALL = "all"
WRITTEN = 1e-6  # a table in CSV is written to as many places
NAMES = {"sd": "sd_dice", "within_group_spearman": "within_spearman"}  # of the metrics that `train` keeps in run.yaml


@dataclass(frozen=True)
class RunComparison:
    """`text`: all of it as markdown; `table`: a row per run, split, subset, data set and method."""

    text: str
    table: pd.DataFrame


def compare_runs(runs: Sequence[FinishedRun], n_resamples: int = 2000, seed: int = 0) -> RunComparison:
    """What differs in their configs, their val metrics, model against model, and the tables of methods side by side."""
    table = pd.concat([run.methods() for run in runs], ignore_index=True)
    blocks = [f"# {len(runs)} runs", *_configs(runs), *_val(runs), *_models(runs, n_resamples, seed), *_methods(table)]
    return RunComparison("\n\n".join(blocks) + "\n", table)


def _configs(runs: Sequence[FinishedRun]) -> list[str]:
    table = differences(runs)
    return ["## What differs", markdown(table) if len(table) else "Their configs and versions are the same."]


def _val(runs: Sequence[FinishedRun]) -> list[str]:
    """Metrics on the split val of the runs that were trained."""
    rows = []
    for run in runs:
        trained = run.info.get("train")
        if trained is not None:
            rows.append({"method": run.name, **{NAMES.get(key, key): value for key, value in trained["val"].items()}})
    if not rows:
        return []
    return [
        "## Split val, as training ended",
        markdown(formatted(pd.DataFrame(rows)).rename(columns={"method": "run"})),
    ]


def _models(runs: Sequence[FinishedRun], n_resamples: int, seed: int) -> list[str]:
    """Each model against the first one's on the test records that both have, in pairs."""
    tested = [(run.name, table) for run in runs if (table := run.predictions()) is not None]
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
                rows.append(
                    {"run": name, "against": first, "masks": subset} | _difference(both[part], n_resamples, seed)
                )
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
    keys = ["record_id"]
    if base.duplicated(keys).any() or table.duplicated(keys).any():  # of several record sets
        keys += ["record_set"] if "record_set" in base and "record_set" in table else []
    both = base.merge(table[[*keys, "predicted_dice", "dice"]], on=keys, suffixes=("", "_other"))
    same = (both["dice"] - both["dice_other"]).abs() <= WRITTEN
    if same.sum() == max(len(base), len(table)):
        return both, ""
    note = f"{len(table):,} and {len(base):,}, of which {same.sum():,} are shared"
    if not same.all():
        note += f" ({(~same).sum():,} more have one id, but another true Dice: they were generated differently)"
    if not same.any():
        return both[same], f"{note}: these models cannot be compared in pairs; evaluate both on the same record sets."
    return both[same], f"{note}: only these are compared here, while the tables below are of all."


def _difference(both: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, str]:
    """Differences in Spearman and MAE as text."""
    row = {"n": f"{len(both):,}"}
    for heading, statistic in (("Spearman", spearman), ("MAE", mae)):
        result = paired_difference(
            statistic, both["dice"], both["predicted_dice_other"], both["predicted_dice"],
            group=both["group"].astype(str), n_resamples=n_resamples, seed=seed,
        )  # fmt: skip
        numbers = {"mae": [result.value], "mae_low": [result.low], "mae_high": [result.high]}
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
