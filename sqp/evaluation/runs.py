"""Finished runs of `sqp train` and `sqp evaluate`, read back from their folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.core.errors import ConfigError
from sqp.core.tables import check_numeric, read_own_csv
from sqp.core.yaml_files import read_run
from sqp.report.predictions import read_predictions

VAL, TEST = "val", "test"
FILES = {"train": "comparison_val.csv", "evaluate": "evaluation.csv"}  # the table of methods that each command leaves
METHODS = ("dataset", "subset", "method", "n")  # columns of a table of methods
TEXT = (*METHODS[:3], "fit", "note")
REMEDY = "run the command that wrote it again"
LEFT_OUT = ("out", "overwrite", "progress")  # these differ, and say nothing


@dataclass(frozen=True)
class FinishedRun:
    """What a run tells: `told` by command the content of its run.yaml, `folders` by command where it lies."""

    name: str
    told: dict[str, dict[str, Any]]
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
        run.name: {k: v for name, told in run.told.items() for k, v in _flat(name, _settings(told))} for run in runs
    }
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    rows = [{"key": key} | {name: values.get(key, "–") for name, values in flat.items()} for key in keys]
    return pd.DataFrame([row for row in rows if len({row[run.name] for run in runs}) > 1], columns=["key", *flat])


def _settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """Config and versions of a run."""
    config = {key: value for key, value in told["config"].items() if key not in LEFT_OUT}
    return config | {"version": told.get("versions", {})}


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
    found = {command: path for path in [folder, *sorted(folder.iterdir())] for command in _commands(path)}
    several = [path.name for path in sorted(folder.iterdir()) for command in _commands(path) if found[command] != path]
    if not found:
        raise ConfigError(
            f"{folder} is no run: neither it nor a folder in it has the run.yaml of a finished `sqp train` or "
            "`sqp evaluate`; give the --out of one"
        )
    if several:
        raise ConfigError(f"{folder} holds several runs of one command, {several[0]} among them: give each by itself")
    return FinishedRun(name, {command: _told(path) for command, path in found.items()}, found)


def _commands(folder: Path) -> list[str]:
    """train or evaluate, where the folder is the finished OUT of one."""
    if not (folder / "run.yaml").is_file():
        return []
    if (folder / "evaluation.csv").exists():
        return ["evaluate"]
    return ["train"] if (folder / "bundle" / "bundle.json").exists() and VAL in _told(folder) else []


def _told(folder: Path) -> dict[str, Any]:
    return read_run(folder / "run.yaml")
