"""An evaluation: every method on the same rows of every subset, the pages of evidence, and the files of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from sqp.config.evaluate import EvaluateConfig
from sqp.core.files import write_text
from sqp.evaluation.evidence import Evidence, Page
from sqp.evaluation.pages import PAGES
from sqp.evaluation.pages.agreement import few_records
from sqp.evaluation.rows import Rows
from sqp.evaluation.subsets import Comparison, Subset, compare_subsets
from sqp.quality.judging.columns import score_names
from sqp.report import figures
from sqp.report.drawing import save_picture
from sqp.report.figures import save
from sqp.report.findings import evaluation_findings
from sqp.report.histogram import DISTRIBUTION, distribution
from sqp.report.html import Section
from sqp.report.overlays import write_overlays
from sqp.report.page import ErrorMaps, write_page
from sqp.report.predictions import prompter_label, write_predictions
from sqp.report.tables import formatted, markdown, write_csv

OTHERS = "Other subsets"
"""What the subsets beside the first are folded under."""
READING = (
    "95 % intervals from {n:,} bootstrap resamples of whole groups, the same ones for every method. Correlations are "
    "of the score as it is; R2, MAE and RMSE after a straight line to Dice, fitted on calibration rows, clipped to 0-1 "
    "(the quality model speaks in Dice itself). Differences are model - method on the rows that both have: Spearman "
    "above 0 and MAE below 0 are in the model's favour."
)


@dataclass
class Evaluation:
    """What was compared: `rows`, the `comparison` of every subset, and a page a question."""

    config: EvaluateConfig
    rows: Rows
    comparison: Comparison
    pages: Sequence[Page]

    @property
    def table(self) -> pd.DataFrame:
        """A row per subset, dataset and method, with intervals."""
        return self.comparison.table

    @property
    def left_out(self) -> str:
        """A sentence on the records that could not be read; empty where there are none."""
        lost = self.rows.unreadable
        if not lost:
            return ""
        return f"{len(lost):,} test records cannot be read and are left out: {next(iter(lost.values()))}."

    @cached_property
    def text(self) -> str:
        """The table as markdown, a section a subset."""
        intro = f"Split `{self.config.split}`. {READING.format(n=self.config.n_resamples)}"
        blocks = ["# Predicted against true Dice", intro, *([self.left_out] if self.left_out else [])]
        for part in self.comparison.parts:
            blocks += [f"## {part.title}", _about(part), markdown(formatted(self.comparison.tables[part.title]))]
        return "\n\n".join(blocks) + "\n"

    def write(self) -> dict[str, Path]:
        """Write tables, figures, pages, overlays and report.html into the config's OUT; their paths by name.

        evaluation.csv is the last: where it is, the evaluation is whole.
        """
        config, test, out = self.config, self.rows.test, Path(self.config.out)
        csv, parquet = write_predictions(out, test)
        panels = self.comparison.panels()
        files = {
            "predictions": csv,
            "predictions_parquet": parquet,
            "scatter": save(figures.predicted_vs_true(panels), out / "predicted_vs_true.png"),
            "calibration": save(figures.calibration(panels), out / "calibration.png"),
        }
        shown = save_picture(distribution(test), out / "distribution.png")
        sections = [
            Section("Predicted against true Dice", files["scatter"], "A point is a mask; on the line is right."),
            Section(
                "Calibration", files["calibration"], "True Dice of the masks that share a tenth of predicted Dice."
            ),
            Section("Predicted Dice", shown, DISTRIBUTION),
        ]
        for number, part in enumerate(self.comparison.parts):
            table = formatted(self.comparison.tables[part.title])
            sections.append(Section(part.title, table, _about(part), OTHERS if number else ""))
        if write_overlays(test, out / "overlays", config.overlays):
            files["overlays"] = out / "overlays"
        write_text(out / "evaluation.md", self.text)
        for page in self.pages:
            files |= page.write(out)
            sections += page.parts(out)
        files["report"] = self._write_report(sections)
        return files | {"table": out / "evaluation.md", "table_csv": write_csv(self.table, out / "evaluation.csv")}

    def _write_report(self, sections: Sequence[Section]) -> Path:
        """OUT/report.html: the verdict in words, of the first subset, then figures, tables and the gallery."""
        config, first = self.config, self.comparison.parts[0]
        level, error_maps = _of_model(config)
        table = self.comparison.tables[first.title]
        how = "Intervals: 95 %, bootstrap by group. Differences: model - method."
        return write_page(
            Path(config.out) / "report.html",
            self.rows.test,
            title="Segmentation quality: evaluation",
            findings=evaluation_findings(table, first.test, config.accept, config.reject, level),
            sections=sections,
            notes=f"Split {config.split}. {how} {self.left_out}",
            gallery=config.gallery,
            error_maps=error_maps,
        )


def evaluate(rows: Rows, config: EvaluateConfig) -> Evaluation:
    """Compare the model with every analytic score on the same rows, by subset, and make the pages of evidence.

    Args:
        rows: What `load_rows(config)` reads: test rows with predictions, calibration and raters rows.
        config: Subsets, targets, tiers and resamples. What is measured on masks is kept in its OUT (pixels.csv);
            nothing else is written before `Evaluation.write`.
    """
    scores = score_names(rows.test)
    comparison = compare_subsets(
        rows.test, rows.calibration, scores, config.unseen, n_resamples=config.n_resamples, seed=config.seed
    )
    evidence = Evidence(
        config, comparison.parts, comparison.whole, scores, rows.calibration, rows.raters, rows.alpha, rows.risk
    )
    return Evaluation(config, rows, comparison, [make(evidence) for make in PAGES.values()])


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


def _of_model(config: EvaluateConfig) -> tuple[float | None, ErrorMaps | None]:
    """Nominal level of the model's intervals, and what draws its error maps; None for predictions made before."""
    if config.model is None:
        return None, None
    from sqp.bundles import bundle_folder
    from sqp.quality import Bundle, ErrorMapStore  # torch and the networks: only where a model runs

    bundle = Bundle.load(bundle_folder(config.model))
    return 1 - bundle.conformal.alpha, ErrorMapStore(bundle, config.batch_size, config.device)
