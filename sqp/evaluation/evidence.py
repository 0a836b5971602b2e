"""A page of the evidence: what it is made from, its tables and figures, and how they become files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.config.evaluate import EvaluateConfig
from sqp.core.files import write_text
from sqp.evaluation.subsets import Subset
from sqp.metrics.stats import Resamples
from sqp.quality.judging.risk import RiskEvidence
from sqp.records.schema import NATURAL
from sqp.report.figures import save
from sqp.report.html import Section
from sqp.report.tables import formatted, markdown, write_csv


@dataclass(frozen=True)
class Evidence:
    """What every page is made from: the parts of the test rows, calibration and raters rows with predictions.

    `compared`: by title of a part the whole comparison of its methods in Dice. `alpha`: of the model's interval;
    `risk`: what it tests thresholds on, None where that is not known.
    """

    config: EvaluateConfig
    parts: list[Subset]
    compared: Mapping[str, pd.DataFrame]
    scores: list[str]
    calibration: pd.DataFrame
    raters: pd.DataFrame
    alpha: float
    risk: RiskEvidence | None = None

    def resamples(self, rows: pd.DataFrame) -> Resamples:
        """The bootstrap of these rows, by group."""
        return Resamples.draw(rows["group"].astype(str).to_numpy(), self.config.n_resamples, self.config.seed)

    def natural(self) -> list[Subset]:
        """The parts of natural masks: all of them, and each data set where there are several."""
        return [part for part in self.parts if part.name == NATURAL]


@dataclass(frozen=True)
class Shown:
    """What the markdown shows of a table: the columns that `headings` names, below `title` and `about`."""

    title: str
    about: str
    table: pd.DataFrame
    headings: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """NAME.md with its sections, FILE.csv of each list of tables, and NAME_FIGURE.png (NAME.png where it has none)."""

    name: str
    title: str
    reading: str
    sections: list[Shown] = field(default_factory=list)
    tables: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    figures: dict[str, tuple[str, Figure]] = field(default_factory=dict)

    def add(self, file: str, table: pd.DataFrame) -> None:
        """Append the rows of a table to FILE.csv."""
        self.tables.setdefault(file, []).append(table)

    def show(self, title: str, about: str, table: pd.DataFrame, headings: Mapping[str, str], file: str = "") -> None:
        """Append a section; where a file is named, its table to FILE.csv, too."""
        self.sections.append(Shown(title, about, table, headings))
        if file:
            self.add(file, table)

    def text(self) -> str:
        """The markdown."""
        pictures = [f"![{caption}]({self._stem(name)}.png)" for name, (caption, _) in self.figures.items()]
        blocks = [f"# {self.title}", self.reading, *pictures]
        for section in self.sections:
            blocks += [f"## {section.title}", *([section.about] if section.about else [])]
            blocks += [markdown(formatted(section.table, section.headings)) if len(section.table) else "No rows."]
        return "\n\n".join(blocks) + "\n"

    def write(self, out: Path) -> dict[str, Path]:
        """Write everything; the paths by file name without ending."""
        write_text(out / f"{self.name}.md", self.text())
        files = {self.name: out / f"{self.name}.md"}
        for file, tables in self.tables.items():
            files[f"{file}_csv"] = write_csv(pd.concat(tables, ignore_index=True), out / f"{file}.csv")
        for name, (_, figure) in self.figures.items():
            stem = self._stem(name)
            files[f"{stem}_png"] = save(figure, out / f"{stem}.png")
        return files

    def parts(self, out: Path) -> list[Section]:
        """What the HTML page shows of it, once it is written."""
        figures = [
            Section(caption, out / f"{self._stem(name)}.png", group=self.title)
            for name, (caption, _) in self.figures.items()
        ]
        tables = [
            Section(shown.title, formatted(shown.table, shown.headings), shown.about, self.title)
            for shown in self.sections
            if len(shown.table)
        ]
        return figures + tables

    def _stem(self, figure: str) -> str:
        return f"{self.name}_{figure}" if figure else self.name


def known(rows: pd.DataFrame, column: str = "dice") -> pd.DataFrame:
    """The rows in which the column is finite, indices 0..n-1."""
    return rows[np.isfinite(rows[column].to_numpy(float))].reset_index(drop=True)
