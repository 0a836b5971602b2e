"""Prompters on the same images: Dice, IoU, precision, recall, failures, and how well its scores know the Dice.

python -m studies.prompters runs/prompters benchmarks/prompters_isic2018 \
    runs/isic2018_prompters runs/isic2018_mobilesam --model runs/isic2018/model/bundle

Reads the natural records of one split of each record set, a row a segmenter and prompter; what a prompter is (CAM
method, classifier, zero-shot or fine-tuned) comes from the set's run.yaml. `fallback` is the share of images on which a
prompter had to take its second way (a constant heatmap, Algorithm 1's fewer than 4 active pixels, no box found).
Beside each CAM stands its difference in Dice to RandomCAM with the same classifier and to the prompter `centre_box`,
image by image; best-of takes for each image the best mask of one classifier's CAM methods, by the truth (the paper's,
an oracle) and by the predicted Dice.
Measured pixels and predictions are kept in the first folder; the second gets prompters.csv, .md, iou.png, cams.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sqp.core.errors import ConfigError
from sqp.evaluation.paired import correlation_rows, mean_cells
from sqp.evaluation.pixels import measured
from sqp.metrics.stats import Resamples
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.predict import predict_records
from sqp.records import RecordSet
from sqp.report.figures import PALETTE, STYLE, labelled, save
from sqp.report.tables import write_csv
from studies.best_of import choose
from studies.runner import option, shown, status, study, write_page

KEYS = ["segmenter", "classifier", "fitted", "prompter"]
MEASURES = ("dice", "iou", "precision", "recall")
RANDOM, CENTRE_BOX = "randomcam", "centre_box"
ORACLE, OURS = "best-of by the truth (oracle)", "best-of by predicted_dice"
HEADINGS = {
    "segmenter": "segmenter",
    "classifier": "classifier",
    "fitted": "classifier is",
    "prompter": "prompter",
    "n": "n",
    **{name: name.capitalize() if name != "iou" else "IoU" for name in MEASURES},
    "failures": "IoU = 0",
    "fallback": "fallback",
    "c_lesion_spearman": "Spearman of C_lesion",
    "predicted_dice_spearman": "Spearman of predicted Dice",
    "to_random": "Dice - RandomCAM's",
    "to_centre_box": "Dice - centre box's",
}


def what(config: Mapping[str, Any], name: str) -> dict[str, str]:
    """Classifier, whether it was fitted, and CAM method of a prompter of a generate config; "" for other prompters."""
    one = config.get("prompters", {}).get(name, {})
    if one.get("prompter") != "cam":
        return {"classifier": "", "fitted": "", "method": ""}
    fitted = "fine-tuned" if one.get("checkpoint") else "zero-shot"
    classifier = one.get("model") or Path(one["checkpoint"]).stem.split("-")[0]
    return {"classifier": str(classifier), "fitted": fitted, "method": str(one.get("method", "gradcam"))}


def read_rows(folder: Path, split: str, bundle: Bundle | None, work: Path) -> pd.DataFrame:
    """A row a natural record of the split: KEYS, method, fallback, MEASURES, C_lesion, the model's predicted Dice."""
    records = RecordSet(folder)
    table = records.table
    own = table["natural"] & (table["parent_record_id"] == "") & (table["split"] == split)
    table = table[own & (table["segmenter"] != "given") & table["dice"].notna()]
    if table.empty:
        raise ConfigError(f"{folder} holds no natural record with truth of the split {split}")
    rows = table[["record_id", "image_id", "group", "segmenter", "prompter", "dice", "iou", "c_lesion"]].copy()
    pixels = measured(table.assign(record_set=str(folder)), work / folder.name, probability=False, surface=False)
    rows[["precision", "recall"]] = pixels[["precision", "recall"]].astype(float)
    made_by = table["prompt"].map(lambda text: json.loads(text)["made_by"])
    rows["fallback"] = made_by.str.contains("_(?:sampled|flat|fallback|empty)$", regex=True).astype(float)
    for name in rows["prompter"].unique():
        for key, value in what(records.config, name).items():
            rows.loc[rows["prompter"] == name, key] = value
    if bundle is not None:
        rows["predicted_dice"] = rows["record_id"].map(predicted(folder, rows["record_id"], bundle, work / folder.name))
    if cascade := records.config.get("cascade"):
        rows["prompter"] += f" > {cascade} > box"
    return rows


def predicted(folder: Path, ids: pd.Series, bundle: Bundle, work: Path) -> pd.Series:
    """The predicted Dice by record id; kept in `work` until the bundle is made anew or other records are asked for."""
    kept = work / "predicted.csv"
    if kept.exists() and kept.stat().st_mtime > (Path(bundle.name) / "bundle.json").stat().st_mtime:
        known = pd.read_csv(kept, index_col="record_id")["predicted_dice"]
        if set(ids) <= set(known.index):
            return known
    found = predict_records(bundle.anywhere(), [folder], record_ids=set(ids)).set_index("record_id")["predicted_dice"]
    write_csv(found.reset_index(), kept)
    return found


def with_best_of(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """For each classifier the best of its CAM methods on each image, RandomCAM left out: an oracle's and ours."""
    cams = rows[(rows["classifier"] != "") & (rows["method"] != RANDOM)]
    for _, part in cams.groupby(KEYS[:3], sort=False):
        n = part.groupby("prompter")["image_id"].nunique()
        part = part[part["prompter"].map(n) == n.max()]  # methods on a subset of the images are no choice on the rest
        for name, by in ((ORACLE, "dice"), (OURS, "predicted_dice")):
            if by in part:
                wide = part.reset_index().pivot(index="image_id", columns="prompter", values=by)
                chosen = wide.columns[choose(wide.to_numpy(), 0)]
                pairs = pd.MultiIndex.from_arrays([wide.index, chosen])
                yield part.set_index(["image_id", "prompter"]).loc[pairs].reset_index().assign(prompter=name, method="")


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a segmenter, classifier and prompter."""
    out = []
    for key, part in rows.groupby(KEYS, sort=False):
        resamples = Resamples.draw(part["group"].to_numpy(), 2000)
        row: dict[str, Any] = dict(zip(KEYS, key, strict=True)) | {"n": len(part), "n_groups": part["group"].nunique()}
        for name in (*MEASURES, "fallback"):
            row |= mean_cells(name, part[name].to_numpy(float), resamples)
        row |= mean_cells("failures", (part["iou"] == 0).to_numpy(float), resamples)
        scores = {name: part[name].to_numpy(float) for name in ("c_lesion", "predicted_dice") if name in part}
        for _, found in correlation_rows(scores, part["dice"].to_numpy(), resamples).iterrows():
            for end in ("", "_low", "_high"):
                row[f"{found['quantity']}_spearman{end}"] = found[f"spearman{end}"]
        same = rows[rows["segmenter"] == part["segmenter"].iloc[0]]
        if part["method"].iloc[0] not in ("", RANDOM):
            control = same[(same[KEYS[1:3]] == part[KEYS[1:3]].iloc[0]).all(axis=1) & (same["method"] == RANDOM)]
            row |= difference("to_random", part, control)
        if part["classifier"].iloc[0]:
            row |= difference("to_centre_box", part, same[same["prompter"] == CENTRE_BOX])
        out.append(row)
    return pd.DataFrame(out)


def difference(name: str, part: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    """Mean difference in Dice on the images that both have, with its interval by group."""
    both = part.merge(control[["image_id", "dice"]], on="image_id", suffixes=("", "_control"))
    if both.empty:
        return {}
    values = (both["dice"] - both["dice_control"]).to_numpy()
    return mean_cells(name, values, Resamples.draw(both["group"].to_numpy()))


def cam_figure(table: pd.DataFrame) -> Figure:
    """Mean IoU by CAM method and classifier, zero-shot and fine-tuned (figure 5 of the paper)."""
    panels = [name for name in ("zero-shot", "fine-tuned") if (table["fitted"] == name).any()]
    figure = Figure(figsize=(4.8 * len(panels) + 0.6, 3.4), layout="constrained")
    top = table["iou"].max()
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True):
        part = table[(table["fitted"] == name) & (table["method"] != "")]
        wide, n = (part.pivot_table(index="classifier", columns="method", values=key) for key in ("iou", "n"))
        axes.imshow(wide.to_numpy(), cmap="cividis", vmin=0, vmax=top, aspect="auto")
        axes.set_xticks(range(wide.shape[1]), wide.columns, rotation=20)
        axes.set_yticks(range(wide.shape[0]), wide.index)
        labelled(axes, "", "", f"{name} classifier")
        axes.grid(visible=False)
        for (y, x), value in np.ndenumerate(wide.to_numpy()):
            few = f"\nn = {n.to_numpy()[y, x]:.0f}" if n.to_numpy()[y, x] < table["n"].max() else ""
            text = f"{value:.3f}{few}" if np.isfinite(value) else "not run"
            ink = "white" if value < 0.6 * top else "black"
            axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=STYLE["text"])
    return figure


def iou_figure(rows: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Histograms of the IoU, a panel a prompter of the first segmenter, best first; one CAM classifier's methods."""
    first = table[table["segmenter"] == table["segmenter"].iloc[0]]
    cams = first[first["classifier"] != ""]
    best = cams.loc[cams["dice"].idxmax(), ["classifier", "fitted"]] if len(cams) else None
    kept = first[(first["classifier"] == "") | ((first[["classifier", "fitted"]] == best).all(axis=1))]
    kept = kept.sort_values("iou", ascending=False)
    columns = 4
    lines = -(-len(kept) // columns)
    figure = Figure(figsize=(11, 1.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(kept) :]:
        axes.remove()
    for axes, (_, row) in zip(grid.ravel(), kept.iterrows(), strict=False):
        values = rows.loc[(rows[KEYS] == row[KEYS]).all(axis=1), "iou"]
        axes.hist(values, bins=np.linspace(0, 1, 21), color=PALETTE[0])
        axes.set_title(
            f"{row['prompter']}\nmean {row['iou']:.3f}, IoU = 0: {row['failures']:.1%}", fontsize=STYLE["text"]
        )
    figure.supxlabel("IoU", fontsize=STYLE["label"])
    figure.supylabel("images", fontsize=STYLE["label"])
    return figure


@study(
    "work",
    "out",
    option("records", type=Path, nargs="+", metavar="RECORDS"),
    option("--model", type=Path, help="bundle of a quality model"),
    option("--split", default="test"),
)
def main(args: argparse.Namespace) -> None:
    """Read, measure, write."""
    bundle = Bundle.load(args.model) if args.model else None
    rows = pd.concat([read_rows(folder, args.split, bundle, args.work) for folder in args.records], ignore_index=True)
    rows = pd.concat([rows, *with_best_of(rows)], ignore_index=True)
    table = table_of(rows)
    methods = rows.drop_duplicates(KEYS).set_index(KEYS)["method"]
    table["method"] = [methods[tuple(key)] for key in table[KEYS].to_numpy()]
    table = table.sort_values(["segmenter", "dice"], ascending=[True, False], ignore_index=True)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(table, args.out / "prompters.csv")
    save(iou_figure(rows, table), args.out / "iou.png")
    if (table["method"] != "").any():
        save(cam_figure(table), args.out / "cams.png")
    write_page(args.out / "prompters.md", shown(table, HEADINGS))


if __name__ == "__main__":
    sys.exit(status(main))
