"""`sqp evaluate`: predicted against true Dice on the test split, beside every score on the same rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from sqp.config.checks import check_ranges
from sqp.config.evaluate import EvaluateConfig
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import write_text
from sqp.core.ownership import check_owner, owned
from sqp.evaluation.comparison import TARGETS, compare, short
from sqp.evaluation.evidence import Evidence, Page, with_part
from sqp.evaluation.page import write_evaluation_page
from sqp.evaluation.pages import pages
from sqp.evaluation.pages.agreement import few_records
from sqp.evaluation.pages.intervals import BY
from sqp.evaluation.rows import load_rows
from sqp.evaluation.subsets import ALL, Subset, subsets
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.verdict import check_thresholds
from sqp.records.run_info import stored_config, versions
from sqp.report import figures
from sqp.report.figures import DISTRIBUTION, distribution
from sqp.report.html import Section
from sqp.report.overlays import write_overlays
from sqp.report.predictions import prompter_label, write_predictions
from sqp.report.tables import brief, formatted, markdown, write_csv
from sqp.report.wandb_run import check_logger, log_results, wandb_run


@dataclass
class EvaluateResult:
    """`table`: a row per subset, dataset, method; `text`: the same as markdown; `files`: what was written.

    `unreadable`: by record id, why a test record was left out. `pages`: the evidence (`stages/evidence`).
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    text: str
    files: dict[str, Path]
    seconds: float
    unreadable: dict[str, str] = field(default_factory=dict)
    pages: list[Page] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """1 where records could not be read and were left out."""
        return 1 if self.unreadable else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        note = f"\n\n{_left_out(self.unreadable)}" if self.unreadable else ""
        return f"{brief(self.table)}{note}\n\ntable: {self.files['table']}\nreport: {self.files['report']}"


def run(config: EvaluateConfig) -> EvaluateResult:
    """Evaluate and write evaluation.csv, evaluation.md, the evidence, predictions, figures, report.html, run.yaml."""
    check(config)
    with owned(config.out, "evaluate"):
        return _run(config)


def _run(config: EvaluateConfig) -> EvaluateResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    test, calibration, raters, unreadable, alpha, risk = load_rows(config, others=True)
    scores = score_names(test)
    parts = list(subsets(test, calibration, config.unseen))
    compared = {
        part.title: compare(part.test, part.calibration, scores, config.n_resamples, config.seed) for part in parts
    }
    tables = {part.title: with_part(short(compared[part.title]), part).assign(fit=part.fit) for part in parts}
    table = pd.concat(tables.values(), ignore_index=True)
    text = _text(parts, tables, config, _left_out(unreadable))
    evidence = Evidence(config, parts, compared, scores, calibration, raters, alpha, risk)
    made = list(pages(evidence))
    files = _write(config, test, parts, tables, table, text, _left_out(unreadable), made)
    seconds = time.monotonic() - started
    counts = {"test": len(test), "test_with_truth": int(np.isfinite(test["dice"]).sum())}
    counts |= {"calibration": len(calibration), "raters": len(raters), "unreadable": len(unreadable)}
    files["run"] = _write_run(config, counts, seconds)
    with wandb_run(config, "evaluate", Path(config.out), stored_config(config)) as logged:
        log_results(logged, table, [p for p in files.values() if p.suffix == ".png"], test, config.wandb_images)
    return EvaluateResult(table, test, text, files, seconds, unreadable, made)


def check(config: EvaluateConfig) -> None:
    """Refuse options that contradict each other, before anything is read."""
    if (config.model is None) == (config.predictions is None):
        raise ConfigError("evaluate needs either --model BUNDLE or --predictions FILE, one of the two")
    if config.model is not None and not config.records:
        raise ConfigError("--model needs --records DIR: the record sets that hold the test split")
    check_logger(config)
    check_thresholds(config.accept, config.reject)
    check_ranges(config)
    for name in config.target:
        lookup("target", name, TARGETS)
    if config.mondrian:
        lookup("mondrian", config.mondrian, dict.fromkeys(BY))
    _check_tiers("tiers", config.tiers)
    if config.tier_risk:
        _check_tiers("tier_risk", config.tier_risk[::-1])
    check_owner(config.out, "evaluate")
    if (Path(config.out) / "evaluation.csv").exists() and not config.overwrite:
        raise ConfigError(f"{config.out} holds an evaluation already; choose another --out, or --overwrite")


def _check_tiers(name: str, limits: list[float]) -> None:
    """ConfigError unless there are two limits, the first below the second, both in 0..1."""
    if len(limits) != 2 or not 0 <= limits[0] < limits[1] <= 1:
        order = "the lower one first" if name == "tiers" else "the greater one first"
        raise ConfigError(f"--{name} needs two different numbers in 0 to 1, {order}")


def _left_out(unreadable: dict[str, str]) -> str:
    """A sentence on the records that were left out; empty where there are none."""
    if not unreadable:
        return ""
    return f"{len(unreadable):,} test records cannot be read and are left out: {next(iter(unreadable.values()))}."


def _text(parts: list[Subset], tables: dict[str, pd.DataFrame], config: EvaluateConfig, left_out: str) -> str:
    """The markdown page."""
    blocks = [
        "# Predicted against true Dice",
        f"Split `{config.split}`. 95 % intervals from {config.n_resamples:,} bootstrap resamples of whole "
        "groups, the same ones for every method. Correlations are of the score as it is; R2, MAE and RMSE "
        "after a straight line to Dice, fitted on calibration rows, clipped to 0-1 (the quality model speaks "
        "in Dice itself). Differences are model - method on the rows that both have: Spearman above 0 and "
        "MAE below 0 are in the model's favour.",
        *([left_out] if left_out else []),
    ]
    for part in parts:
        blocks += [f"## {part.title}", _about(part), markdown(formatted(tables[part.title]))]
    return "\n\n".join(blocks) + "\n"


def _about(part: Subset) -> str:
    """What the rows of a subset are."""
    rows = part.test[part.test["dice"].notna()]
    text = f"{len(rows):,} records, {rows['group'].nunique():,} groups. Lines fitted on {part.fit}."
    text += few_records(part)
    for column, word in (("variant", "Variants"), ("prompter", "Prompters")):
        if column in rows and (column == "prompter") == (part.name == "natural"):
            counts = rows[column].value_counts().items()
            named = [f"{prompter_label(k) if column == 'prompter' else k} {v:,}" for k, v in counts]
            text += f" {word}: {', '.join(named)}."
    return text


def _write(
    config: EvaluateConfig,
    test: pd.DataFrame,
    parts: list[Subset],
    tables: dict[str, pd.DataFrame],
    table: pd.DataFrame,
    text: str,
    left_out: str,
    made: list[Page],
) -> dict[str, Path]:
    out = Path(config.out)
    csv, parquet = write_predictions(out, test)
    panels = {part.title: part.test for part in parts if part.dataset == ALL and part.name != ALL}
    judged_on = (tables[parts[0].title], parts[0].test)
    sections = [
        Section(
            "Predicted against true Dice", out / "predicted_vs_true.png", "A point is a mask; on the line is right."
        ),
        Section("Calibration", out / "calibration.png", "True Dice of the masks that share a tenth of predicted Dice."),
        Section("Predicted Dice", figures.save(distribution(test), out / "distribution.png"), DISTRIBUTION),
        *[Section(part.title, formatted(tables[part.title]), _about(part)) for part in parts],
    ]
    notes = f"Split {config.split}. Intervals: 95 %, bootstrap by group. Differences: model - method. {left_out}"
    files = {
        "predictions": csv,
        "predictions_parquet": parquet,
        "scatter": figures.save(figures.predicted_vs_true(panels), out / "predicted_vs_true.png"),
        "calibration": figures.save(figures.calibration(panels), out / "calibration.png"),
    }
    if write_overlays(test, out / "overlays", config.overlays):
        files["overlays"] = out / "overlays"
    write_text(out / "evaluation.md", text)
    for page in made:
        files |= page.write(out)
        sections += page.parts(out)
    files["report"] = write_evaluation_page(config, test, judged_on, sections, notes)
    files |= {"table": out / "evaluation.md", "table_csv": write_csv(table, out / "evaluation.csv")}
    return files


def _write_run(config: EvaluateConfig, counts: dict[str, int], seconds: float) -> Path:
    """The resolved config, versions, counts and seconds."""
    run = {
        "config": stored_config(config),
        "versions": versions(),
        "counts": counts,
        "seconds": round(seconds, 2),
    }
    path = Path(config.out) / "run.yaml"
    write_text(path, yaml.safe_dump(run, sort_keys=False))
    return path
