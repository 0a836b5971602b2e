"""Tables and box plots of what `studies/methods.py` measured.

python -m studies.methods_report runs/methods/litemedsam benchmarks/methods_isic2018/litemedsam

Writes into the folder: methods.csv and methods.md (every method on test, means with 95 % intervals, 2,000 bootstrap
resamples of whole groups; Wilcoxon's signed-rank test by group of Dice and NLL against the normal pass, corrected by
Holm over the methods), ur_sam.md (its ablation and comparators), chosen.csv (what was chosen on val) and boxes.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.core.files import write_text
from sqp.metrics.paired import paired_tests
from sqp.metrics.stats import bootstrap
from sqp.report.figures import PALETTE, STYLE, save
from sqp.report.tables import markdown, p_value, write_csv
from studies.methods import NORMAL, read_rows
from studies.runner import status, study, write_page

FILLS = (*PALETTE[:-1], "#BBBBBB", "#F0E442")  # no black: the median is
METRICS = ("dice", "iou", "accuracy", "precision", "recall", "nll", "ece", "brier", "certainty")
BOXES = {
    NORMAL: "normal",
    "mc_dropout": "MC dropout",
    "tta": "TTA",
    "noise": "noise",
    "prompt_jitter": "prompt jitter",
    "all inverse": "fusion",
    "all crf": "CRF",
    "ur_sam class T midpoint": "UR-SAM",
    "tta class T midpoint": "UR-SAM",
}
"""Methods that are drawn, of those that the run has."""


def load(folder: Path) -> pd.DataFrame:
    """A row an image and method, with the method's `name`; images that lack a method are left out."""
    rows = read_rows(folder)
    names = [named(*values) for values in zip(rows["of"], rows["step"], rows["options"], strict=True)]
    return rows.assign(name=names)


def named(of: str, step: str, options: str) -> str:
    """`tta`, `tta power_law alpha=2`; the name of a learned fusion's file is left out."""
    shown = {key: value for key, value in json.loads(options).items() if key != "model"}
    text = " ".join(f"{key}={value}" for key, value in shown.items())
    return " ".join(part for part in (of, "" if step == "mean" else step, text) if part)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a method: mean and interval of each metric, the tests against the normal pass, masks left unchanged."""
    wide = {metric: rows.pivot(index="image_id", columns="name", values=metric) for metric in METRICS}
    group = rows.drop_duplicates("image_id").set_index("image_id")["group"].loc[wide["dice"].index].to_numpy()
    order = list(dict.fromkeys(rows["name"]))
    found = {m: paired_tests({name: wide[m][name] for name in order}, NORMAL, group) for m in ("dice", "nll")}
    tests = {metric: {test.b: test for test in pairs} for metric, pairs in found.items()}
    out = []
    for name in order:
        part = rows[rows["name"] == name]
        row: dict[str, object] = {"method": name, "n": len(part)}
        for metric in METRICS:
            values = wide[metric][name].to_numpy()
            interval = bootstrap(nanmean, values, group=group)
            row |= {metric: nanmean(values), f"{metric}_low": interval.low, f"{metric}_high": interval.high}
        for metric, test in tests.items():
            row[f"{metric}_difference"] = -test[name].mean_difference if name in test else np.nan
            row[f"{metric}_p_holm"] = test[name].p_holm if name in test else np.nan
        row["dice_0"] = int((part["dice"] == 0).sum())
        row["unchanged"] = int((part["unchanged"].fillna("") != "").sum())
        out.append(row)
    return pd.DataFrame(out)


def nanmean(values: np.ndarray) -> float:
    """Mean of what is defined; certainty is NaN on an empty mask."""
    return float(np.nanmean(values))


def text(part: pd.DataFrame) -> str:
    """The table as markdown: Dice and NLL with intervals, the others as means."""
    out = pd.DataFrame({"method": part["method"].str.replace(r"( \w+=\S+)+$", "", regex=True)})
    out["options"] = part["method"].str.findall(r"\w+=\S+").str.join(", ")
    out["n"] = part["n"].astype(str)
    for metric in METRICS:
        cells = [f"{value:.3f}" for value in part[metric]]
        if metric in ("dice", "nll"):
            ends = zip(cells, part[f"{metric}_low"], part[f"{metric}_high"], strict=True)
            cells = [f"{cell} [{low:.3f}, {high:.3f}]" for cell, low, high in ends]
        out[metric] = cells
    for metric in ("dice", "nll"):
        ends = zip(part[f"{metric}_difference"], part[f"{metric}_p_holm"], strict=True)
        out[f"{metric} - normal (p)"] = ["–" if np.isnan(d) else f"{d:+.3f} ({p_value(p)})" for d, p in ends]
    return markdown(out)


def boxes(rows: pd.DataFrame) -> Figure:
    """A panel a metric, a box a method: median, quartiles, whiskers to 1.5 times the middle half."""
    drawn: dict[str, pd.DataFrame] = {}
    for key, label in BOXES.items():
        part = rows[(rows["of"] + rows["step"].map(lambda step: "" if step == "mean" else f" {step}")) == key]
        if len(part):
            drawn[label] = part
    figure = Figure(figsize=(14, 10.5), layout="constrained")
    for axes, metric in zip(figure.subplots(3, 3).ravel(), METRICS, strict=True):
        values = [part[metric].dropna().to_numpy() for part in drawn.values()]
        art = axes.boxplot(values, patch_artist=True, widths=0.65, flierprops={"ms": 2, "alpha": 0.35})
        for patch, colour in zip(art["boxes"], FILLS, strict=False):
            patch.set(facecolor=colour, alpha=0.55)
        for line in art["medians"]:
            line.set(color="black", lw=1.6)
        axes.set_xticks(range(1, len(drawn) + 1), list(drawn), rotation=35, ha="right", fontsize=STYLE["tick"])
        axes.set_title({"nll": "NLL (nats)", "ece": "ECE", "iou": "IoU"}.get(metric, metric.capitalize()), fontsize=13)
        if metric in ("nll", "ece", "brier"):
            axes.set_ylim(0, float(np.quantile(np.concatenate(values), 0.98)))
        axes.grid(axis="y", alpha=0.25)
    return figure


@study("run", "out")
def main(args: argparse.Namespace) -> None:
    """Write the tables and the plot."""
    rows, folder = load(args.run / "test"), args.out
    folder.mkdir(parents=True, exist_ok=True)
    found = table(rows)
    write_csv(found, folder / "methods.csv")
    of, step = rows.drop_duplicates("name")[["of", "step"]].to_numpy().T
    base = of[np.flatnonzero(step == "class T midpoint")[0]]  # the samples that UR-SAM works on
    ur_sam = (of == NORMAL) | ((of == base) & pd.Series(step).str.match("mean$|class T|fixed T|unc_").to_numpy())
    write_text(folder / "ur_sam.md", text(found[ur_sam]) + "\n")
    val = load(args.run / "val").groupby(["of", "step", "name"], sort=False)["dice"].mean().reset_index()
    best = val.groupby(["of", "step"])["dice"].transform("max")
    write_csv(val.assign(chosen=val["dice"] == best), folder / "chosen.csv")
    save(boxes(rows), folder / "boxes.png")
    write_page(folder / "methods.md", text(found))


if __name__ == "__main__":
    sys.exit(status(main))
