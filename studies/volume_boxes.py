"""3D boxes of several prompters against the true ones, before anything is segmented: IoU, and which prompter wins.

python -m studies.volume_boxes configs/prompters_hippocampus.yaml benchmarks/prompters_hippocampus [--split test]

The config is one of `sqp generate`: its prompter, and those of the split's variants. Writes OUT/boxes.csv (a row a
volume and prompter) and OUT/boxes.md: mean IoU with 95 % intervals, the share of the true slices that a box goes
through, and each prompter's difference to the first one on the same volumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from sqp.cli.parser import from_mapping
from sqp.config.generate import GenerateConfig
from sqp.core.files import write_text
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.core.untrusted import read_yaml
from sqp.evaluation.paired import mean_cells
from sqp.metrics.stats import Resamples
from sqp.prompts import PROMPTERS
from sqp.prompts.volume_prompts import box_iou_3d, prompt_box, volume_box
from sqp.records.plan import variant_plan
from sqp.report.tables import formatted, markdown, write_csv
from studies.runner import cases_of, loaded_with_truth, of_cases, option, rows_of_cases, status, study

HEADINGS = {"prompter": "prompter", "n": "n", "iou": "IoU of the box", "slices": "true slices in it",
            "to_first": "IoU - the first's"}  # fmt: skip


def rows_of(config: GenerateConfig, case: Case, names: list[str]) -> Iterator[dict[str, object]]:
    """IoU of each prompter's box with the truth's, and the share of the true slices that it goes through."""
    loaded = loaded_with_truth(case)
    true = volume_box(loaded.truth)
    for name in names:
        kind, options = config.prompter_named(name)
        generator = numpy_generator(config.seed, case.image_id, name)
        found = prompt_box(PROMPTERS[kind](loaded.image, truth=loaded.truth, generator=generator, **options)[0])
        both = max(0.0, min(found[1, 0], true[1, 0]) - max(found[0, 0], true[0, 0]))
        yield {"prompter": name, "iou": box_iou_3d(found, true), "slices": both / (true[1, 0] - true[0, 0])}


def table_of(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row a prompter, in the order of the config."""
    wide = {key: rows.pivot(index="image_id", columns="prompter", values=key) for key in ("iou", "slices")}
    groups = rows.drop_duplicates("image_id").set_index("image_id")["group"].loc[wide["iou"].index]
    resamples = Resamples.draw(groups.astype(str).to_numpy(), 2000)
    out = []
    for name in names:
        row: dict[str, object] = {"prompter": name, "n": len(groups)}
        for key, values in wide.items():
            row |= mean_cells(key, values[name].to_numpy(float), resamples)
        if name != names[0]:
            difference = (wide["iou"][name] - wide["iou"][names[0]]).to_numpy(float)
            row |= mean_cells("to_first", difference, resamples)
        out.append(row)
    return pd.DataFrame(out)


@study("config", "out", option("--split", default="test"))
def main(args: argparse.Namespace) -> None:
    """Read, prompt, compare, write."""
    config: GenerateConfig = from_mapping("generate", read_yaml(args.config))
    config = replace(config, only=[args.split], max_images=0)
    cases = cases_of(config)
    config, _ = of_cases(config, cases)
    names = list(dict.fromkeys([config.prompter, *variant_plan(config, args.split).prompters]))
    rows = rows_of_cases(cases, lambda case: rows_of(config, case, names))
    table = table_of(rows, names)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, args.out / "boxes.csv")
    write_text(args.out / "boxes.md", markdown(formatted(table, HEADINGS)) + "\n")
    print(formatted(table, HEADINGS).to_string(index=False))


if __name__ == "__main__":
    sys.exit(status(main))
