"""Thresholded heatmaps as noisy masks (Table 1 of "Classification-to-Segmentation: Class Activation Mapping ...").

python scripts/cam_masks.py runs/cam_masks \
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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from sqp.commands.generate import collect_cases, select_cases
from sqp.config.generate import GenerateConfig
from sqp.core.errors import CaseError, SqpError
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.metrics.overlap import dice, iou, precision, recall
from sqp.metrics.stats import bootstrap
from sqp.prompts.activation import ENOUGH, threshold_mask
from sqp.prompts.cam import at_image, class_heatmap
from sqp.prompts.classifier import Classifier, load_classifier
from sqp.records.load import load_case
from sqp.report.tables import write_csv

KEYS = ["classifier", "method", "threshold_at", "percentile"]
MEASURES = {"precision": precision, "recall": recall, "iou": iou, "dice": dice}


def rows_of(case: Case, classifiers: dict[str, Classifier], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The measures of one image at every setting. CaseError where it cannot be used."""
    loaded = load_case(case)
    if loaded.truth is None:
        raise CaseError(f"{case.image_id} has no ground truth")
    for name, classifier in classifiers.items():
        for method in args.methods:
            generator = numpy_generator(0, case.image_id, method)
            grid, frame = class_heatmap(
                classifier, loaded.image, method, args.target, channels=args.channels, generator=generator
            )
            full = at_image(grid, frame).numpy()
            for place in args.threshold_at:
                heatmap = full if place == "image" else grid.numpy()
                for percentile in args.percentiles:
                    mask = threshold_mask(heatmap, percentile)
                    active = int(mask.sum())
                    if place == "grid":
                        mask = frame.grid_to_image(grid.new_tensor(mask)).numpy() >= 0.5
                    found = {key: measure(mask, loaded.truth) for key, measure in MEASURES.items()}
                    setting = dict(zip(KEYS, (name, method, place, percentile), strict=True))
                    row = {"image_id": case.image_id, "group": case.group} | setting | found
                    yield row | {"sampled": active < ENOUGH, "flat": bool(np.ptp(heatmap) == 0)}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means a setting, with their intervals by group."""
    out = []
    for key, part in rows.groupby(KEYS, sort=False):
        row: dict[str, Any] = dict(zip(KEYS, key, strict=True)) | {"images": len(part)}
        for name in MEASURES:
            low, high = bootstrap(np.mean, part[name].to_numpy(), group=part["group"].to_numpy())
            row |= {name: part[name].mean(), f"{name}_low": low, f"{name}_high": high}
        row |= {"failures": (part["iou"] == 0).mean(), "sampled": part["sampled"].mean(), "flat": part["flat"].mean()}
        out.append(row)
    return pd.DataFrame(out)


def classifier_of(text: str) -> Classifier:
    """CHECKPOINT, or TIMM_MODEL:WEIGHTS."""
    model, colon, weights = text.partition(":")
    return load_classifier(model=model, weights=weights) if colon else load_classifier(text)


def main(argv: list[str] | None = None) -> None:
    """Run every setting and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("classifiers", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--max_images", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=["gradcam", "gradcam++", "randomcam"])
    parser.add_argument("--percentiles", nargs="+", type=float, default=[60.0, 70.0, 80.0, 90.0])
    parser.add_argument("--threshold_at", nargs="+", default=["image"], choices=["image", "grid"])
    parser.add_argument("--target", default="predicted")
    parser.add_argument("--channels", type=int, default=64)
    args = parser.parse_args(argv)
    config = GenerateConfig(args.images, args.out, splits=args.splits, only=[args.split], max_images=args.max_images)
    try:
        classifiers = {
            name: classifier_of(file) for name, _, file in (text.partition("=") for text in args.classifiers)
        }
        cases = select_cases(collect_cases(config)[0], config)
        rows = []
        for case in tqdm(cases, unit="image", disable=None):
            try:
                rows += list(rows_of(case, classifiers, args))
            except CaseError as error:
                tqdm.write(f"skipped {case.image_id}: {error}")
    except SqpError as error:
        sys.exit(f"cam_masks: {error}")
    if not rows:
        sys.exit(f"cam_masks: no image of {args.images} could be used")
    table = pd.DataFrame(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(table, args.out / "rows.csv")
    found = summary(table)
    write_csv(found, args.out / "summary.csv")
    print(found[[*KEYS, "images", *MEASURES, "failures", "sampled", "flat"]].to_string(index=False))


if __name__ == "__main__":
    main()
