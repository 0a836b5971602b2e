"""Thresholded heatmaps as noisy masks (Table 1 of "Classification-to-Segmentation: Class Activation Mapping ...").

python -m studies.cam_masks runs/cam_masks \
    mobilenetv2=runs/isic2018_classifier/mobilenetv2_100-melanoma-seed0.safetensors \
    mobilenetv2_zero_shot=mobilenetv2_100:../shared/weights/mobilenetv2_100_imagenet.safetensors \
    --images ../shared/data/isic2018 --splits configs/splits/isic2018.json --split val \
    --methods gradcam gradcam++ ablationcam scorecam randomcam --percentiles 60 70 80 90

A classifier is NAME=CHECKPOINT (of `sqp fit classifier`) or NAME=TIMM_MODEL:WEIGHTS (ImageNet's classes). Choose the
percentile on val, then run --split test once. Writes OUT/rows.csv (a row per image and setting) and OUT/summary.csv:
means with 95 % intervals by group, the share of failures (IoU = 0), of constant heatmaps (`flat`), and of images where
fewer than 4 pixels are active, so that Algorithm 1 samples its box (`sampled`). F1 is the Dice, as in the paper.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sqp.config.generate import GenerateConfig
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.metrics.overlap import dice, iou, precision, recall
from sqp.prompts.activation import ENOUGH, threshold_mask
from sqp.prompts.cam import at_image, class_heatmap
from sqp.prompts.classifier import Classifier, load_classifier
from sqp.report.tables import write_csv
from studies.runner import cases_of, loaded_with_truth, means, option, rows_of_cases, status, study

KEYS = ["classifier", "method", "threshold_at", "percentile"]
MEASURES = {"precision": precision, "recall": recall, "iou": iou, "dice": dice}


def rows_of(case: Case, classifiers: dict[str, Classifier], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The measures of one image at every setting. CaseError where it cannot be used."""
    loaded = loaded_with_truth(case)
    for name, classifier in classifiers.items():
        for method in args.methods:
            generator = numpy_generator(0, case.image_id, method)
            grid, frame = class_heatmap(
                classifier, loaded.image, method, args.target, channels=args.channels, generator=generator
            )
            full = at_image(grid, frame).numpy()
            for place, percentile in product(args.threshold_at, args.percentiles):
                heatmap = full if place == "image" else grid.numpy()
                mask = threshold_mask(heatmap, percentile)
                active = int(mask.sum())
                if place == "grid":
                    mask = frame.grid_to_image(grid.new_tensor(mask)).numpy() >= 0.5
                found = {key: measure(mask, loaded.truth) for key, measure in MEASURES.items()}
                setting = dict(zip(KEYS, (name, method, place, percentile), strict=True))
                yield setting | found | {"sampled": active < ENOUGH, "flat": bool(np.ptp(heatmap) == 0)}


def classifier_of(text: str) -> Classifier:
    """CHECKPOINT, or TIMM_MODEL:WEIGHTS."""
    model, colon, weights = text.partition(":")
    return load_classifier(model=model, weights=weights) if colon else load_classifier(text)


@study(
    "out",
    option("classifiers", nargs="+", metavar="NAME=FILE"),
    option("--images", type=Path, required=True),
    option("--splits", type=Path),
    option("--split", default="val"),
    option("--max_images", type=int, default=0),
    option("--methods", nargs="+", default=["gradcam", "gradcam++", "randomcam"]),
    option("--percentiles", nargs="+", type=float, default=[60.0, 70.0, 80.0, 90.0]),
    option("--threshold_at", nargs="+", default=["image"], choices=["image", "grid"]),
    option("--target", default="predicted"),
    option("--channels", type=int, default=64),
)
def main(args: argparse.Namespace) -> None:
    """Run every setting and print the summary."""
    config = GenerateConfig(args.images, args.out, splits=args.splits, only=[args.split], max_images=args.max_images)
    classifiers = {name: classifier_of(file) for name, _, file in (text.partition("=") for text in args.classifiers)}
    rows = rows_of_cases(cases_of(config), lambda case: rows_of(case, classifiers, args))
    more = {"failures": lambda part: (part["iou"] == 0).mean()}
    more |= {name: lambda part, name=name: part[name].mean() for name in ("sampled", "flat")}
    summary = means(rows, KEYS, MEASURES, more)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, args.out / "rows.csv")
    write_csv(summary, args.out / "summary.csv")
    print(summary[[*KEYS, "images", *MEASURES, *more]].to_string(index=False))


if __name__ == "__main__":
    sys.exit(status(main))
