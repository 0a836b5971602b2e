"""`sqp compare`: finished runs side by side: what differs in their configs, val metrics, test tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sqp.config.compare import CompareConfig
from sqp.core.files import write_text
from sqp.core.ownership import owned
from sqp.evaluation.runs import ALL, compare_runs, read_runs
from sqp.report.figures import run_figure, save
from sqp.report.findings import MODEL
from sqp.report.tables import write_csv


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
    runs = read_runs(config.runs)
    with owned(config.out, "compare"):
        comparison = compare_runs(runs, config.n_resamples, config.seed)
        out = Path(config.out)
        write_text(out / "comparison.md", comparison.text)
        files = {"table": out / "comparison.md", "numbers": write_csv(comparison.table, out / "comparison.csv")}
        if len(comparison.table):
            files["figure"] = save(run_figure(comparison.table), out / "comparison.png")
    return CompareResult(comparison.text.rstrip(), comparison.table, files)


def _brief(table: pd.DataFrame) -> str:
    """The models on the test splits, for the terminal."""
    here = table[(table["method"] == MODEL) & (table["dataset"] == ALL)] if len(table) else table
    if here.empty:
        return "no table of methods in these runs"
    shown = here[["run", "split", "subset", "n", "pearson", "spearman", "mae", "rmse"]]
    return shown.to_string(index=False, float_format="{:.3f}".format)
