"""What is said of a judge on tasks that it has not seen: rows by task and number of references, table, figure.

`any_modality` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.evaluation.comparison import MEDIAN, MODEL, compare
from sqp.evaluation.paired import Paired
from sqp.metrics.selective import aurc
from sqp.metrics.stats import Resamples

RCA = ("rca_max", "rca_mean", "rca_median")
SUBSETS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "spread": lambda rows: ~rows["natural"].astype(bool),
    "natural": lambda rows: rows["natural"].astype(bool),
    "all": lambda rows: pd.Series(True, rows.index),
}
"""Corrupted masks, whose Dice covers the whole range; masks as LiteMedSAM and classical methods make them; both."""
ALONE = "before the correction"
"""The judge without what references teach it."""
COLOURS = {
    MODEL: "#0072B2",
    ALONE: "#D55E00",
    "referee_dice": "#E69F00",
    "rca_max": "#009E73",
    "rca_mean": "#CC79A7",
    "rca_median": "#56B4E9",
}
MARKERS = dict(zip(COLOURS, "oXsD^v", strict=True))


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with what the folder TASK/MAKER/PART_K_DRAW of their record set tells, without what says nothing.

    Masks that are the referee's own answer are left out, as nothing independent is said of them.
    """
    folders = rows["record_set"].map(Path)
    names = folders.map(lambda folder: folder.name.split("_"))
    rows = rows.assign(
        task=folders.map(lambda folder: folder.parent.parent.name),
        maker=folders.map(lambda folder: folder.parent.name),
        part=names.str[0],
        k=names.str[1].astype(int),
        draw=names.str[2].astype(int),
    )
    return rows[~rows["referee_own"].astype(bool) & rows["dice"].notna()].reset_index(drop=True)


def table_of(
    rows: pd.DataFrame, calibration: pd.DataFrame, against: Sequence[str], n_resamples: int, subsets: Sequence[str]
) -> pd.DataFrame:
    """A row for each task, number of references, subset and method.

    Draws of the references are pooled, as further rows of the same groups. Scores go through a line fitted on the
    calibration rows of the seen tasks beside as many references, as far as there are such; else beside any.
    """
    tables = []
    for (task, k), part in rows.groupby(["task", "k"]):
        seen = calibration[calibration["task"] != task]
        line = seen[seen["k"] == k] if (seen["k"] == k).any() else seen[seen["k"] > 0]
        for subset in subsets:
            test = part[SUBSETS[subset](part)].reset_index(drop=True)
            if len(test) > 1:
                found = compare(test, line, against, n_resamples, details=False).set_index("method")
                found = found.join(_aurc(test, against, n_resamples)).reset_index()
                tables.append(found.assign(task=task, k=k, subset=subset, draws=test["draw"].nunique()))
    table = pd.concat(tables, ignore_index=True)
    keys = ["task", "k", "draws", "subset"]
    return table[[*keys, *(name for name in table if name not in keys)]]


def _aurc(test: pd.DataFrame, against: Sequence[str], n_resamples: int) -> pd.DataFrame:
    """The area under the risk-coverage curve of the model and each score, risk 1 - Dice."""
    methods = {MODEL: (test["predicted_dice"].to_numpy(float),)} | {n: (test[n].to_numpy(float),) for n in against}
    shared = (1 - test["dice"].to_numpy(float),)
    paired = Paired(_area, shared, Resamples.draw(test["group"].astype(str).to_numpy(), n_resamples))
    found = pd.DataFrame([{"method": name, **paired.row(name, methods)} for name in methods]).set_index("method")
    return found[[name for name in found if name.startswith("aurc")]]


def _area(weights: np.ndarray, score: np.ndarray, risk: np.ndarray) -> dict[str, np.ndarray]:
    return {"aurc": aurc.over(weights, score, risk)}


def over_tasks(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over tasks of each statistic, for each number of references, subset and method, and the least r."""
    statistics = ["sd_dice", "pearson", "spearman", "mae", "aurc", "coverage", "width"]
    grouped = table.groupby(["k", "subset", "method"], sort=False)
    found = grouped[statistics].mean().join(grouped["pearson"].min().rename("least_pearson"))
    return found.join(grouped["n"].sum()).reset_index()


def pooled_quantile(rows: pd.DataFrame, alpha: float) -> float:
    """The residual in scales that the share alpha of masks exceeds, each task counting once and each group in it.

    Of models that have not seen the task of a row. No promise for the next task: with so few tasks there is none.
    """
    residual = ((rows["dice"] - rows["predicted_dice"]).abs() / rows["scale"]).to_numpy(float)
    of_group = rows.groupby(["task", "group"])["dice"].transform("size")
    weight = 1 / (of_group * rows.groupby("task")["group"].transform("nunique"))
    order = np.argsort(residual, kind="stable")
    mass = np.cumsum(weight.to_numpy(float)[order]) / rows["task"].nunique()
    return float(residual[order][np.searchsorted(mass, 1 - alpha - 1e-9)])


def with_intervals(rows: pd.DataFrame, others: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The rows with low and high as wide as the residuals on other tasks ask for (`others`, not of test).

    These were judged by models that had not seen them; corrected predictions go by corrected ones.
    """
    found = []
    for (task, corrected), part in rows.groupby(["task", "corrected"]):
        alike = others[(others["task"] != task) & (others["corrected"] == corrected)]
        half = pooled_quantile(alike, alpha) * part["scale"]
        ends = {"low": part["predicted_dice"] - half, "high": part["predicted_dice"] + half}
        found.append(part.assign(**{name: end.clip(0, 1) for name, end in ends.items()}))
    return pd.concat(found, ignore_index=True)


def figure(means: pd.DataFrame) -> Figure:
    """r and MAE against the number of references, means over tasks, on spread masks."""
    spread = means[means["subset"] == "spread"]
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    ks = sorted(spread["k"].unique())
    for axis, (name, label) in zip(axes, (("pearson", "Pearson r"), ("mae", "MAE")), strict=True):
        for method, colour in COLOURS.items():
            line = spread[spread["method"] == method].set_index("k")[name].reindex(ks)
            shown = "judge" if method == MODEL else method
            axis.plot(range(len(ks)), line, marker=MARKERS[method], color=colour, label=shown)
        if name == "mae":
            constant = spread[spread["method"] == MEDIAN].set_index("k")[name].reindex(ks)
            axis.plot(range(len(ks)), constant, color="0.5", linestyle="--", label="predict the median")
        axis.set(xlabel="references", ylabel=f"{label}, mean over tasks", xticks=range(len(ks)), xticklabels=ks)
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=8)
    return fig
