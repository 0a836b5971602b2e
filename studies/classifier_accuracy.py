"""Accuracy of classifiers, zero-shot against fine-tuned (figure 4 of "Classification-to-Segmentation ...").

python -m studies.classifier_accuracy benchmarks/prompters_isic2018 --images ../shared/data/isic2018 \
    --splits configs/splits/isic2018.json \
    mobilenetv2_100=../shared/weights/mobilenetv2_100_imagenet.safetensors,runs/isic2018_classifier/report.csv

A classifier is TIMM_MODEL=WEIGHTS,REPORT: ImageNet's weights, and the report.csv of its `sqp fit classifier` (with the
split in report_splits). ImageNet has no melanoma, so zero-shot can only mean ImageNet's features under a head of two
classes that nobody trained: its accuracy is that of chance and stands for 200 random heads (mean, 2.5 and 97.5 %).
Beside it the accuracy of always saying "other". Writes classifiers.csv and classifiers.png. Nothing is chosen here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

from sqp.config.fit import FitClassifierConfig
from sqp.core.errors import ConfigError
from sqp.core.seeding import torch_generator
from sqp.core.types import Case
from sqp.data import read_image
from sqp.fit.classifier import OTHER, label_of
from sqp.fit.data import split_cases
from sqp.prompts.classifier import Classifier, load_classifier
from sqp.report.figures import PALETTE, STYLE, labelled, save
from sqp.report.tables import write_csv
from studies.runner import option, status, study

HEADS = 200


@torch.no_grad()
def pooled_features(classifier: Classifier, cases: Sequence[Case]) -> Tensor:
    """What the classifier's head reads, `[n, d]`."""
    network = classifier.network
    rows = []
    for case in tqdm(cases, unit="image", disable=None):
        pixels, _ = classifier.pixels(read_image(case.image_path))
        rows.append(network.forward_head(network.forward_features(pixels), pre_logits=True)[0])
    return torch.stack(rows)


def random_heads(features: Tensor, truth: np.ndarray, heads: int = HEADS) -> np.ndarray:
    """Accuracy `[heads]` of heads of two classes with weights as `nn.Linear` starts, seeds 0, 1, ..."""
    found = []
    for seed in range(heads):
        head = nn.Linear(features.shape[1], 2)
        bound = features.shape[1] ** -0.5
        for parameter in head.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=torch_generator(seed, "random head"))
        found.append(float((head(features).argmax(1).numpy() == truth).mean()))
    return np.array(found)


def rows_of(name: str, files: str, cases: Sequence[Case], split: str) -> list[dict[str, object]]:
    """The zero-shot and the fine-tuned row of one classifier."""
    weights, comma, report = files.partition(",")
    if not comma:
        raise ConfigError(f"write a classifier as MODEL=WEIGHTS,REPORT, not '{name}={files}'")
    table = pd.read_csv(report)
    table = table[table["split"] == split].drop(columns="split")
    if table.empty:
        raise ConfigError(f"{report} tells nothing of the split {split}: fit again with --report_splits '[{split}]'")
    truth = np.array([label_of(case, "melanoma") != OTHER for case in cases], dtype=int)
    values = random_heads(pooled_features(load_classifier(model=name, weights=weights), cases), truth)
    low, high = np.percentile(values, (2.5, 97.5))
    row = {"classifier": name, "kind": "zero-shot, random head", "n": len(cases), "measure": "accuracy"}
    rows: list[dict[str, object]] = [row | {"value": values.mean(), "low": low, "high": high}]
    return rows + [{"classifier": name, "kind": "fine-tuned"} | dict(found) for _, found in table.iterrows()]


def figure_of(table: pd.DataFrame, majority: float) -> Figure:
    """Accuracy a classifier, zero-shot beside fine-tuned, and of always saying "other"."""
    names = list(dict.fromkeys(table["classifier"]))
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    part = table[table["measure"] == "accuracy"]
    for k, (kind, rows) in enumerate(part.groupby("kind", sort=False)):
        at = np.array([names.index(name) for name in rows["classifier"]]) + 0.2 * (2 * k - 1)
        error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axes.bar(at, rows["value"], 0.38, yerr=error, color=PALETTE[k], label=kind, capsize=3)
    axes.axhline(majority, color="#555555", linestyle="--", label='always "other"')
    labelled(axes, "", "accuracy, melanoma or not")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=STYLE["text"], loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3, frameon=False)
    return figure


@study(
    "out",
    option("classifiers", nargs="+", metavar="MODEL=WEIGHTS,REPORT"),
    option("--images", type=Path, required=True),
    option("--splits", type=Path),
    option("--split", default="test"),
)
def main(args: argparse.Namespace) -> None:
    """Measure, write, print."""
    config = FitClassifierConfig(args.images, args.out, splits=args.splits)
    cases = [case for case in split_cases(config) if case.split == args.split and case.diagnosis]
    if not cases:
        raise ConfigError(f"no image of {args.images} is in the split {args.split} and has a diagnosis")
    pairs = [text.partition("=") for text in args.classifiers]
    table = pd.DataFrame([row for name, _, files in pairs for row in rows_of(name, files, cases, args.split)])
    majority = float(np.mean([label_of(case, "melanoma") == OTHER for case in cases]))
    always = {"classifier": "-", "kind": 'always "other"', "n": len(cases), "measure": "accuracy", "value": majority}
    args.out.mkdir(parents=True, exist_ok=True)
    save(figure_of(table, majority), args.out / "classifiers.png")
    table = pd.concat([table, pd.DataFrame([always])], ignore_index=True)
    write_csv(table, args.out / "classifiers.csv")
    print(table.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    sys.exit(status(main))
