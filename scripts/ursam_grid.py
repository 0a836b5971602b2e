"""UR-SAM on a grid of n and r, its ablation and its comparators (Zhang et al., arXiv 2311.10529, tables 1 to 4).

python scripts/ursam_grid.py configs/ursam_grid.yaml runs/ursam_grid [--max_images 3]

Each image is encoded once and each ratio decoded once: an ensemble of n is the first n of the same jittered prompts,
the undisturbed one included. Writes OUT/rows.csv (a row per image and setting) and OUT/summary.csv: mean Dice with a
95 % interval (2,000 bootstrap resamples of whole groups), and for how many images a rule could not be applied, so that
the mask stayed (`unchanged`; rows.csv says why).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from sqp.cli.main import from_mapping
from sqp.commands.generate import collect_cases, select_cases
from sqp.config.generate import GenerateConfig
from sqp.core.errors import CaseError
from sqp.core.seeding import torch_generator
from sqp.core.types import Case, Samples, Segmenter
from sqp.core.yaml_files import script_config
from sqp.metrics.overlap import dice
from sqp.metrics.stats import bootstrap
from sqp.records.generate_checks import check_config
from sqp.records.load import load_prompted
from sqp.records.volume_checks import of_volumes
from sqp.records.workers import make_segmenter
from sqp.report.tables import write_csv
from sqp.uncertainty import mean_probability_map, sample
from sqp.uncertainty.refine import Ensemble, Refined, refine

Method = tuple[str, float, Callable[[Ensemble], Refined]]
KEYS = ["n", "ratio", "method", "parameter"]


def methods(grid: dict[str, Any]) -> Iterator[Method]:
    """Name, its parameter (NaN where it has none), and what makes the mask of an ensemble."""
    nan = float("nan")
    yield "ensemble", nan, lambda ensemble: Refined(ensemble.mask.numpy())
    yield "class-specific T, midpoint", nan, partial(refine, name="ur_sam_midpoint")
    for alpha_h in grid["alpha_h"]:
        yield "class-specific T, printed", alpha_h, partial(refine, name="ur_sam_printed", alpha_h=alpha_h)
    for threshold in grid["fixed"]:
        yield "fixed T, midpoint", threshold, partial(refine, name="ur_sam_midpoint", threshold=threshold)
        for name in ("unc_fpc", "unc_fnc", "unc_fpnc"):
            yield name, threshold, partial(refine, name=name, threshold=threshold)


def rows_of(case: Case, segmenter: Segmenter, config: GenerateConfig, grid: dict[str, Any]) -> list[dict[str, Any]]:
    """Dice of one image at every setting of the grid. CaseError where its files or its prompt are no good."""
    loaded, prompt = load_prompted(case, config)
    embedding = segmenter.encode(loaded.image)

    def ensemble(samples: Samples, n: int) -> Ensemble:
        p = mean_probability_map(samples.logits[:n])
        return Ensemble(loaded.image, samples.frame.grid_to_image(p).cpu(), prompt)

    def row(n: int, ratio: float, method: str, parameter: float, found: Refined) -> dict[str, Any]:
        settings = {"n": n, "ratio": ratio, "method": method, "parameter": parameter}
        outcome = {"dice": dice(found.mask, loaded.truth), "unchanged": found.unchanged}
        return {"image_id": case.image_id, "group": case.group} | settings | outcome

    rows: list[dict[str, Any]] = []
    for ratio in grid["ratio"]:
        shared = torch_generator(config.seed, case.image_id)  # the same directions at every ratio
        most = max(grid["n"])
        samples = sample(segmenter, loaded.image, prompt, most, shared, embedding=embedding, ratio=ratio)
        if not rows:
            rows.append(row(1, 0.0, "w/o augmentation", float("nan"), Refined(ensemble(samples, 1).mask.numpy())))
        for n in grid["n"]:
            one = ensemble(samples, n)
            rows += [row(n, ratio, name, parameter, make(one)) for name, parameter, make in methods(grid)]
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice a setting, with its interval by group."""
    out = []
    for key, part in rows.groupby(KEYS, sort=False, dropna=False):
        interval = bootstrap(np.mean, part["dice"].to_numpy(), group=part["group"].to_numpy())
        found = {"images": len(part), "dice": part["dice"].mean(), "dice_low": interval.low, "dice_high": interval.high}
        out.append(dict(zip(KEYS, key, strict=True)) | found | {"unchanged": int((part["unchanged"] != "").sum())})
    return pd.DataFrame(out)


def main(argv: list[str] | None = None) -> None:
    """Run the grid and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max_images", type=int, default=0)
    args = parser.parse_args(argv)
    told = script_config(args.config, ("generate", "grid"))
    args.out.mkdir(parents=True, exist_ok=True)
    config: GenerateConfig = from_mapping("generate", told["generate"] | {"out": str(args.out)})
    config.max_images = args.max_images or config.max_images
    check_config(config)
    cases = select_cases(collect_cases(config)[0], config)
    if of_volumes(cases):
        sys.exit(f"{config.images} holds volumes, and this grid is of images: take scripts/methods.py for them")
    segmenter, rows = make_segmenter(config), []
    for case in tqdm(cases, unit="image", disable=None):
        try:
            rows += rows_of(case, segmenter, config, told["grid"])
        except CaseError as error:
            tqdm.write(f"skipped {case.image_id}: {error}")
    if not rows:
        sys.exit(f"no image of {config.images} could be used")
    table = pd.DataFrame(rows)
    found = summary(table)
    write_csv(table, args.out / "rows.csv")
    write_csv(found, args.out / "summary.csv")
    print(found.to_string(index=False, float_format="%.4f"))


if __name__ == "__main__":
    main()
