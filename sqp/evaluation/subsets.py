"""The kinds of test rows that are judged apart, each with the calibration rows that belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqp.evaluation.comparison import compare, short
from sqp.records.schema import CORRUPTED, NATURAL, REFINED, kinds
from sqp.report.predictions import prompter_label

ALL = "all"  # every subset, every data set


@dataclass(frozen=True)
class Subset:
    """Test rows of one kind, and the calibration rows (`fit` says which) that lines are fitted on."""

    name: str
    dataset: str
    test: pd.DataFrame
    calibration: pd.DataFrame
    fit: str

    @property
    def title(self) -> str:
        """`natural`, or `natural, isic2018`."""
        return self.name if self.dataset == ALL else f"{self.name}, {self.dataset}"


def subsets(test: pd.DataFrame, calibration: pd.DataFrame, unseen: Sequence[str]) -> Iterator[Subset]:
    """natural, refined, spread (corrupted, seen families), spread_unseen, all; each again by dataset, if several.

    Fused and refined masks come from the samples of a natural one, which they would count again: they stand apart.
    Lines are fitted on calibration rows of the same kind; for natural masks, of the same prompters as the test rows
    (a simulated manual box tells nothing of Otsu's). Where there are none the next wider choice is taken, and `fit`
    says which. `all` is there for the comparison of the masks of one image with each other; only where kinds differ.
    """
    test_kind, kind = (_kinds(table, unseen) for table in (test, calibration))
    natural, refined, spread = (calibration[kind == name] for name in (NATURAL, REFINED, "spread"))
    alike, prompters = _alike(natural, test[test_kind == NATURAL])
    anything = (calibration, "all")
    lines = {
        NATURAL: [(alike, f"natural{prompters}"), (natural, "natural (any prompter)"), anything],
        REFINED: [(refined, "refined"), (natural, "natural (any prompter)"), anything],
        "spread": [(spread, "spread (seen families)"), anything],
        "spread_unseen": [(spread, "spread (seen families)"), anything],
        ALL: [(pd.concat([alike, spread]), f"natural{prompters} and spread (seen families)"), anything],
    }
    for name, choices in lines.items():
        rows = test if name == ALL else test[test_kind == name]
        if name == ALL and test_kind.nunique() == 1:
            continue
        own, word = next((choice for choice in choices if choice[0]["dice"].notna().sum() > 1), anything)
        datasets = sorted(rows["dataset"].fillna("").unique())
        for dataset in [ALL, *(datasets if len(datasets) > 1 else [])]:
            here = rows if dataset == ALL else rows[rows["dataset"] == dataset]
            if here["dice"].notna().any():
                yield Subset(name, dataset, here, own, f"{own['dice'].notna().sum()} {word} calibration rows")


def _alike(natural: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The natural calibration rows of the prompters of the natural test rows, and these in words."""
    if "prompter" not in natural or "prompter" not in test or test.empty:
        return natural, ""
    names = sorted(test["prompter"].unique())
    return natural[natural["prompter"].isin(names)], f" ({', '.join(map(prompter_label, names))})"


def _kinds(table: pd.DataFrame, unseen: Sequence[str]) -> pd.Series:
    """natural, refined, spread or spread_unseen, of each row."""
    kind = kinds(table)
    corrupted = np.where(table["variant"].isin(unseen), "spread_unseen", "spread")
    return pd.Series(np.where(kind == CORRUPTED, corrupted, kind), table.index)


def with_part(table: pd.DataFrame, part: Subset) -> pd.DataFrame:
    """The table with the columns subset and dataset in front."""
    return pd.DataFrame({"subset": part.name, "dataset": part.dataset}, table.index).join(table)


@dataclass(frozen=True)
class Comparison:
    """Every method on the rows of every subset: `whole` by title of a part, `tables` the columns of evaluation.csv."""

    parts: list[Subset]
    whole: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]

    @property
    def table(self) -> pd.DataFrame:
        """The tables of all parts, one below the other."""
        return pd.concat(self.tables.values(), ignore_index=True)

    def panels(self) -> dict[str, pd.DataFrame]:
        """The test rows of each kind, over all data sets, by title: what a figure has a panel for."""
        return {part.title: part.test for part in self.parts if part.dataset == ALL and part.name != ALL}


def compare_subsets(
    test: pd.DataFrame,
    calibration: pd.DataFrame,
    scores: Sequence[str],
    unseen: Sequence[str] = (),
    n_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """`compare` on each of the `subsets`, with the columns subset, dataset and fit (the rows of its lines)."""
    parts = list(subsets(test, calibration, unseen))
    whole = {part.title: compare(part.test, part.calibration, scores, n_resamples, seed) for part in parts}
    tables = {part.title: with_part(short(whole[part.title]), part).assign(fit=part.fit) for part in parts}
    return Comparison(parts, whole, tables)
