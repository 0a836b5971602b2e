"""`sqp evaluate`: predicted against true Dice on the test split, beside every score on the same rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.config.evaluate import EvaluateConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import check_owner, owned
from sqp.evaluation.result import Evaluation, evaluate
from sqp.evaluation.rows import Rows, load_rows
from sqp.records.run_info import stored_config, write_run
from sqp.report.tables import brief
from sqp.report.wandb_run import check_logger, log_results, wandb_run


@dataclass
class EvaluateResult:
    """`table`: a row per subset, dataset, method; `text`: the same as markdown; `files`: what was written.

    `unreadable`: by record id, why a test record was left out.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    text: str
    files: dict[str, Path]
    seconds: float
    left_out: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """1 where records could not be read and were left out."""
        return 1 if self.unreadable else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        note = f"\n\n{self.left_out}" if self.left_out else ""
        return f"{brief(self.table)}{note}\n\ntable: {self.files['table']}\nreport: {self.files['report']}"


def run(config: EvaluateConfig) -> EvaluateResult:
    """Evaluate and write evaluation.csv, evaluation.md, the evidence, predictions, figures, report.html, run.yaml."""
    check(config)
    with owned(config.out, "evaluate"):
        started = time.monotonic()
        evaluation = evaluate(load_rows(config, others=True), config)
        files = evaluation.write()
        seconds = time.monotonic() - started
        files["run"] = _write_run(config, evaluation.rows, seconds)
        _log(evaluation, files)
    rows = evaluation.rows
    return EvaluateResult(
        evaluation.table, rows.test, evaluation.text, files, seconds, evaluation.left_out, rows.unreadable
    )


def check(config: EvaluateConfig) -> None:
    """Refuse what cannot be evaluated, or not into this folder, before anything is read."""
    if (config.model is None) == (config.predictions is None):
        raise ConfigError("evaluate needs either --model BUNDLE or --predictions FILE, one of the two")
    if config.model is not None and not config.records:
        raise ConfigError("--model needs --records DIR: the record sets that hold the test split")
    check_logger(config)
    check_owner(config.out, "evaluate")
    if (Path(config.out) / "evaluation.csv").exists() and not config.overwrite:
        raise ConfigError(f"{config.out} holds an evaluation already; choose another --out, or --overwrite")


def _log(evaluation: Evaluation, files: dict[str, Path]) -> None:
    """Table, figures and pictures to a run of W&B, where one is asked for."""
    config = evaluation.config
    with wandb_run(config, "evaluate", Path(config.out), stored_config(config)) as logged:
        pictures = [path for path in files.values() if path.suffix == ".png"]
        log_results(logged, evaluation.table, pictures, evaluation.rows.test, config.wandb_images)


def _write_run(config: EvaluateConfig, rows: Rows, seconds: float) -> Path:
    """The resolved config, versions, counts and seconds."""
    counts = {"test": len(rows.test), "test_with_truth": int(np.isfinite(rows.test["dice"]).sum())}
    counts |= {name: len(getattr(rows, name)) for name in ("calibration", "raters", "unreadable")}
    return write_run(Path(config.out), stored_config(config), seconds, counts=counts)
