"""How well candidates for a referee segment by themselves: a fitted network, LiteMedSAM in boxes, and their means.

python -m studies.referees ../shared/data/ham10000 configs/splits/ham10000.json runs/referees/ham10000
    --network runs/default_bundle/fit/supervised_first_half/fpn-seed0.safetensors [--localizer FILE] [--most 70]

For choosing: images of val (`--split`). The network answers alone and averaged over symmetries of the image, LiteMedSAM
in Otsu's box, in the localizer's, and in the box of what the network draws; means are of probability maps. Writes
OUT/dice.csv, a row an image, and OUT/referees.md: mean Dice with its 95 % interval, median, and the share below 0.7.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sqp.config.generate import GenerateConfig
from sqp.config.referee import RefereeConfig, SupervisedConfig
from sqp.config.segmenter import SegmenterConfig
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.data import find_cases
from sqp.data.licences import of_licences
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits
from sqp.metrics.overlap import dice
from sqp.metrics.stats import bootstrap
from sqp.prompts import PROMPTERS
from sqp.records.referees.referee import boxed
from sqp.records.referees.supervised import SupervisedReferee
from sqp.report.tables import markdown
from sqp.segmenters import build_segmenter
from sqp.uncertainty.batches import decode_best
from studies.runner import kept, loaded_with_truth, option, rows_of_cases, status, study, write_page

SYMMETRIES = 4
MEANS = {
    "network and LiteMedSAM in the localizer's box": ("network", "localizer"),
    "network and LiteMedSAM in its box": ("network", "network's box"),
}
"""Means of two candidates."""


class Candidates:
    """`candidates(image)` -> the probability map of each, float `[h, w]`."""

    def __init__(self, network: Path, localizer: Path | None) -> None:
        config = GenerateConfig(
            Path(),
            Path(),
            masks=Path(),
            segmenter=SegmenterConfig("none"),
            referee=RefereeConfig("none"),
            supervised=SupervisedConfig(network, SYMMETRIES),
        )
        self.network = SupervisedReferee(config, None)
        self.sam = build_segmenter("litemedsam")
        self.localizer = localizer

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Of all candidates, and the means of `MEANS` whose parts there are."""
        answers, frame, _ = self.network.answers(image)
        found = {
            "network, as it is": frame.grid_to_image(answers.p[0]).numpy(),
            "network": frame.grid_to_image(answers.mean_p).numpy(),
        }
        boxes = {"otsu": PROMPTERS["otsu"](image)[0], "network's box": boxed(image, found["network"] >= 0.5)}
        if self.localizer is not None:
            boxes["localizer"] = PROMPTERS["localizer"](image, checkpoint=str(self.localizer), flips=1)[0]
        embedding = self.sam.encode(image)
        drawn = torch.sigmoid(decode_best(self.sam, embedding, list(boxes.values())).logits[:, 0])
        found |= {name: embedding.frame.grid_to_image(p).numpy() for name, p in zip(boxes, drawn, strict=True)}
        return found | {
            name: (found[one] + found[other]) / 2
            for name, (one, other) in MEANS.items()
            if {one, other} <= found.keys()
        }


def rows_of(case: Case, candidates: Callable[[np.ndarray], Mapping[str, np.ndarray]]) -> list[dict[str, object]]:
    """A row a candidate: its Dice on a case."""
    loaded = loaded_with_truth(case)
    assert loaded.truth is not None
    maps = candidates(loaded.image)
    return [{"candidate": name, "dice": dice(p >= 0.5, loaded.truth)} for name, p in maps.items()]


@study(
    "images",
    "splits",
    "out",
    option("--network", type=Path, required=True, help="a checkpoint of `sqp fit segmenter`"),
    option("--localizer", type=Path, help="a checkpoint of `sqp fit localizer`"),
    option("--split", default="val"),
    option("--licence", nargs="*", default=[]),
    option("--most", type=int, default=70, metavar="N", help="so many images"),
)
def main(args: argparse.Namespace) -> None:
    """Segment, compare with the truth, write."""
    cases = apply_splits(list(find_cases(args.images).cases), read_splits(args.splits))
    cases = [case for case in of_licences(cases, args.licence) if case.split == args.split]
    order = numpy_generator(0, "referees").permutation(len(cases))[: args.most]
    chosen = [cases[i] for i in np.sort(order)]
    candidates = Candidates(args.network, args.localizer)
    table = kept(args.out / "dice.csv", lambda: rows_of_cases(chosen, lambda case: rows_of(case, candidates)))
    lines = []
    for name, part in table.groupby("candidate", sort=False):
        values = part["dice"].to_numpy()
        low, high = bootstrap(np.mean, values, group=part["group"].astype(str).to_numpy())
        lines.append(
            {
                "candidate": name,
                "images": str(len(part)),
                "mean Dice": f"{values.mean():.3f} [{low:.3f}, {high:.3f}]",
                "median": f"{np.median(values):.3f}",
                "below 0.7": f"{(values < 0.7).mean():.3f}",
            }
        )
    where = f"{args.images.name}, split {args.split}, network {args.network.parent.name}"
    write_page(args.out / "referees.md", f"# Candidates for a referee: {where}", markdown(pd.DataFrame(lines)))


if __name__ == "__main__":
    sys.exit(status(main))
