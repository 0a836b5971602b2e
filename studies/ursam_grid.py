"""UR-SAM on a grid of n and r, its ablation and its comparators (Zhang et al., arXiv 2311.10529, tables 1 to 4).

python -m studies.ursam_grid configs/ursam_grid.yaml runs/ursam_grid [--max_images 3]

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
from typing import Any

from sqp.config.generate import GenerateConfig
from sqp.core.errors import ConfigError
from sqp.core.seeding import torch_generator
from sqp.core.types import Case, Samples, Segmenter
from sqp.metrics.overlap import dice
from sqp.records.workers import make_segmenter
from sqp.report.tables import write_csv
from sqp.uncertainty import mean_probability_map, sample
from sqp.uncertainty.refine import Ensemble, Refined, refine
from studies.runner import cases_of, generate_config, means, of_cases, option, prompted, rows_of_cases, status, study

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


def rows_of(case: Case, segmenter: Segmenter, config: GenerateConfig, grid: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Dice of one image at every setting of the grid. CaseError where its files or its prompt are no good."""
    loaded, prompt = prompted(case, config)
    embedding = segmenter.encode(loaded.image)

    def ensemble(samples: Samples, n: int) -> Ensemble:
        p = mean_probability_map(samples.logits[:n])
        return Ensemble(loaded.image, samples.frame.grid_to_image(p).cpu(), prompt)

    def row(n: int, ratio: float, method: str, parameter: float, found: Refined) -> dict[str, Any]:
        setting = dict(zip(KEYS, (n, ratio, method, parameter), strict=True))
        return setting | {"dice": dice(found.mask, loaded.truth), "unchanged": found.unchanged}

    for k, ratio in enumerate(grid["ratio"]):
        shared = torch_generator(config.seed, case.image_id)  # the same directions at every ratio
        most = max(grid["n"])
        samples = sample(segmenter, loaded.image, prompt, most, shared, embedding=embedding, ratio=ratio)
        if k == 0:
            yield row(1, 0.0, "w/o augmentation", float("nan"), Refined(ensemble(samples, 1).mask.numpy()))
        for n in grid["n"]:
            one = ensemble(samples, n)
            yield from (row(n, ratio, name, parameter, make(one)) for name, parameter, make in methods(grid))


@study("config", "out", option("--max_images", type=int, default=0), required=("generate", "grid"))
def main(args: argparse.Namespace) -> None:
    """Run the grid and print the summary."""
    args.out.mkdir(parents=True, exist_ok=True)
    config = generate_config(args.settings["generate"], args.out)
    config.max_images = args.max_images or config.max_images
    cases = cases_of(config)
    if of_cases(config, cases)[1]:
        raise ConfigError(f"{config.images} holds volumes, and this grid is of images: take studies/methods.py")
    segmenter = make_segmenter(config)
    rows = rows_of_cases(cases, lambda case: rows_of(case, segmenter, config, args.settings["grid"]))
    summary = means(rows, KEYS, ["dice"], {"unchanged": lambda part: int((part["unchanged"] != "").sum())})
    write_csv(rows, args.out / "rows.csv")
    write_csv(summary, args.out / "summary.csv")
    print(summary.to_string(index=False, float_format="%.4f"))


if __name__ == "__main__":
    sys.exit(status(main))
